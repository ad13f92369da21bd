"""Device, number format, memory layout: everything that serves speed."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from joblib import cpu_count
from torch.utils._triton import has_triton

from equivariance.errors import UserError, reason
from equivariance.study.training.cuda_graph import Captured

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
NO_MEMORY = ("DefaultCPUAllocator: ", "std::bad_alloc")  # in the message of a RuntimeError


class Hardware:
    """Device, precision and memory layout of a run, chosen from `conf/config.yaml: hardware`.

    `auto` takes mixed bfloat16 precision (parameters, batch norm statistics and loss stay in float32) where
    the hardware multiplies matrices in it: CUDA devices from Ampere on, CPUs with AMX or AVX512-BF16
    (1.5 to 1.8 times float32 on the latter). Everything else, and every measurement, is float32.

    The layout is channels-last where that was measured to pay: on GPUs, on one CPU thread, on more with bfloat16
    where all convolutions put out multiples of 16 channels, so that they fill the matrix units (CNN-7, with 20,
    takes half as long again). With float32 on more threads it does not pay: PyTorch's batch norm for channels-last
    costs there more than the convolutions gain. Compilation does not pay on the CPU either (CNN-7: the generated
    batch norm is slower than the library's). `scripts/bench.py train` repeats these measurements.

    On CUDA devices the network is compiled for training where Triton is there, a step is one graph, and the steps
    of an epoch do not wait for the device. The choice of algorithms is deterministic, cuDNN's, the compiler's and
    that of attention, so that a resumed run repeats an uninterrupted one; float32 is float32, not TF32.
    """

    def __init__(
        self,
        device: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        graph: str | bool = "auto",
        compile: str | bool = "auto",
        strict: bool = False,
    ):
        self.strict = strict
        torch.set_num_threads(threads or min(torch.get_num_threads(), cpu_count()))
        self.threads = torch.get_num_threads()
        _keep_freed_memory()
        self.device = _device(device)
        if precision == "auto":
            precision = "bfloat16" if _multiplies_bfloat16(self.device) else "float32"
        self.precision = precision
        if graph is True and self.device.type != "cuda":
            raise UserError("hardware.graph=true: choose auto, false, or on a CUDA device true")
        self.graph = self.device.type == "cuda" if graph == "auto" else bool(graph)
        self.compile = self.device.type == "cuda" and has_triton() if compile == "auto" else bool(compile)
        # The GPU gets an epoch of CIFAR-10 at once: torchvision's operations wait for it once an epoch.
        self.chunk = 32 if self.device.type == "cpu" else 400
        torch.backends.cudnn.deterministic = True  # a resumed run repeats an uninterrupted one
        torch.backends.cudnn.allow_tf32 = False  # else convolutions read 10 of the 23 bits of float32 numbers
        if self.device.type == "cuda":  # those backward passes add up in no fixed order
            torch.backends.cuda.enable_flash_sdp(False)
            torch.backends.cuda.enable_mem_efficient_sdp(False)
        one_thread = self.device.type == "cpu" and self.threads == 1
        channels_last = self.device.type == "cuda" or one_thread
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    @classmethod
    def for_measuring(cls, **settings: Any) -> "Hardware":
        """Always float32; channels-last, which costs no network in evaluation anything and most gain a third."""
        hardware = cls(**settings | {"precision": "float32", "compile": False})  # compiled code has no hooks
        hardware.layout = torch.channels_last
        return hardware

    def place(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model on the device, in the layout that is fastest there; from then on that of its images."""
        if self.device.type == "cpu" and self.precision == "bfloat16":
            widths = [module.out_channels for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
            if all(width % 16 == 0 for width in widths):
                self.layout = torch.channels_last
        if self.compile:
            model.compile(options={"deterministic": True})  # in place: parameters keep their names
        return model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]  # documented so

    def capture(self, step: Callable[..., None]) -> Callable[..., None]:
        """The step itself, or where `hardware.graph` its replay as one CUDA graph."""
        return Captured(step) if self.graph else step

    def autocast(self) -> torch.autocast:
        """The context in which a training step's forward pass runs."""
        return torch.autocast(self.device.type, PRECISIONS[self.precision], enabled=self.precision != "float32")

    @contextmanager
    def explain_failures(self, key: str, value: int) -> Iterator[None]:
        """Say what to change where memory runs out (a lower `key` than `value`), or the compiler fails."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            full = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if full or any(words in str(error) for words in NO_MEMORY):
                raise UserError(f"{self.name} is out of memory: give a lower {key} than {value}") from error
            if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise UserError(f"the compiler failed ({reason(error)}): hardware.compile=false") from error
            raise

    @property
    def name(self) -> str:
        """The GPU's name, or "cpu, 2 threads"."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type}, {self.threads} thread{'s' * (self.threads > 1)}"


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep what tensors free for the next ones, where it is glibc.

    By default large blocks go back to the system and come again, to be cleared page by page: up to half of the time
    of a ResNet-44's evaluation on a virtual machine. Blocks beyond 64 MiB, and what is free beyond 512 MiB at the
    end of the heap, still go back, so that many networks one after the other do not pile up.
    """
    if sys.platform == "linux" and (tune := getattr(ctypes.CDLL(None), "mallopt", None)):
        m_mmap_threshold, m_trim_threshold = -3, -1
        tune(m_mmap_threshold, 64 * 2**20)
        tune(m_trim_threshold, 512 * 2**20)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = str(torch.accelerator.current_accelerator(check_available=True) or "cpu")
    try:
        device = torch.empty(0, device=name).device  # with its index
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"hardware.device={name}: {reason(error)}") from error
    if device.type == "meta":
        raise UserError(f"hardware.device={name}: it computes nothing, choose auto, cpu or cuda")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs are of the current one
    return device


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
