"""Images in files: decoded ahead, in order, as their library evaluates the network; labelled as in ImageNet."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
import torchvision
from omegaconf import OmegaConf
from PIL import Image

from equivariance.errors import UserError
from equivariance.study import models
from equivariance.study.config import CONF
from equivariance.study.data import datasets as data
from equivariance.study.data import image_files
from equivariance.study.data.classes import imagenet_classes
from equivariance.study.data.image_files import Cover, Photographs, Stream, class_folders, list_files
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture
def photographs(folder):
    files, _ = list_files(folder / "val", class_folders(folder / "val"))
    return Photographs(files, Cover((16, 16)), (16, 16))


def dataset(folder, **values):
    cfg = OmegaConf.create({"dataset": OmegaConf.load(CONF / "dataset/image_folder.yaml")})
    return OmegaConf.merge(cfg, {"dataset": {"root": str(folder), **values}}).dataset


def library_model(group, name):
    cfg = OmegaConf.create({"model": OmegaConf.load(CONF / f"model/{group}.yaml")})
    return OmegaConf.merge(cfg, {"model": {"name": name}}).model


def test_a_stream_gives_the_chosen_images_in_order(photographs):
    chosen = torch.tensor([5, 0, 7, 2, 6])
    stream = Stream(photographs, chosen, 1, 2, CPU)
    expected = photographs.decode()[chosen]
    assert torch.equal(stream[1:4], expected[1:4]) and stream.waited > 0
    assert torch.equal(stream[4:6], expected[4:5])
    assert torch.equal(Stream(expected, torch.arange(5), 0, 2, CPU)[1:3], expected[1:3])


def test_only_the_chosen_files_are_read_and_a_broken_one_is_named_in_a_line(photographs):
    for index in (1, 3):
        photographs.files[index].write_bytes(photographs.files[index].read_bytes()[:300])
    chosen = torch.tensor([0, 2, 3])
    stream = Stream(photographs, chosen, 0, 2, CPU)
    assert len(stream[0:2]) == 2
    with pytest.raises(UserError, match=f"^cannot read the image {photographs.files[3]}: [^\n]*$"):
        stream[2:3]


def test_the_digest_follows_chosen_files_and_transform_not_the_place(photographs, folder):
    chosen = torch.tensor([0, 2])
    before = photographs.digest(chosen)
    assert Photographs(photographs.files, Cover((16, 17)), (16, 17)).digest(chosen) != before
    assert photographs.digest(torch.tensor([2, 0])) != before
    photographs.files[1].write_bytes(b"other")
    assert photographs.digest(chosen) == before
    folder.rename(folder.parent / "moved")
    files, _ = list_files(folder.parent / "moved/val", ["cat", "dog"])
    assert Photographs(files, Cover((16, 16)), (16, 16)).digest(chosen) == before
    files[0].write_bytes(b"other")
    assert Photographs(files, Cover((16, 16)), (16, 16)).digest(chosen) != before


@pytest.mark.parametrize(
    ("group", "name", "size"),
    [
        ("timm", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", None),
        ("timm", "tf_efficientnet_b0.aa_in1k", [96, 96]),
        ("torchvision", "inception_v3", None),
    ],
)
def test_images_are_prepared_as_the_library_evaluates_the_network(folder, group, name, size):
    prepared = models.prepare(dataset(folder, size=size), library_model(group, name))
    images = data.load(prepared, "held_out", decode=False)
    if group == "timm":
        given = {"input_size": (3, *size)} if size else {}
        theirs = timm.data.create_transform(
            **timm.data.resolve_data_config(given, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        )
    else:
        theirs = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    file = images.pixels.files[3]
    torch.testing.assert_close(images.normalise(images.pixels[3]), theirs(Image.open(file).convert("RGB")))
    assert images.pixels[3].shape == images.pixels.shape[1:]


def test_training_reads_a_folder_with_the_same_transform(folder):
    prepared = models.prepare(dataset(folder, size=64), library_model("timm", "test_vit"))
    whole, lazy = (data.load(prepared, "held_out", decode) for decode in (True, False))
    assert torch.equal(whole.pixels, lazy.pixels[:]) and whole.pixels.shape == (8, 3, 64, 64)


def test_imagenet_labels_are_places_among_the_thousand(folder):
    synsets = imagenet_classes()
    for old, new in (("cat", synsets[285]), ("dog", synsets[7])):
        (folder / "val" / old).rename(folder / "val" / new)
    pixels, labels, classes = data.imagenet(str(folder), 32, "held_out")
    assert len(classes) == 1000 and labels.tolist() == [7] * 4 + [285] * 4
    assert [pixels.files[0].parent.name, pixels.files[-1].parent.name] == [synsets[7], synsets[285]]
    pixels.files[0].parent.rename(folder / "val" / "n123")
    with pytest.raises(UserError, match=r"no class of ImageNet, such as n01440764: n123; dataset=image_folder"):
        data.imagenet(str(folder), 32, "held_out")


def test_a_librarys_classifier_has_an_accuracy_on_imagenet_classes_alone():
    vit, cnn7 = library_model("timm", "test_vit"), OmegaConf.load(CONF / "model/cnn7.yaml")
    predicts = models.predicts_dataset_classes
    assert predicts(vit, imagenet_classes(), 1000)
    assert not predicts(vit, [str(number) for number in range(1000)], 1000)
    assert predicts(cnn7, ["a", "b"], 2) and not predicts(cnn7, ["a", "b"], 3)


def test_decoded_pixels_are_the_files(folder):
    pixels = Photographs([folder / "val/cat/0.png"], Cover((40, 60)), (40, 60))
    np.testing.assert_array_equal(pixels[0].permute(1, 2, 0), np.array(Image.open(pixels.files[0])))


def test_the_digest_follows_the_contents_not_the_size(photographs):
    """Uncompressed images of one size have files of one size."""
    file = photographs.files[0].with_suffix(".bmp")
    same = Photographs([file], Cover((16, 16)), (16, 16))
    digests = []
    for value in (10, 10, 200):
        Image.new("RGB", (20, 20), (value,) * 3).save(file)
        digests.append(same.digest(torch.tensor([0])))
    assert digests[0] == digests[1] != digests[2]


def one_image(tmp_path, name, image, size=(4, 4)):
    image.save(tmp_path / name)
    return Photographs([tmp_path / name], Cover(size), size)[0]


def test_images_of_sixteen_bits_keep_their_greys(tmp_path):
    values = np.arange(16, dtype=np.uint16).reshape(4, 4) * 4369
    expected = torch.from_numpy((values / 257).astype(np.uint8)).expand(3, 4, 4)
    for ending in ("png", "tif"):
        assert torch.equal(one_image(tmp_path, f"deep.{ending}", Image.fromarray(values)), expected)
    for kind, image in (("floating-point", values / 65535), ("32-bit", values.astype(np.int32))):
        mode = np.float32 if kind == "floating-point" else np.int32
        with pytest.raises(UserError, match=rf"unknown.tif: its pixels are {kind} numbers, whose range is unknown"):
            one_image(tmp_path, "unknown.tif", Image.fromarray(image.astype(mode)))


def test_what_is_no_readable_image_is_named_in_a_line(run, folder, tmp_path):
    """In the digest as in the decoding; a pipe, which nobody fills, is not waited for."""
    generator, bad = np.random.default_rng(0), folder / "val/cat/0.png"
    good = (folder / "val/cat/1.png").read_bytes()
    given = ("dataset=image_folder", f"dataset.root={folder}", "dataset.size=32", "model=resnet44", "model.depth=8")
    given += ("measure.trained=false", "measure.images=8", "measure.blocks=1")
    huge = io.BytesIO()
    Image.new("1", (20000, 20000)).save(huge, "png")

    def refuse(line):
        result = run("measure.py", *given)
        assert result.code == 1 and result.error.strip().count("\n") == 0, result.error
        assert re.search(f"cannot read the image {bad}: {line}", result.error), result.error

    bad.unlink()
    bad.symlink_to(tmp_path / "nowhere.png")
    refuse("it is a link to nothing")
    bad.unlink()
    os.mkfifo(bad)
    refuse("it is no regular file")
    bad.unlink()
    bad.write_bytes(huge.getvalue())
    refuse(r"Image size \(400000000 pixels\) exceeds limit")
    photographs = Photographs([bad], Cover((32, 32)), (32, 32))
    for _ in range(300):
        damaged = bytearray(good)
        for place in generator.integers(len(good), size=3):
            damaged[place] = generator.integers(256)
        bad.write_bytes(bytes(damaged[: generator.integers(len(good))]))
        with contextlib.suppress(UserError):
            photographs[0]


def test_the_last_slice_may_ask_for_more_than_there_is(photographs):
    for pixels in (photographs, photographs.decode()):
        stream = Stream(pixels, torch.arange(8), 0, 3, CPU)
        assert [len(stream[start : start + 3]) for start in (0, 3, 6)] == [3, 3, 2]


def test_the_accuracy_on_all_images_in_files(run, folder, tmp_path):
    """With a batch that does not divide the number of images."""
    torch.save(models.ResNet(3, 2, 8).state_dict(), tmp_path / "net.pt")
    given = ("dataset=image_folder", f"dataset.root={folder}", "dataset.size=32", "model=resnet44", "model.depth=8")
    given += (
        f"model.weights={tmp_path / 'net.pt'}",
        "measure.images=4",
        "measure.batch_size=3",
        "measure.blocks=1",
    )
    result = run("measure.py", *given, "measure.whole_accuracy=true")
    assert result.code == 0 and re.search(r"\d% on all held-out images", result.out), result.error + result.out


DECODING = """
import os, signal, sys, torch
from pathlib import Path
from equivariance.study.data.image_files import Cover, Photographs, Stream
files = sorted(Path(sys.argv[1]).rglob("*.png")) * 20
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
stream = Stream(Photographs(files, Cover((16, 16)), (16, 16)), torch.arange(len(files)), 0, 4, torch.device("cpu"))
seen = len(stream[0:4])
print("ready", flush=True)
while not stopped:
    signal.pause()
print("stopped", sum(len(stream[start : start + 4]) for start in range(4, len(files), 4)), flush=True)
raise SystemExit(f"held by {stream}")
"""


def test_a_stop_of_the_whole_group_leaves_the_decoding_to_the_first_process(folder):
    command = [sys.executable, "-c", DECODING, str(folder)]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGTERM)
    out, error = process.communicate(timeout=300)
    assert out == "stopped 316\n" and "Traceback" not in error and process.returncode == 1, error
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no worker is left


def test_what_is_written_here_to_import_less_is_as_torchvision_has_it():
    from torchvision.datasets.folder import IMG_EXTENSIONS
    from torchvision.transforms.functional import pil_to_tensor

    assert image_files.IMG_EXTENSIONS == IMG_EXTENSIONS
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8))
    assert torch.equal(image_files.tensor(image), pil_to_tensor(image))
