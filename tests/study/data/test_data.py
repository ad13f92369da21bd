"""The data sets: sizes, labels, the rotated tasks, normalisation."""

import pytest
import torch
from omegaconf import OmegaConf
from torchvision import datasets

from equivariance.study.data import datasets as data
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.fixture
def mnist(tmp_path):
    """A folder with an MNIST of 500 random images in both splits."""
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for prefix in ("train", "t10k"):
        for name, shape in (("images-idx3", (500, 28, 28)), ("labels-idx1", (500,))):
            content = torch.randint(256 if len(shape) == 3 else 10, shape, generator=generator, dtype=torch.uint8)
            head = b"\0\0\x08" + bytes([len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            (raw / f"{prefix}-{name}-ubyte").write_bytes(head + content.numpy().tobytes())
    return str(tmp_path)


def test_digits6_has_six_digits_and_disjoint_splits():
    train, held_out = (data.digits6("upright", split) for split in data.SPLITS)
    assert train[0].shape == (811, 1, 28, 28) and held_out[0].shape == (271, 1, 28, 28)
    assert train[2] == ["2", "3", "4", "5", "7", "9"]
    for pixels, labels, _ in (train, held_out):
        assert pixels.dtype == torch.uint8 and pixels.max() == 255
        assert labels.unique().tolist() == list(range(6))
        assert pixels[..., :4, :].max() == 0  # the frame
    assert not set(map(bytes, train[0].numpy())) & set(map(bytes, held_out[0].numpy()))


def test_mnist6_leaves_out_what_a_turn_confuses(mnist):
    pixels, labels, classes = data.mnist6(mnist, "upright", False, "train")
    raw = datasets.MNIST(mnist)
    kept = [index for index, digit in enumerate(raw.targets.tolist()) if digit in (2, 3, 4, 5, 7, 9)]
    assert torch.equal(pixels[:, 0], raw.data[kept])
    assert [classes[label] for label in labels] == [str(raw.targets[index].item()) for index in kept]


def test_rotated_tasks_turn_every_image_once_and_label_the_turn(mnist):
    upright, digits, _ = data.mnist6(mnist, "upright", False, "train")
    invariant, inv_labels, _ = data.mnist6(mnist, "invariant", False, "train")
    equivariant, eq_labels, classes = data.mnist6(mnist, "equivariant", False, "train")
    assert torch.equal(invariant, equivariant) and torch.equal(inv_labels, digits)
    assert len(classes) == 24 and torch.equal(eq_labels // 4, digits)
    turns = eq_labels % 4
    assert turns.bincount(minlength=4).min() > 50
    for turned, original, turn in zip(equivariant, upright, turns.tolist(), strict=True):
        assert torch.equal(turned, original.rot90(turn, (1, 2)))
    again, _, _ = data.mnist6(mnist, "invariant", False, "train")
    assert torch.equal(invariant, again)


def test_normalisation_is_torchvisions():
    from torchvision.transforms.functional import normalize

    cfg = OmegaConf.load(REPOSITORY / "conf/dataset/cifar10.yaml")
    pixels = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
    mean, std = torch.tensor(list(cfg.statistics.mean)), torch.tensor(list(cfg.statistics.std))
    ours = data.Images(pixels, torch.zeros(4), ["a"], mean, std).normalise(pixels)
    torch.testing.assert_close(ours, normalize(pixels / 255, mean, std))


def test_digest_follows_the_content():
    pixels, labels = torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.long)
    images = data.Images(pixels, labels, ["a", "b"], torch.zeros(1), torch.ones(1))
    before = images.digest()
    assert images.to(torch.device("cpu")).digest() == before
    labels[0] = 1
    assert images.digest() != before
