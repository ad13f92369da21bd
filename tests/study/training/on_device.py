"""What `scripts/gpu_check.py` asks of a device, each in its own process: scores as on the CPU, losses as eager.

python -m tests.study.training.on_device machine|scores|training
"""

import copy
import sys
import time

import torch

import equivariance as eq
from equivariance.errors import UserError
from equivariance.names import NESTED
from equivariance.study.data.augmentation import Augmentation
from equivariance.study.models import CNN7
from equivariance.study.training.hardware import Hardware
from tests.study.training.test_capture import on_tape
from tests.study.training.test_training import start_training
from train import step as train_step

EQUAL = 1e-4  # scores of two devices
ALIKE = 0.05  # relative, losses in bfloat16; as of weights in test_capture.py


def machine() -> None:
    """Versions, device, free memory."""
    hardware = Hardware()
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    print(f"{hardware.name}; {hardware.precision}, graph {hardware.graph}, compile {hardware.compile}")
    if hardware.device.type == "cuda":
        free, whole = torch.cuda.mem_get_info()
        print(f"{free / 2**30:.1f} of {whole / 2**30:.1f} GiB are free")


def scores() -> None:
    """All scores of a small network on the CPU and on the device, where it lies channels-last."""
    torch.manual_seed(0)
    hardware, model, images = Hardware.for_measuring(), CNN7(1, 6), torch.randn(64, 1, 28, 28)
    there, largest = hardware.place(copy.deepcopy(model)), 0.0
    for over, angles in (("image", [90, 180]), ("dataset", [90, 180]), ("image", [30, 45])):
        one, other = (
            eq.measure(network, images.to(device), eq.rotations(angles), over=over, scores=NESTED, blocks=2)
            for network, device in ((model, "cpu"), (there, hardware.device))
        )
        difference = (one[["value", "chance"]] - other[["value", "chance"]]).abs().max(axis=None)
        print(f"over {over}, {angles} degrees: {len(one)} rows differ by at most {difference:.1e}", flush=True)
        largest = max(largest, difference)
    if largest > EQUAL:
        raise UserError(f"the scores on {hardware.name} are not those on the CPU")


def training() -> None:
    """Ten steps in each way from the same beginning, and the time of those after; the fastest way that is right."""
    gpu, eager, times = torch.cuda.is_available(), None, dict[str, float]()
    for graph, compiled in ((False, False), (True, False), (False, True), (True, True)):
        if graph and compiled and not gpu:
            continue  # the tape cannot repeat what the compiler makes
        run, images = start_training(
            Augmentation(), hardware=on_tape() if graph and not gpu else Hardware(graph=graph, compile=compiled)
        )
        losses: list[torch.Tensor] = []
        while len(losses) < 30:
            for batch in run.batches(images):
                run.take(train_step, *batch)
                losses.append(run.totals.loss.clone())
                if len(losses) == 10:
                    first, began = torch.stack(losses).cpu(), time.perf_counter()
            run.end_epoch(0, 0, 0)
        torch.stack(losses).cpu()  # waits for the device
        seconds = (time.perf_counter() - began) / (len(losses) - 10)
        eager = first if eager is None else eager
        right = torch.allclose(first, eager, rtol=ALIKE)
        way = f"hardware.graph={graph} hardware.compile={compiled}".lower()
        print(f"{way}: {1e3 * seconds:.2f} ms a step, losses as eager: {right}", flush=True)
        times |= {way: seconds} if right else {}
        print(f"fastest: {min(times, key=times.__getitem__)}", flush=True)


if __name__ == "__main__":
    {"machine": machine, "scores": scores, "training": training}[sys.argv[1]]()
