"""How alike are the layers of two published networks: two trainings, two widths, trained and untrained?

    python scripts/between.py WEIGHTS_DIR DATA_DIR

WEIGHTS_DIR holds the files of the table of published networks (`python scripts/public.py WEIGHTS_DIR` lists them),
DATA_DIR holds CIFAR-10. Writes experiments/between/similarity.csv: what `eq.similarity` says of each pair.
"""

from pathlib import Path

import pandas as pd

import equivariance as eq
from equivariance.study.cli import command_line
from equivariance.study.config import EXPERIMENTS
from equivariance.study.tables import write_csv

IMAGES, SEED = 500, 0
PAIRS = {  # title: the two networks, and whether the second one is trained
    "two trainings": ("akamaster_resnet44", "jazhiel_resnet44", True),
    "two widths": ("zskt_wrn_16_1", "zskt_wrn_16_2", True),
    "untrained": ("akamaster_resnet44", "akamaster_resnet44", False),
}


def main(weights_dir: str, data_dir: str, folder: Path = EXPERIMENTS / "between") -> None:
    """Measure all pairs and write the table."""
    import torch  # these take seconds, which --help does not need

    from equivariance.study.data import datasets
    from equivariance.study.models import public

    pixels, labels, classes = datasets.cifar10(data_dir, False, "held_out")
    chosen = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(SEED))[:IMAGES]
    tables = []
    for title, (a, b, trained) in PAIRS.items():
        torch.manual_seed(SEED)
        networks = public.network(a, weights_dir), public.network(b, weights_dir, pretrained=trained)
        wanted = public.preprocessing(a)
        mean, std = (torch.tensor(wanted[key]) for key in ("mean", "std"))
        images = datasets.Images(pixels[:], labels, classes, mean, std)
        table = eq.similarity(*networks, images.normalise(images.pixels[chosen]))
        print(f"{title}: {len(table)} pairs of layers", flush=True)
        tables.append(table.assign(pair=title, network_a=a, network_b=b))
    write_csv(folder / "similarity.csv", pd.concat(tables))
    print(f"wrote {folder / 'similarity.csv'}")


if __name__ == "__main__":
    command_line(main)
