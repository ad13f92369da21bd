"""A stream of images: how it is cut into blocks, which images give the chance level together, and their sums."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from torch import Tensor

from equivariance.statistics.moments import Moments

TRUE, CHANCE = "", " chance"  # what a part of a batch is added to: the sums of true pairs, of different images
Part = tuple[int, slice, tuple[str, ...]]  # a block's index, images of a batch, what they are added to


class Blocks:
    """Sums of a stream of images by key, in blocks of 2, 4, 8, ... images, as many as it takes for at most `most`.

    Image i belongs to block i // size, whatever the batches in which the images come. Where there would be too many
    blocks, 2i and 2i + 1 are joined, so that the number of images need not be known beforehand.

    Images 2i and 2i + 1 give the chance level together. Of a batch that ends between them the last image is `held`:
    it comes once more with the next batch, for the chance level alone. An image whose neighbour never comes, or is
    measured elsewhere, has no part in the chance level.

    Args:
        empty: sums to which nothing has been added, by key.
        most: so many blocks at most.
        start: the index of the first image that will come.

    Attributes:
        size: images of a block, a power of two.
        images: how many are in the sums.
        held: an image (1, c, h, w) whose neighbour is the next one; or None.
    """

    def __init__(self, empty: Callable[[Any], Moments], most: int, start: int = 0):
        self.empty, self.most, self.size, self.start, self.images = empty, most, 2, start, 0
        self.blocks: dict[int, dict[tuple, Moments]] = {}
        self.held: Tensor | None = None

    def parts(self, images: int, again: bool) -> Iterator[Part]:
        """How the next images are added up.

        Args:
            again: the first of them has been held, and is in the sums of true pairs already.
        """
        start = self.start + self.images - again
        end = start + images
        first, last = start + start % 2 + 2 * again, end // 2 * 2  # from here to there, all images have neighbours
        self._make_room(end)

        def part(low: int, high: int, *what: str) -> Part:
            return low // self.size, slice(low - start, high - start), what

        if again:
            yield part(start, start + 2, CHANCE)
        if start + again < min(first, end):
            yield part(start + again, start + again + 1, TRUE)
        for low, high in pairwise([first, *range((first // self.size + 1) * self.size, last, self.size), last]):
            if low < high:
                yield part(low, high, TRUE, CHANCE)
        if first <= last < end:
            yield part(last, end, TRUE)

    def counted(self, images: Tensor, again: bool) -> None:
        """Note that these images are in the sums, the first one of them again."""
        self.images += len(images) - again
        self.held = images[-1:] if (self.start + self.images) % 2 else None

    def in_order(self) -> list[dict[tuple, Moments]]:
        """The blocks in the order of their images."""
        return [self.blocks[index] for index in sorted(self.blocks)]

    def sums(self, key: tuple) -> list[Moments]:
        """The sums of all blocks that have some under a key, in order."""
        return [block[key] for block in self.in_order() if key in block]

    def whole(self, key: tuple) -> Moments:
        """The sums of all images."""
        whole = self.empty(key)
        for part in self.sums(key):
            whole.merge(part)
        return whole

    def add(self, index: int, more: Mapping[Any, Moments]) -> None:
        """Add sums to those of the same keys of a block."""
        block = self.blocks.setdefault(index, {})
        for key, sums in more.items():
            if key not in block:
                block[key] = self.empty(key)
            block[key].merge(sums)

    def join(self) -> None:
        """Join blocks 2i and 2i + 1."""
        self.size *= 2
        blocks, self.blocks = self.blocks, {}
        for index in sorted(blocks):
            if index // 2 in self.blocks:
                self.add(index // 2, blocks[index])
            else:
                self.blocks[index // 2] = blocks[index]

    def merge(self, state: dict[str, Any], device: Any) -> None:
        """Add the blocks that the `state()` of others describes; without any of its own, go on where they ended."""
        self.held = None if self.images or state["held"] is None else state["held"].to(device)
        self.start = self.start if self.images else state["start"]
        self.images += state["images"]
        while self.size < state["block_size"]:
            self.join()
        scale = self.size // state["block_size"]
        for index, block in state["blocks"].items():
            self.add(index // scale, {key: self.empty(key).load(sums, device) for key, sums in block.items()})
        self._make_room(self.start + self.images)

    def state(self) -> dict[str, Any]:
        """All sums, copied, as tensors and plain values."""
        blocks = {i: {(*key,): each.state() for key, each in block.items()} for i, block in self.blocks.items()}
        place = {"start": self.start, "images": self.images, "held": self.held}
        return place | {"block_size": self.size, "blocks": blocks}

    def _make_room(self, end: int) -> None:
        """Join blocks until those of the images up to the index `end` are not too many."""
        while max(-(-end // self.size), max(self.blocks, default=0) + 1) > self.most:
            self.join()
