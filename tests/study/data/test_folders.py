"""Which files of a folder are its images: those of ImageFolder, but for hidden ones; none in silence."""

import itertools
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from equivariance.errors import UserError
from equivariance.study.data.datasets import image_folder

pytestmark = pytest.mark.slow

IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))


def saved(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    IMAGE.save(path)


def linked(path, target):
    saved(target / "1.png")
    path.symlink_to(target)


EXTRAS = {  # what is added to a class folder, and how it is named where it is left out
    "upper case": (lambda of: saved(of / "a.JPEG"), None),
    "webp": (lambda of: saved(of / "a.webp"), None),
    "sub-folder": (lambda of: saved(of / "a/b/c.png"), None),
    "folder with an ending": (lambda of: saved(of / "a.png/b.png"), None),
    "linked folder": (lambda of: linked(of / "linked", of.parent.parent / "elsewhere"), None),
    "linked file": (lambda of: os.symlink(of / "0.png", of / "1.png"), None),
    "gif": (lambda of: saved(of / "a.gif"), "1 .gif"),
    "avif": (lambda of: (of / "a.avif").touch(), "1 .avif"),
    "jp2": (lambda of: [(of / f"{i}.jp2").touch() for i in range(3)], "3 .jp2"),
    "text": (lambda of: (of / "LABELS").touch(), "1 without an ending"),
    "strange ending": (lambda of: (of / "a.\n").touch(), "1 without an ending"),
    "hidden image": (lambda of: saved(of / "._0.png"), "1 hidden"),
    "hidden folder": (lambda of: saved(of / ".thumbnails/0.png"), "1 hidden"),
    "hidden class": (lambda of: saved(of.parent / ".ipynb_checkpoints/0.png"), "1 hidden"),
    "hidden file": (lambda of: (of / ".DS_Store").touch(), None),
}


@pytest.mark.parametrize("extras", [*itertools.combinations(EXTRAS, 1), (), tuple(EXTRAS)], ids=", ".join)
def test_the_images_of_a_folder(extras, tmp_path, capsys):
    for name in ("cat", "dog"):
        saved(tmp_path / "val" / name / "0.png")
    for extra in extras:
        EXTRAS[extra][0](tmp_path / "val/cat")
    pixels, labels, classes = image_folder(str(tmp_path), 8, "held_out")
    line, named = capsys.readouterr().err, [EXTRAS[extra][1] for extra in extras if EXTRAS[extra][1]]
    if len(extras) == 1:
        assert line == "".join(f"{tmp_path / 'val'}: left out are files and folders: {what}\n" for what in named)
    assert line.count("\n") == bool(named) and classes == ["cat", "dog"]
    theirs = ImageFolder(tmp_path / "val").samples
    visible = [(file, label) for file, label in theirs if "/." not in file.removeprefix(str(tmp_path))]
    places = sorted({label for _, label in visible})
    expected = {os.path.realpath(file) + file: places.index(label) for file, label in visible}
    assert {
        os.path.realpath(f) + str(f): label for f, label in zip(pixels.files, labels.tolist(), strict=True)
    } == (expected)


def test_a_folder_linked_into_itself_is_refused(tmp_path):
    for place in (".", "..", "sub"):
        root = tmp_path / place.replace(".", "dot")
        saved(root / "val/cat/sub/0.png")
        (root / "val/cat/sub/loop").symlink_to({"sub": root / "val/cat/sub"}.get(place, place))
        with pytest.raises(UserError, match="loop is a link to a folder that it lies in"):
            image_folder(str(root), 8, "held_out")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".tiff"])
def test_an_image_is_read_by_what_it_is_not_by_its_ending(ending, tmp_path):
    """Of the formats of the endings alone: PostScript would be run, by Ghostscript."""
    saved(tmp_path / "val/a/0.png")
    (tmp_path / "val/a/0.png").rename(tmp_path / f"val/a/0{ending}")
    pixels, _, _ = image_folder(str(tmp_path), 8, "held_out")
    assert torch.equal(pixels[0], pil_to_tensor(IMAGE))
    for number, content in enumerate(
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", b"GIF89a")
    ):
        (tmp_path / f"val/a/a\n{number}{ending}").write_bytes(content)
    pixels, _, _ = image_folder(str(tmp_path), 8, "held_out")
    for index in (1, 2):
        with pytest.raises(UserError, match=r"cannot read the image [^\n]*: cannot identify image file"):
            pixels[index]
