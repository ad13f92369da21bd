"""A network's copy whose borders are all circular: a circular shift by its stride must not change its features.

`circular` says how nearly that holds at every layer, `Circular` makes the borders, `scores` measures.
"""

import copy
import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from equivariance.layers.find import Layer, find_layers
from equivariance.metric.equivariance import Equivariance
from equivariance.metric.memory import affordable_layers
from equivariance.transforms.exact import Shift
from equivariance.transforms.protocol import Transformation

EXACT = 0.9999  # what counts as 1
TURNS = 3  # for as many transformations as measure=rotation has, a layer must not be too wide
COARSER = (2, 4, 7, 8)  # times the stride
POSITION = re.compile(r"position|pos_?emb|pos_bias|pos_proj|rel_pos|attention_bias|attn_mask|rope|freq")


def scores(
    model: nn.Module, layers: Sequence[Layer], transforms: Sequence[Transformation], pixels: Tensor
) -> dict[tuple[str, str], float]:
    """{(layer, measure): mean over the transformations}."""
    metric = Equivariance(model, transforms, layers, over="dataset", blocks=1, batch_size=2)
    metric.update(pixels)
    return metric.compute().groupby(["layer", "score"]).value.mean().to_dict()


def circular(model: nn.Module, layers: Sequence[Layer], pixels: Tensor) -> dict[str, float | str]:
    """The lowest invariance of any layer of a circular copy under a shift by its stride; or why there is none.

    Where that is not 1, coarser shifts are tried, and the first that gives 1 is kept: streams beside the layers may
    be coarser (or know no stride, where images are resized first), and attention may be inside windows of 4, 7 or 8
    rows. A shift by half the image cannot tell left from right.
    """
    stride = int(max((layer.stride or 1 for layer in layers), default=1))
    by_stride = shifted(model, layers, pixels, stride)
    if by_stride["circular"] > EXACT:
        return by_stride
    tries = (shifted(model, layers, pixels, step) for step in (*(n * stride for n in COARSER), 64))
    return next((found for found in tries if found["circular"] > EXACT), by_stride)


