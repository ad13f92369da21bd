"""Augmentations: what each does to images and labels, how often, and that RandAugment is torchvision's."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from equivariance.study.data import augmentation
from equivariance.study.data.augmentation import Augmentation, Crop, CutMix, Flip, RandAugment, strengths
from equivariance.study.data.datasets import Images
from equivariance.study.models import ResNet
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.trainer import Totals, Training
from tests.study.test_config import config, options
from train import step as train_step

pytestmark = pytest.mark.slow

LARGEST = 1 - 2**-24  # of the numbers that torch.rand draws


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(count, size=(32, 32), channels=3, seed=0):
    """Noise, smooth gradients, and images of one value or of few."""
    pixels = torch.randint(256, (count, channels, *size), generator=generator(seed), dtype=torch.uint8)
    pixels[1::4] = pixels[1::4] // 3 + 60
    pixels[2::4] = pixels[2::4, :, :1, :1]
    ramp = torch.linspace(3, 201, size[0] * size[1]).reshape(size).byte()
    pixels[3::8] = ramp
    return pixels


def draws(count, numbers, seed=0):
    return torch.rand(count, numbers, generator=generator(seed))


def test_every_crop_is_the_window_it_drew():
    pixels, u = random_images(1000, (11, 16)), draws(1000, 2)
    u[0], u[1] = 0, LARGEST
    padded = F.pad(pixels, [4] * 4)
    cropped = Crop(4)(pixels, u)
    offsets = (u * 9).long()
    assert offsets.min() == 0 and offsets.max() == 8
    for image, (top, left) in enumerate(offsets.tolist()):
        assert torch.equal(cropped[image], padded[image, :, top : top + 11, left : left + 16])
    assert len(offsets.unique(dim=0)) == 81
    assert torch.equal(Crop(4)(pixels, torch.full((1000, 2), 0.5)), pixels)


def test_flipping_twice_is_the_identity():
    pixels, u = random_images(50), draws(50, 1)
    flipped = Flip(0.5)(pixels, u)
    assert torch.equal(Flip(0.5)(flipped, u), pixels)
    assert torch.equal(Flip(1)(pixels, u), pixels.flip(3)) and torch.equal(Flip(0)(pixels, u), pixels)


@pytest.mark.parametrize("probability", [0.5, 0.1])
def test_probabilities_are_kept(probability):
    count = 20000
    u = draws(count, 4)
    flips = (u[:, 0] < probability).sum().item()
    pixels = torch.arange(2, dtype=torch.uint8).expand(count, 1, 1, 2)
    assert (Flip(probability)(pixels, u[:, :1])[:, 0, 0, 0] == 1).sum() == flips
    cuts = CutMix(probability).boxes((32, 32), u).flatten(1).any(1).sum().item()
    spread = (count * probability * (1 - probability)) ** 0.5
    assert abs(flips - count * probability) < 4 * spread
    empty = 2 / 32**2  # boxes of less than two pixels across hold none: 1 - lambda < (2 / 32)^2
    assert -4 * spread < cuts - count * probability * (1 - 2 * empty) < 4 * spread


def test_the_weights_of_the_labels_are_the_shares_of_the_pixels():
    """Each image has the value of its label, so that the mixed image shows its own label weights."""
    labels = torch.arange(100) % 7
    pixels = labels.byte()[:, None, None, None].expand(-1, 3, 28, 20)
    mixed, weights = CutMix(0.8)(pixels, labels, draws(100, 4), 7)
    shares = F.one_hot(mixed[:, 0].long(), 7).float().mean((1, 2))
    torch.testing.assert_close(weights, shares, atol=1e-6, rtol=0)
    mixed_ones = (weights > 0).sum(1) == 2
    assert 60 < mixed_ones.sum() < 95 and len(weights[mixed_ones].unique(dim=0)) > 50


def test_cutmix_boxes_are_those_of_the_paper():
    u = draws(200, 4)
    u[:, 0] = 0
    for found, (_, stay, y, x) in zip(CutMix().boxes((24, 32), u)[:, 0], u, strict=True):
        half = 0.5 * torch.sqrt(1 - stay)
        top, left, bottom, right = (int(y * 24), int(x * 32), int(half * 24), int(half * 32))
        box = torch.zeros(24, 32, dtype=torch.bool)
        box[max(0, top - bottom) : top + bottom, max(0, left - right) : left + right] = True
        assert torch.equal(found, box)


def test_the_loss_of_mixed_labels_is_the_mixture_of_the_losses():
    labels, logits = torch.arange(6), torch.randn(6, 6, generator=generator()).double()
    _, weights = CutMix(1)(random_images(6), labels, draws(6, 4), 6)
    own = weights.double()[torch.arange(6), labels]
    own_loss, other_loss = (F.cross_entropy(logits, each, reduction="none") for each in (labels, labels.roll(1)))
    mixture = (own * own_loss + (1 - own) * other_loss).mean()
    assert F.cross_entropy(logits, weights.double()).item() == pytest.approx(mixture.item(), abs=1e-7)


def test_accuracy_counts_the_label_of_the_largest_share():
    totals = Totals.zero(torch.device("cpu"))
    weights = torch.tensor([[0.6, 0.4, 0.0], [0.2, 0.8, 0.0]])
    totals.add(torch.tensor(1.0), torch.tensor([[9.0, 0, 0], [9.0, 0, 0]]), weights)
    assert totals.means() == (1.0, 0.5)


NAMES = list(strengths(9, 32, 32))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "size"), [(3, (32, 32)), (1, (28, 40))], ids=["colour", "grey"])
def test_each_operation_is_torchvisions_image_by_image(name, channels, size):
    pixels = random_images(32, size, channels)
    place = torch.full((32,), NAMES.index(name))
    for magnitude in (0, 9, 30):
        strength, signed = strengths(magnitude, *size)[name]
        for negative in (False, True):
            ours = RandAugment(2, magnitude).apply(place, torch.full((32,), negative), pixels)
            value = -strength if negative and signed else strength
            theirs = [_apply_op(image, name, value, InterpolationMode.NEAREST, None) for image in pixels]
            assert torch.equal(ours, torch.stack(theirs)), magnitude


def test_randaugment_applies_to_each_image_what_it_drew():
    pixels, u = random_images(300), draws(300, 4)
    u[0] = LARGEST
    names, result = NAMES, RandAugment(2, 9)(pixels, u)
    table = strengths(9, 32, 32)
    for image, row, ours in zip(pixels, u, result, strict=True):
        for operation, sign in row.reshape(2, 2):
            name = names[int(operation * 14)]
            strength, signed = table[name]
            value = -strength if signed and sign < 0.5 else strength
            image = _apply_op(image, name, value, InterpolationMode.NEAREST, None)
        assert torch.equal(ours, image)
    counts = torch.bincount((draws(28000, 1)[:, 0] * 14).long(), minlength=14)
    assert (counts - 2000).abs().max() < 4 * (2000 * 13 / 14) ** 0.5


@pytest.mark.parametrize("name", options("aug"))
def test_images_depend_on_their_draws_alone(name):
    """Same seed, same images, no matter how many pass at once; copies of one image differ. Inputs stay."""
    augment = augmentation.build(config(f"aug={name}").aug)
    pixels = random_images(64)
    before, u = pixels.clone(), augment.draw(64, generator(3))
    assert torch.equal(u, augment.draw(64, generator(3)))
    whole = augment.augment(pixels, u)
    parts = [augment.augment(*part) for part in zip(pixels.split(20), u.split(20), strict=True)]
    assert torch.equal(whole, torch.cat(parts)) and torch.equal(pixels, before)
    assert whole.dtype == torch.uint8 and whole.shape == pixels.shape
    same = pixels[:1].expand_as(pixels)
    varied = augment.mix(augment.augment(same, u), torch.arange(64) % 10, u, 10)[0]
    if augment.images:
        assert len(varied.unique(dim=0)) > 1 + (name != "flip")


@pytest.mark.parametrize("name", options("aug"))
def test_every_augmentation_trains_two_steps(name):
    cfg = config("model=resnet44", f"aug={name}", "recipe.batch_size=8")
    labels = torch.arange(16) % 10
    images = Images(random_images(16), labels, "abcdefghij", torch.full((3,), 0.5), torch.full((3,), 0.25))
    torch.manual_seed(0)
    model = ResNet(3, 10, 8)
    before = [parameter.clone() for parameter in model.parameters()]
    hardware = Hardware("cpu", "float32")
    training = Training(model, cfg.recipe, hardware, 0, augmentation.build(cfg.aug))
    for batch, targets in training.batches(images):
        assert batch.shape == (8, 3, 32, 32) and batch.dtype == torch.float32
        assert targets.shape == ((8, 10) if "cutmix" in name else (8,))
        training.take(train_step, batch, targets)
    assert training.step == 2 and all(map(torch.isfinite, [training.totals.loss]))
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_without_augmentation_nothing_is_drawn():
    untouched, used = generator(5), generator(5)
    assert Augmentation().draw(1000, used).shape == (1000, 0)
    assert torch.equal(untouched.get_state(), used.get_state())
