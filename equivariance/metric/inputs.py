"""What a user may give as images and labels; everything else is refused in one line, with a way out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from equivariance.errors import UserError

IMAGE_KEYS = ("pixel_values", "images", "image", "img", "inputs")  # of batches that are dicts
LABEL_KEYS = ("labels", "label", "targets", "target")


def whole(name: str, given: Any) -> int:
    """A whole number from 1 on."""
    if isinstance(given, bool) or not isinstance(given, Integral) or given < 1:
        raise UserError(f"{name}={given}: needs a whole number from 1 on")
    return int(given)


def images(given: Any) -> Tensor:
    """A batch of images (n, c, h, w), n from 1 on, from a tensor or an array.

    Raises:
        UserError: it is something else.
    """
    found = _tensor(given, "images", "tensors (n, c, h, w), normalised as the network expects")
    shape = tuple(found.shape)
    if found.ndim != 4 or not found.numel():
        ways = {
            1: "; labels stand beside their images, as in [(images, labels)]",
            3: "; one image is images[None]",
            5: "; the frames of a video are images of their own",
        }
        raise UserError(f"images of shape {shape}: give (n, c, h, w){ways.get(found.ndim, '')}")
    if found.is_complex():
        raise UserError("images: complex numbers; give real ones")
    return found


def labels(given: Any, count: int) -> Tensor:
    """The classes (n,) of n images, from whole numbers in a tensor, an array or a list.

    Raises:
        UserError: it is something else.
    """
    found = _tensor(given, "labels", "numbers of classes (n,), in the order of the logits")
    found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
    if found.shape != (count,):
        one_hot = "; labels.argmax(1) of one-hot ones" if found.ndim == 2 and len(found) == count else ""
        shape = tuple(found.shape)
        raise UserError(f"labels of shape {shape} for {count} images: give (n,), one class each{one_hot}")
    if found.is_complex() or not torch.equal(found, found.long().to(found.dtype)) or found.min() < 0:
        raise UserError("labels: give whole numbers from 0 on, the classes in the order of the logits")
    return found.long()


def batches(given: Any, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Images with their labels, or None, in batches: of a tensor or array, a `Dataset` or an iterable.

    What an iterable yields is a batch of images (n, c, h, w), a pair of images and labels, or a dict of them; or a
    single image (c, h, w) with its label, of which batches are made.

    Args:
        size: images of a batch, where it is for us to say.

    Raises:
        UserError: there are no images, or something is none.
    """
    shape, size = None, whole("batch_size", size)
    for batch, classes in _gathered(_yielded(given, size), size):
        if not batch.ndim or len(batch):
            found = images(batch)
            shape = found.shape[1:] if shape is None else shape
            of_one_size(found.shape[1:], shape)
            yield found, None if classes is None else labels(classes, len(batch))
    if shape is None:
        raise UserError("there are no images to measure")


def of_one_size(shape: Sequence[int], before: Sequence[int]) -> None:
    """Refuse images (c, h, w) of another shape than those before."""
    if tuple(shape) != tuple(before):
        raise UserError(f"images of shape {tuple(shape)} after others of {tuple(before)}: give one size")


def _yielded(given: Any, size: int) -> Iterator[tuple[Any, Any]]:
    """Images and labels, or None, as they come."""
    if isinstance(given, Tensor | np.ndarray):
        everything = images(given) if given.ndim != 4 or len(given) else given
        given = (everything[start : start + size] for start in range(0, len(everything), size))
    elif isinstance(given, Mapping | str) or not isinstance(given, Iterable | Dataset):
        given = [given]
    elif isinstance(given, Dataset) and hasattr(given, "__len__"):
        given = map(given.__getitem__, range(len(given)))
    for each in given:
        if isinstance(each, Mapping):
            key, label = (next((key for key in keys if key in each), None) for keys in (IMAGE_KEYS, LABEL_KEYS))
            if key is None:
                there = ", ".join(map(str, each))
                raise UserError(f"images: a dict of {there}; give one with {IMAGE_KEYS[0]}, or tensors")
            yield each[key], None if label is None else each[label]
        elif isinstance(each, tuple | list) and each:
            yield each[0], each[1] if len(each) > 1 else None
        else:
            yield each, None


def _gathered(stream: Iterator[tuple[Any, Any]], size: int) -> Iterator[tuple[Any, Any]]:
    """The same with single images (c, h, w) in batches."""
    single: list[tuple[Tensor, Any]] = []
    for batch, classes in stream:
        tensor = _tensor(batch, "images", "tensors (n, c, h, w), normalised as the network expects")
        if tensor.ndim != 3:
            yield tensor, classes
            continue
        if single:
            of_one_size(tensor.shape, single[0][0].shape)
        single.append((tensor, classes))
        if len(single) == size:
            yield _stacked(single)
            single = []
    if single:
        yield _stacked(single)


def _stacked(single: list[tuple[Tensor, Any]]) -> tuple[Tensor, Any]:
    tensors, classes = zip(*single, strict=True)
    return torch.stack(tensors), None if None in classes else [np.asarray(each) for each in classes]


def _tensor(given: Any, name: str, wanted: str) -> Tensor:
    """A tensor, or what an array or a list holds; arrays with negative strides are copied."""
    if isinstance(given, Tensor):
        return given
    try:
        if isinstance(given, np.ndarray | np.generic | list | tuple):
            return torch.as_tensor(np.ascontiguousarray(given))
    except (TypeError, ValueError, RuntimeError):
        pass
    text = isinstance(given, str) or (isinstance(given, list | tuple) and any(isinstance(x, str) for x in given))
    kind = "text" if text else f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    raise UserError(f"{name}: this is {kind}; give {wanted}")