def shifted(model: nn.Module, layers: Sequence[Layer], pixels: Tensor, step: int) -> dict[str, float | str]:
    """`circular` for a shift by `step` pixels.

    The copy is the network with circular borders (see `Circular`) and without terms of position; in float64 where
    float32 is not enough. The image is enlarged to a multiple of the shift, and its size must be more than that.
    """
    height, width = (max(-(-side // step), 2) * step for side in pixels.shape[2:])
    pixels = F.interpolate(pixels[:2], (height, width), mode="bilinear")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, tensor in [*twin.named_parameters(), *twin.named_buffers()]:
            if POSITION.search(name) and tensor.is_floating_point():
                tensor.zero_()
    shift = Shift(step, direction="horizontal", border="circular")
    try:
        with Circular("replicate"):  # padding that is known to keep axes what they are
            found, _ = affordable_layers(find_layers(twin, pixels), TURNS)
        if [layer.name for layer in found] != [layer.name for layer in layers]:
            return {"circular": float("nan"), "circular_why": "other layers with circular borders"}
        for dtype in (torch.float32, torch.float64):
            with Circular("circular"):
                values = scores(twin.to(dtype), found, [shift], pixels.to(dtype))
            live = {
                name: value for (name, measure), value in values.items() if measure == "invariance" and value >= 0
            }
            away = [layer.name for layer in found if live.get(layer.name, 1) < EXACT]
            if not away:
                break
    except Exception as error:  # what a network does with other borders and sizes is its own affair
        return {"circular": float("nan"), "circular_why": (str(error).strip() or repr(error)).splitlines()[0]}
    return {
        "circular": min(live.values(), default=float("nan")),
        "circular_shift": step,
        "circular_why": f"from {away[0]} on" if away else "",
    }


class Circular(TorchFunctionMode):
    """Inside, windows run around: n rows become n / stride ones, padded by `fill` as far as that needs.

    For convolutions, pooling, unfolding and explicit padding of maps, whether the network pads them or not. What
    transposed convolutions and folding put beyond a border is added on the other side, and resizing looks there.
    With another `fill` than `circular` it is cut off, and resizing stays as it is.
    """

    def __init__(self, fill: str):
        super().__init__()
        self.fill = fill
        self.own = {
            torch.conv2d: self._conv2d,
            torch.conv_transpose2d: self._conv_transpose2d,
            torch.max_pool2d: self._max_pool2d,
            F.max_pool2d: self._max_pool2d,
            F.avg_pool2d: self._avg_pool2d,
            F.unfold: self._unfold,
            F.fold: self._fold,
            F.interpolate: self._interpolate,
            F.pad: self._pad,
        }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return self.own.get(func, func)(*args, **(kwargs or {}))

    def _conv2d(self, input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        around = self._around(input, weight.shape[2:], stride, padding, dilation)
        return F.conv2d(around, weight, bias, stride, 0, dilation, groups)

    def _max_pool2d(self, input, kernel_size, stride=None, padding=0, dilation=1, *rest, **options):
        around = self._around(input, kernel_size, stride or kernel_size, padding, dilation)
        return F.max_pool2d(around, kernel_size, stride, 0, dilation)

    def _avg_pool2d(self, input, kernel_size, stride=None, padding=0, *rest, **options):
        return F.avg_pool2d(self._around(input, kernel_size, stride or kernel_size, padding), kernel_size, stride)

    def _unfold(self, input, kernel_size, dilation=1, padding=0, stride=1):
        return F.unfold(
            self._around(input, kernel_size, stride, padding, dilation), kernel_size, dilation, 0, stride
        )

    def _fold(self, input, output_size, kernel_size, dilation=1, padding=0, stride=1):
        pads = _pads(output_size, kernel_size, stride, padding, dilation)
        whole = [n + sum(pads[2 * i : 2 * i + 2]) for n, i in zip(_pair(output_size), (1, 0), strict=True)]
        return self._folded_back(F.fold(input, whole, kernel_size, dilation, 0, stride), pads)

    def _conv_transpose2d(
        self, input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
    ):
        steps = _pair(stride)
        sides = [n * step for n, step in zip(input.shape[2:], steps, strict=True)]
        pads = _pads(sides, weight.shape[2:], stride, padding, dilation)
        gaps = [
            max(0, s - d * (k - 1) - 1) for s, k, d in zip(steps, weight.shape[2:], _pair(dilation), strict=True)
        ]
        whole = F.conv_transpose2d(input, weight, None, stride, 0, gaps, groups, dilation)
        out = self._folded_back(whole, pads)
        return out if bias is None else out + bias.view(-1, 1, 1)

    def _interpolate(self, input, size=None, scale_factor=None, mode="nearest", *rest, **options):
        once = F.interpolate(input, size, scale_factor, mode, *rest, **options)
        if self.fill != "circular" or input.ndim != 4:
            return once
        height, width = once.shape[2:]  # of three by three copies, the one in the middle has no border
        thrice = F.interpolate(input.tile(1, 1, 3, 3), (3 * height, 3 * width), None, mode, *rest, **options)
        return thrice[:, :, height : 2 * height, width : 2 * width]

    def _pad(self, input, pad, mode="constant", value=None):
        if input.ndim != 4 or len(pad) != 4 or min(pad) < 0 or not any(pad):
            return F.pad(input, pad, mode, value)
        padded = self._filled(input, pad)
        padded.around = True
        return padded

    def _around(self, input, kernel, stride, padding, dilation=1) -> Tensor:
        if getattr(input, "around", False):  # padded by the line before
            return input
        if _pair(kernel) == tuple(input.shape[2:]) and _pair(padding) == (0, 0):  # one window over the whole map
            return input
        pads = _pads(input.shape[2:], kernel, stride, padding, dilation)
        return self._filled(input, pads) if any(pads) else input

    def _filled(self, input, pads) -> Tensor:
        if self.fill != "circular":
            return F.pad(input, pads, self.fill)
        for dim, before, after in ((-1, *pads[:2]), (-2, *pads[2:])):  # F.pad goes around no more than once
            n = input.shape[dim]
            input = input.index_select(dim, torch.arange(-before, n + after) % n)
        return input

    def _folded_back(self, whole, pads) -> Tensor:
        """The transpose of `_filled`: what padding has copied out is added where it came from."""
        for dim, before, after in ((-1, *pads[:2]), (-2, *pads[2:])):
            n = whole.shape[dim] - before - after
            if self.fill == "circular":
                shape = (*whole.shape[:dim], n, *whole.shape[dim:][1:])
                whole = whole.new_zeros(shape).index_add(dim, torch.arange(-before, n + after) % n, whole)
            else:
                whole = whole.narrow(dim, before, n)
        return whole


def _pads(sizes, kernel, stride, padding, dilation=1) -> list[int]:
    """As F.pad takes them: what windows need for n / stride rows of n, rounded up."""
    pads = []
    for n, k, s, p, d in zip(sizes, *map(_pair, (kernel, stride, padding, dilation)), strict=True):
        more = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        left = min(more, (d * (k - 1)) // 2 if p == "same" else p)
        pads = [left, more - left, *pads]
    return pads


def _pair(value) -> tuple:
    return (value, value) if isinstance(value, int | str) else tuple(value)
