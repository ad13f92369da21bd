"""The statistics of a stream of images, kept in blocks of 2, 4, 8, ... images."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

Block = dict[Any, Any]  # by key, statistics that merge: `PairStatistics`, `linear.Gram`


class Blocks:
    """Mergeable statistics by key, in blocks of as many images as it takes for at most `most` blocks.

    Image i belongs to block i // size, whatever the batches in which the images come. Where there would be too many
    blocks, 2i and 2i + 1 are joined, so that the number of images need not be known beforehand.

    Args:
        empty: the statistics of a block without images.
        most: so many blocks at most.

    Attributes:
        size: images of a block, a power of two.
    """

    def __init__(self, empty: Callable[[], Block], most: int):
        self.empty, self.most, self.size = empty, most, 2
        self.blocks: dict[int, Block] = {}

    def __getitem__(self, index: int) -> Block:
        """The block with this index, empty if nothing has been added to it yet."""
        if index not in self.blocks:
            self.blocks[index] = self.empty()
        return self.blocks[index]

    def parts(self, key: Any) -> list[Any]:
        """The statistics of all blocks under a key, in the order of the images."""
        return [self.blocks[index][key] for index in sorted(self.blocks)]

    def add(self, index: int, more: Block) -> None:
        """Add statistics to those of the same keys of a block."""
        block = self[index]
        for key, sums in more.items():
            block[key].merge(sums)

    def copy_of(self, index: int) -> Block | None:
        """The statistics of a block, copied; None if nothing has been added to it yet."""
        return {key: sums.copy() for key, sums in self.blocks[index].items()} if index in self.blocks else None

    def put_back(self, index: int, block: Block | None) -> None:
        """Undo what has been added to a block since it was copied."""
        del self.blocks[index]
        if block is not None:
            self.blocks[index] = block

    def segments(self, start: int, images: int) -> Iterator[tuple[int, slice]]:
        """The blocks of the next images, from the index `start`, and which of them belong to each.

        A single one that is left over at the end goes along with the one before it.
        """
        end = start + images - images % 2
        cuts = [start, *range(start // self.size * self.size + self.size, end, self.size), end]
        for first, last in pairwise(cuts):
            stop = last + images % 2 if last == end else last
            yield first // self.size, slice(first - start, stop - start)

    def make_room(self, end: int) -> None:
        """Join blocks until those of the images up to the index `end` are not too many."""
        end = max(end // 2 * 2, *((index + 1) * self.size for index in self.blocks), 2)
        while -(-end // self.size) > self.most:
            self.join()

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
        """Add the blocks that the `state()` of others describes."""
        while self.size < state["block_size"]:
            self.join()
        scale = self.size // state["block_size"]
        for index, block in state["blocks"].items():
            mine = self[index // scale]
            self.add(index // scale, {key: mine[key].from_state(sums, device) for key, sums in block.items()})

    def state(self) -> dict[str, Any]:
        """All statistics, copied, as tensors and plain values."""
        blocks = {index: {key: each.state() for key, each in block.items()} for index, block in self.blocks.items()}
        return {"block_size": self.size, "blocks": blocks}
