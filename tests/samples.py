"""Photographs for tests: the two that come with scikit-learn."""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images


def photographs(folder: Path, suffix: str = "png", size: tuple[int, int] | None = None) -> Path:
    """Write them to a folder as a data set, `val/CLASS/1.SUFFIX`, resized to (width, height) if given."""
    for file in map(Path, load_sample_images().filenames):
        image = Image.open(file)
        (folder / "val" / file.stem).mkdir(parents=True)
        (image.resize(size) if size else image).save(folder / "val" / file.stem / f"1.{suffix}", quality=95)
    return folder
