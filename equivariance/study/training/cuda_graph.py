"""Capture a training step in a CUDA graph once and replay it: one launch instead of hundreds."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls before the capture, in which lazy initialisations happen and the optimiser makes its state


class Captured:
    """A step on tensors of fixed shapes, captured in a CUDA graph and replayed from then on.

    As in "Whole-network capture" of PyTorch's notes on CUDA semantics: the first calls run the step itself on the
    stream of the capture; later calls copy their arguments to the memory that the captured step reads. Everything
    else that the step reads or writes must stay where it is (parameters, the optimiser's state, running sums, and
    the learning rate, a tensor). The step may not wait for the device, and its Python code runs only before and
    during the capture.
    """

    def __init__(self, step: Callable[..., None]):
        self.step, self.calls = step, 0
        self.inputs: list[Tensor] | None = None
        self.stream: torch.cuda.Stream | None = None
        self.replay: Callable[[], None] | None = None

    def __call__(self, *arguments: Tensor) -> None:
        if self.inputs is None:
            self.inputs = [torch.empty_like(argument) for argument in arguments]
        for place, argument in zip(self.inputs, arguments, strict=True):
            if place.shape != argument.shape:
                raise ValueError(f"captured for shape {tuple(place.shape)}, called with {tuple(argument.shape)}")
            place.copy_(argument, non_blocking=True)
        self.calls += 1
        if self.calls <= WARM_UP:
            self.warm_up(self.inputs)
            return
        if self.replay is None:
            self.replay = self.record(self.inputs)
        self.replay()

    def warm_up(self, inputs: list[Tensor]) -> None:
        """Run the step on the stream of the capture."""
        self.stream = self.stream or torch.cuda.Stream()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # the capture is still to come
            self.step(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)

    def record(self, inputs: list[Tensor]) -> Callable[[], None]:
        """Capture the step without running it; returns the function that replays it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.step(*inputs)
        return graph.replay
