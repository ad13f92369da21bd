"""The figures of experiments/augmentation for the reduced networks."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from experiments.augmentation.figure import main

if __name__ == "__main__":
    main(HERE, "Reduced: ResNet-20, 8 epochs")
