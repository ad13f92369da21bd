"""The same work on the device again and again, at the price of one launch: CUDA graphs."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls before the capture: lazy initialisations, and the optimiser's state, lie behind it then


class Captured:
    """Work on tensors of fixed shapes, captured in a CUDA graph once and replayed from then on.

    As in "Whole-network capture" of PyTorch's notes on CUDA semantics. The first calls run the work itself, on the
    stream of the capture. A call copies its arguments to where the captured work reads them. What else the work
    reads or writes must stay where it is: parameters, the optimiser's state, running sums, and the learning
    rate, a tensor. It may not wait for the device, and what it does in Python happens only before the capture.

    Args:
        work: a function of tensors, that returns nothing.
    """

    def __init__(self, work: Callable[..., None]):
        self.work, self.calls = work, 0
        self.places, self.stream, self.replay = None, None, None

    def __call__(self, *arguments: Tensor) -> None:
        if self.places is None:
            self.places = [torch.empty_like(argument) for argument in arguments]
        for place, argument in zip(self.places, arguments, strict=True):
            if place.shape != argument.shape:
                raise ValueError(
                    f"captured for tensors of {tuple(place.shape)}, called with {tuple(argument.shape)}"
                )
            place.copy_(argument, non_blocking=True)
        self.calls += 1
        if self.calls <= WARM_UP:
            self.warm_up()
            return
        if self.replay is None:
            self.replay = self.record()
        self.replay()

    def warm_up(self) -> None:
        """Do the work, on the stream of the capture."""
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # the capture is still to come
            self.work(*self.places)
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self) -> Callable[[], None]:
        """What repeats the work on the same memory; nothing is done yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.work(*self.places)
        return graph.replay
