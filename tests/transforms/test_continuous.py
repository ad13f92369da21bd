"""Interpolated transformations: they agree with the exact ones, and measure the network instead of themselves."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from equivariance import rows
from equivariance.errors import UserError
from equivariance.layers.find import find_layers
from equivariance.metric.equivariance import Equivariance
from equivariance.study.models.gaussian import GaussianCNN, gaussian
from equivariance.study.transforms import relative_shifts
from equivariance.transforms import sets
from equivariance.transforms.exact import QuarterTurn, Shift
from equivariance.transforms.interpolated import BORDERS, disc, rotation
from equivariance.transforms.sets import scalings, subpixel_shifts
from tests.conftest import rounding

IDENTITY = nn.Identity()


def rotations(angles, border="disc"):
    """All interpolated, quarter turns and 0 too."""
    return [rotation(angle, border) for angle in angles]


EVERY = [*rotations([15, 90, 200]), *scalings([0.67, 1.5]), *subpixel_shifts([0.3, 1.75])]


@pytest.fixture(scope="module")
def images():
    """24 images of 32x32 whose amplitudes fall with 1 / frequency, as those of photographs do."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(24, 1, 32, 32, generator=generator, dtype=torch.float64)
    frequency = torch.hypot(torch.fft.fftfreq(32)[:, None], torch.fft.fftfreq(32)).clamp(min=1 / 32)
    return torch.fft.ifft2(torch.fft.fft2(noise) / frequency).real / 10


class Isotropic(nn.Module):
    """Convolutions with filters that look alike from all sides; between the first and the others a stride."""

    def __init__(self, filters, down=None):
        super().__init__()
        self.filters, self.down = filters, down or nn.Identity()

    def forward(self, x):
        reach = self.filters[0].shape[-1] // 2
        for number, kernel in enumerate(self.filters):
            x = F.conv2d(x, kernel.double()[None, None], padding=reach).relu()
            if number == 0:
                x = self.down(x)
        return x


def band_pass():
    """Three differences of Gaussians: they pass frequencies of about a quarter of the sampling rate."""
    return Isotropic([50 * (gaussian(1.0, 9) - gaussian(1.6, 9))] * 3)


class Blur(nn.Module):
    def forward(self, x):
        return F.conv2d(x, gaussian(4.0, 25).double()[None, None], padding=12)


class EveryFourth(nn.Module):
    """Positions 0, 4, ... 32 of 33, the same from both ends."""

    def forward(self, x):
        return x[..., ::4, ::4]


def random_network(*strides):
    torch.manual_seed(0)
    widths = [1, *(6 for _ in strides)]
    layers = [
        layer
        for before, after, stride in zip(widths, widths[1:], strides, strict=False)
        for layer in (nn.Conv2d(before, after, 3, stride, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers).double()


def sides(network, g, images, stride=1.0):
    prepared = g.prepare(images) if g.prepare else images
    with torch.no_grad():
        return g.align(network(g.act(prepared)), network(prepared), stride)


def correlation(copy, original):
    """Of each channel with itself, over images and positions; (c,)."""
    pairs = zip(copy.movedim(1, 0).flatten(1), original.movedim(1, 0).flatten(1), strict=True)
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])


def invariance(network, g, images, stride=1.0):
    return correlation(*sides(network, g, images, stride)).mean().item()


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("quarters", [-1, 0, 1, 2, 3])
def test_acting_by_a_quarter_turn_is_rot90(images, quarters, border):
    (g,) = rotations([90 * quarters], border)
    torch.testing.assert_close(g.act(images), images.rot90(quarters, (2, 3)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize(("strides", "side"), [((1,), 32), ((1, 2), 16), ((2, 2), 8)])
def test_quarter_turns_score_as_the_exact_ones(images, quarters, strides, side):
    """On the same discs of the images, at the positions within the inscribed circle, counted here anew."""
    network, (g,), exact = random_network(*strides), rotations([90 * quarters]), QuarterTurn(quarters)
    discs = disc(images)
    squares = torch.arange(side).mul(2).sub(side - 1).square()
    circle = squares[:, None] + squares <= (side - 1) ** 2
    with torch.no_grad():
        aligned = exact.align(network(exact.act(discs)), network(discs), None)
    expected = correlation(*(maps[..., circle] for maps in aligned))
    found = correlation(*sides(network, g, images, 32 / side))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert quarters or found.min() > 1 - 1e-9
    assert not quarters or found.min() < 0.99


def test_all_angles_compare_the_same_positions():
    for side, expected in ((32, 740), (16, 172), (8, 32), (7, 29)):
        maps = torch.rand(2, 3, side, side)
        for g in rotations([0, 15, 45, 90, 211.5]):
            for aligned in (g.align(maps, maps, 1), g.control.align(maps, maps, 1)):
                assert [part.shape for part in aligned] == [(2, 3, expected, 1)] * 2
    assert rotations([15])[0].align(maps[..., :2, :2], maps[..., :2, :2], 1) is None


def test_a_positive_angle_turns_counter_clockwise():
    """Six times by 15 degrees is a quarter turn, on an image so smooth that nothing is lost on the way."""
    at = torch.linspace(-1, 1, 64).double()
    spot = torch.exp(-((at[:, None] + 0.4) ** 2 + (at - 0.2) ** 2) / 0.02)[None, None]
    (g,), turned = rotations([15]), spot
    for _ in range(6):
        turned = g.act(turned)
    torch.testing.assert_close(turned, spot.rot90(1, (2, 3)), atol=0.02, rtol=0)


@pytest.mark.parametrize("direction", ["diagonal", "vertical", "horizontal"])
def test_one_pixel_at_stride_one_is_the_exact_shift(images, direction):
    (g,), exact = subpixel_shifts([1], direction), Shift(1, direction)
    down, right = exact._steps(1)
    reflected = F.pad(images, (right, 0, down, 0), mode="reflect")[..., :32, :32]
    torch.testing.assert_close(g.act(images), reflected, atol=1e-12, rtol=0)
    network = random_network(1, 1)
    with torch.no_grad():
        copy, original = network(reflected), network(images)
    for found, expected in zip(g.align(copy, original, 1), exact.align(copy, original, 1), strict=True):
        torch.testing.assert_close(found, expected.flatten(2)[..., None], atol=1e-12, rtol=0)


def test_a_map_of_stride_four_shifts_by_a_quarter_of_a_position_per_pixel():
    rows = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 8)
    _, moved = subpixel_shifts([1], "vertical")[0].align(rows, rows, 4)
    torch.testing.assert_close(moved.view(7, 8), rows[0, 0, 1:] - 0.25)
    assert subpixel_shifts([1])[0].align(rows, rows, None) is None
    assert subpixel_shifts([32])[0].align(rows, rows, 4) is None


def test_a_scaling_moves_image_and_map_alike():
    """A ramp stays a ramp: at distance d from the centre the image enlarged by s has the value at d / s."""
    ramp = (torch.arange(32.0) - 15.5).view(1, 1, 32, 1).expand(1, 1, 32, 32).double()
    for g, factor in zip(scalings([0.5, 1.25]), (0.5, 1.25), strict=True):
        middle = g.act(ramp)[..., 12:20, 12:20]
        torch.testing.assert_close(middle, ramp[..., 12:20, 12:20] / factor, atol=0.02, rtol=0)
        copy, original = g.align(ramp / factor, ramp, 1)
        torch.testing.assert_close(copy, original)


@pytest.mark.parametrize("g", [*scalings([0.5, 0.8, 1.25]), *subpixel_shifts([0.25]), *rotations([15], "reflect")])
def test_images_of_one_colour_keep_it(g):
    white = torch.ones(2, 3, 12, 17)
    torch.testing.assert_close(g.act(white), white)


def test_beyond_the_border():
    white = torch.ones(1, 1, 32, 32)
    corners = {border: rotations([45], border)[0].act(white)[0, 0, 0, 0].item() for border in BORDERS}
    assert corners == {"disc": 0, "zero": 0, "reflect": pytest.approx(1)}


def wave(rows, columns, period):
    return torch.cos(2 * torch.pi * (rows + columns) / (2**0.5 * period))


def test_waves_of_four_pixels_keep_their_height():
    """Bilinear interpolation half-way between two pixels would leave 0.71 of it, which a network sees."""
    at = torch.arange(32).double() - 15.5
    (shift,), (turn,) = subpixel_shifts([0.5]), rotations([15], "reflect")
    image = wave(at[:, None], at, 4)[None, None]
    angle = torch.tensor(torch.pi / 12).double()
    rows = angle.cos() * at[:, None] + angle.sin() * at
    columns = angle.cos() * at - angle.sin() * at[:, None]
    for g, expected in ((shift, wave(at[:, None] - 0.5, at - 0.5, 4)), (turn, wave(rows, columns, 4))):
        torch.testing.assert_close(
            g.act(image)[0, 0, 8:24, 8:24], expected[8:24, 8:24], atol=0.05, rtol=0, msg=g.name
        )


def test_shrinking_filters_what_the_small_image_cannot_hold():
    """Half as large, waves of three pixels would come out as longer ones."""
    image = torch.cos(2 * torch.pi * torch.arange(32).double() / 3).expand(1, 1, 32, 32)
    assert image[..., 8:24, 8:24].abs().max() > 0.9
    assert scalings([0.5])[0].act(image)[..., 10:22, 10:22].abs().max() < 0.3


@pytest.mark.parametrize("degrees", [7, 15, 30, 45, 60, 75, 90, 133.3])
def test_the_gaussian_network_is_invariant_to_any_angle(images, degrees):
    blocks, (g,) = GaussianCNN(1, 1).double().blocks, rotations([degrees])
    for depth, least in ((1, 0.99), (2, 0.998), (3, 0.999)):  # the first has a filter of half a pixel
        assert invariance(nn.Sequential(*blocks[:depth]), g, images) > least


@pytest.mark.parametrize("degrees", [15, 45])
def test_a_band_pass_network_is_nearly_invariant(images, degrees):
    """Its maps hold finer structure than those of the Gaussian network."""
    assert invariance(band_pass(), rotations([degrees])[0], images) > 0.95


@pytest.mark.parametrize("degrees", [15, 30, 45, 60, 75])
def test_aliasing_shows(images, degrees):
    """A stride of 4 with a blur before it keeps isotropy, without it loses it."""
    (g,), filters = rotations([degrees]), band_pass().filters[:1]
    blurred, aliased = Isotropic(filters, nn.Sequential(Blur(), EveryFourth())), Isotropic(filters, EveryFourth())
    odd = F.pad(images, (0, 1, 0, 1), mode="reflect")
    assert invariance(blurred, g, odd, 4.0) > 0.97
    assert invariance(aliased, g, odd, 4.0) < 0.5


def test_a_turn_is_the_mirror_image_turned_back(images):
    (there, back), network = rotations([15, -15]), band_pass()
    plain, mirrored = (invariance(network, g, x) for g, x in ((there, images), (back, images.flip(-1))))
    assert plain == pytest.approx(mirrored, abs=1e-9)


@pytest.mark.parametrize("g", [h for g in EVERY for h in (g, g.control)], ids=lambda g: f"{g.name} {g.element}")
def test_each_side_is_a_fixed_linear_map(g):
    """As the statistics pass sums and differences of the maps of two images in place of the maps."""
    a, b, c, d = torch.randn(4, 2, 3, 16, 16, dtype=torch.float64)
    one, other = g.align(a, b, 2), g.align(c, d, 2)
    for found, x, y in zip(g.align(a - 2 * c, b - 2 * d, 2), one, other, strict=True):
        torch.testing.assert_close(found, x - 2 * y)
    torch.testing.assert_close(g.align(a, d, 2)[0], one[0], atol=0, rtol=0)
    torch.testing.assert_close(g.align(c, b, 2)[1], one[1], atol=0, rtol=0)
    single = g.align(*(maps.float().to(memory_format=torch.channels_last) for maps in (a, b)), 2)
    for found, expected in zip(single, one, strict=True):
        torch.testing.assert_close(found, expected.float(), atol=5 * rounding(4 * 16), rtol=0)  # of values up to 5


@pytest.mark.parametrize("g", EVERY, ids=lambda g: f"{g.name} {g.element}")
def test_the_control_returns_to_where_it_came_from(images, g):
    """On images that are smooth enough nothing is lost there and back; on white noise much is."""
    smooth = Blur()(images)
    assert invariance(IDENTITY, g.control, smooth) > 0.99
    assert correlation(*g.control.align(smooth, smooth, 1)).item() > 0.99
    inside = g.control.act(smooth)[..., 10:22, 10:22]
    assert correlation(inside, smooth[..., 10:22, 10:22]).item() > 0.99
    noise = torch.randn(24, 1, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    lost = 1 - invariance(IDENTITY, g.control, noise)
    assert lost == pytest.approx(0, abs=1e-9) if g.element == 90 else lost > 0.01
    compared = sides(IDENTITY, g, images)[0].shape
    assert sides(IDENTITY, g.control, images)[0].shape == compared


def test_the_measurement_prepares_originals_and_copies(images):
    """All angles and the originals see the same disc; scores are those of the maps compared here one by one."""
    torch.manual_seed(0)
    seen = []

    class Eye(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Linear(2, 3)

        def forward(self, x):
            seen.append(x)
            return self.head(self.stem(x).mean((2, 3)))

    network, angles = Eye().double().eval(), rotations([30, 90])
    layers = find_layers(network, images[0], ["stem"])
    for transforms in (angles, [g.control for g in angles]):
        metric = Equivariance(network, transforms, layers, over="dataset", blocks=1)
        metric.setup(images)
        seen.clear()
        metric.update(images)
        originals = torch.cat([copies[: len(copies) // (1 + len(metric.copies))] for copies in seen])
        torch.testing.assert_close(originals, disc(images))
        table = metric.compute()
        found = table[table.score == "invariance"].set_index("element").value
        for g in transforms:
            expected = correlation(*sides(network.stem, g, images)).relu().mean().item()
            assert found[g.element] == pytest.approx(expected, abs=1e-9)
    with pytest.raises(UserError, match="measure them apart"):
        Equivariance(network, [*angles, QuarterTurn(1)], layers)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "name", "elements"),
    [
        (["measure=rotation", "measure.transform.elements=[15,90]"], "continuous rotation", [15, 90]),
        (["measure=scale", "measure.transform.elements=[0.8]"], "scaling", [0.8]),
        (["measure=subpixel"], "sub-pixel shift", [0.125, 0.25, 0.375, 0.5]),
    ],
)
def test_the_command_measures_them(run, folder, tmp_path, choice, name, elements):
    """On images that are not square, too."""
    given = ("dataset=image_folder", f"dataset.root={folder}", "dataset.size=[28,36]", "model=cnn7")
    result = run("measure.py", *given, "measure.trained=false", *choice)
    assert result.code == 0, result.error
    (file,) = (tmp_path / "runs").rglob("results.csv")
    table = rows.read(file)
    assert set(table["transform"]) == {name} and sorted(set(table.element)) == elements
    assert table[table.layer == table.layer.iloc[0]].value.between(0.01, 1).all()


def test_which_angles_are_exact():
    assert sets.rotations([90, -180]) == [QuarterTurn(1), QuarterTurn(-2)]
    assert sets.rotations([15, 90]) == rotations([15, 90])
    assert sets.rotations([90.5], "zero") == rotations([90.5], "zero")
    assert [type(g.element) for g in sets.rotations([15.0, 22.5])] == [int, float]


@pytest.mark.parametrize("one", [90, 90.0, np.int64(90), np.float32(90), [90], np.array([90]), torch.tensor(90)])
def test_one_element_or_several_of_any_kind_of_number(one):
    assert sets.rotations(one) == [QuarterTurn(1)] and type(sets.rotations(one)[0].element) is int


@pytest.mark.parametrize("g", [QuarterTurn(1), *sets.shifts(3), rotation(30)], ids=lambda g: g.name)
def test_unaligned_maps_are_compared_where_they_are(images, g):
    """Eq. 4 as it is written: the maps of image and copy, none of them moved, in the disc where there is one."""
    make = {"rotation": sets.rotations, "translation": sets.shifts}.get(g.name, sets.rotations)
    (literal,) = make(g.element, aligned=False)
    network = random_network(1)
    found, prepared = sides(network, literal, images), (literal.prepare or (lambda x: x))(images)
    with torch.no_grad():
        expected = network(g.act(prepared)), network(prepared)
    inside = torch.ones(32, 32, dtype=torch.bool)
    if literal.prepare:
        at = torch.arange(32) - 15.5
        inside = torch.hypot(at[:, None], at) <= 15.5
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.flatten(2), other[..., inside], atol=1e-12, rtol=0)
    assert literal.name == f"unaligned {g.name}" and not hasattr(literal, "control")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sets.rotations(["15"]), "^elements: 15; needs numbers"),
        (lambda: sets.rotations([float("nan")]), "needs numbers"),
        (lambda: sets.rotations([15, 10**400]), "needs numbers"),
        (lambda: sets.rotations(True), "needs numbers"),
        (lambda: sets.rotations([15], "circular"), "^border=circular: choose disc, zero, reflect"),
        (lambda: sets.rotations(450), "^elements: 450 degrees; did you mean 90"),
        (lambda: sets.rotations([0, 90]), "0 degrees is the identity"),
        (lambda: sets.rotations([360]), "0 degrees is the identity"),
        (lambda: sets.rotations([90, -270]), "90 degrees is there twice"),
        (lambda: sets.shifts([3, 3.0]), "3 pixels is there twice"),
        (lambda: sets.shifts(0), "^elements: a shift by 0"),
        (lambda: sets.shifts(1, "up"), "^direction=up: choose diagonal"),
        (lambda: sets.dihedral(["mirror", "mirror"]), "mirror is there twice"),
        (lambda: sets.dihedral(45), "^elements: 45 is no symmetry"),
        (lambda: sets.scalings([1, 2]), "1 times is the identity"),
        (lambda: relative_shifts("a/7", 28), "^elements: a/7 is no share"),
        (lambda: relative_shifts("1/99", 28), "^elements: a shift by 0"),
        (lambda: scalings([0]), "factors above 0"),
        (lambda: subpixel_shifts([0.5], "up"), "choose diagonal"),
        (lambda: subpixel_shifts([40])[0].check(32, 32), "leaves nothing"),
        (lambda: scalings([100])[0].check(32, 32), "leaves nothing"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        wrong()
    for g in EVERY:
        g.check(32, 48)
