"""Time the work that costs most, against the plain way, in one run.

    python scripts/bench.py train [--models cnn7,resnet44] [--threads 2] [--batch 128] [--rounds 12]
    python scripts/bench.py measure [--models resnet44,resnet50,...] [--over image dataset]
    python scripts/bench.py passes [--models cnn7,resnet44]

`train`: one step of each network (forward, backward, update) on batches drawn from a uint8 tensor, as train.py runs
it, against the plain step of the same network: eager, contiguous (NCHW), float32, unfused optimiser. Both run in
turn, so that a busy machine slows both; the best round of each counts.

`measure`: a batch and its three quarter turns through each network, in turn bare, measured under each reading
(statistics of every layer inside the hooks, chance level included), and as one writes it first: hooks keep all
maps, then torch correlates all channels within each image. The ratio to the bare pass, and peak memory.

`passes`: the operations that the statistics of a batch consist of, and the least that these could take: every map
read once, and the products of channels, at the rates of a large sum and of a large product.

All cores without `--threads`; the networks are cnn7 and resnet44, to measure any of timm besides.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import argparse
import os
import platform
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler writes lines of its own

import timm
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf

import equivariance as eq
from equivariance.layers.find import Layers, find_layers, tap
from equivariance.names import OVER
from equivariance.statistics.image_blocks import CHANCE, TRUE
from equivariance.statistics.moments import CHANCE_CHANNELS
from equivariance.study.config import CONF, Recipe
from equivariance.study.data.datasets import Images
from equivariance.study.models import CNN7, ResNet
from equivariance.study.training.hardware import Hardware
from equivariance.study.training.trainer import Training
from train import step as train_step

STEPS = 5  # of each kind a round
PLAIN = "plain eager NCHW float32"
NETWORKS = {"cnn7": (1, 28, 28), "resnet44": (3, 32, 32)}  # and the images (c, h, w) that they take
PHOTOGRAPHS = (  # of timm
    *("resnet50", "efficientnet_b0", "vit_small_patch16_224", "mixer_s16_224", "convnext_tiny"),
    "swin_tiny_patch4_window7_224",
)
RECIPES = {"cnn7": "table1", "resnet44": "table2"}
TURNS = eq.rotations([90, 180, 270])


def network(name: str) -> torch.nn.Module:
    """One of NETWORKS, or any of timm."""
    if name == "cnn7":
        return CNN7(1, 10)
    return ResNet(3, 10, depth=44) if name == "resnet44" else timm.create_model(name)


def train(name: str, hardware: Hardware, given: argparse.Namespace) -> None:
    """Print the time of a plain step, of ours in each precision, and their ratios."""
    recipe = OmegaConf.merge(Recipe, OmegaConf.load(CONF / f"recipe/{RECIPES[name]}.yaml"))
    recipe.batch_size = given.batch
    pixels = torch.randint(256, (32 * given.batch, *NETWORKS[name]), dtype=torch.uint8)
    grey = torch.full(pixels.shape[1:2], 0.5)
    images = Images(pixels, torch.arange(len(pixels)) % 10, range(10), grey, grey).to(hardware.device)
    kinds = {PLAIN: plain_step(network(name).to(hardware.device), recipe, images)}
    for precision in dict.fromkeys(("float32", hardware.precision)):
        fast = Hardware(precision=precision)
        training = Training(fast.place(network(name)), recipe, fast, seed=0)
        kinds[f"ours, {precision}"] = partial(our_step, training, images)
    best = _best(kinds, given.rounds, hardware.device)
    print(f"{name}, batch {given.batch}: one training step")
    for kind, seconds in best.items():
        print(f"{kind:26s} {1e3 * seconds:7.2f} ms   {best[PLAIN] / seconds:5.2f} x")


def our_step(training: Training, images: Images) -> None:
    """A step of train.py on a random batch."""
    chosen = torch.randint(len(images), (training.recipe.batch_size,))
    training.take(train_step, images.normalise(images.pixels[chosen]), images.labels[chosen])


def plain_step(model: torch.nn.Module, recipe: DictConfig, images: Images) -> Callable[[], None]:
    """The same as one would write it: the optimiser is not fused, and the loss is shown after every step."""
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "adam":
        update: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), **common)
    else:
        update = torch.optim.SGD(model.parameters(), momentum=recipe.momentum, **common)

    def step() -> None:
        chosen = torch.randint(len(images), (recipe.batch_size,))
        update.zero_grad()
        loss = F.cross_entropy(model(images.normalise(images.pixels[chosen])), images.labels[chosen])
        loss.backward()
        update.step()
        loss.item()

    return step


def measure(name: str, hardware: Hardware, given: argparse.Namespace) -> None:
    """Print time, ratio to the bare pass and peak memory of the bare pass and of the measurement."""
    model, inputs, orbit, layers = _ready(name, given.batch, hardware)
    kinds = {"bare": partial(torch.inference_mode()(model), orbit)}
    for over in given.over:
        metric = eq.Equivariance(model, TURNS, layers, over=over, blocks=1, batch_size=len(inputs))
        metric.update(inputs[-2:])  # a measurement that has begun
        kinds[over] = partial(metric.update, inputs)
    kinds["maps kept"] = partial(_correlated, model, orbit, layers)
    peak = {kind: _peak(work, hardware.device) for kind, work in kinds.items()}
    best = _best(kinds, given.rounds, hardware.device, steps=1)
    for kind, seconds in best.items():
        ratio = f"{1e3 * seconds:6.0f} ms {seconds / best['bare']:5.2f}x"
        print(f"{name:30s} {len(inputs):4d} {kind:13s} {ratio} {peak[kind]:6.0f} MiB", flush=True)


def passes(name: str, hardware: Hardware, given: argparse.Namespace) -> None:
    """Print calls and time of the operations on the maps of a batch, and the least time for all of them."""
    large, square = torch.ones(2**26, device=hardware.device), torch.ones(2048, 2048, device=hardware.device)
    rates = _best({"sum": large.sum, "product": partial(torch.mm, square, square)}, 3, hardware.device)
    model, inputs, orbit, layers = _ready(name, given.batch, hardware)
    metric, maps = eq.Equivariance(model, TURNS, layers, blocks=1), _maps(model, orbit, layers)
    metric.setup(inputs)

    def statistics() -> None:
        for layer in layers:
            metric.sums.of_maps(layer, "image", maps[layer.name].unflatten(0, (4, -1)), (TRUE, CHANCE))

    statistics()
    timed = {event.key: event for event in _profiled(statistics).key_averages()}
    times = {key: event.self_cpu_time_total / 1e6 for key, event in timed.items()}
    print(f"{name}, {len(inputs)} images and 3 turns: the statistics take {1e3 * sum(times.values()):.0f} ms")
    for key in sorted(times, key=times.__getitem__, reverse=True)[:10]:
        print(f"{key:22s} {timed[key].count:6d} calls {1e3 * times[key]:8.1f} ms")
    read = sum(map(torch.numel, maps.values())) / large.nelement() * rates["sum"]
    rows = {layer.name: layer.channels + min(layer.channels, CHANCE_CHANNELS) for layer in layers}
    pairs = sum(3 / 4 * maps[name].numel() * count for name, count in rows.items())
    products = pairs / len(square) ** 3 * rates["product"]
    print(f"the least: {1e3 * read:.0f} ms to read the maps, {1e3 * products:.0f} ms for the products", flush=True)


def _maps(model: torch.nn.Module, orbit: torch.Tensor, layers: Layers) -> dict[str, torch.Tensor]:
    """The maps of all layers for the images and their copies."""
    maps: dict[str, torch.Tensor] = {}
    with torch.inference_mode(), tap(layers, maps.__setitem__):
        model(orbit)
    return maps


def _correlated(model: torch.nn.Module, orbit: torch.Tensor, layers: Layers) -> None:
    """Keep all maps; then correlate all channels of each image and each turn, behind pooling over the images."""
    for maps in _maps(model, orbit, layers).values():
        original, *copies = maps.unflatten(0, (4, -1))
        for turns, copy in enumerate(copies, 1):
            if maps.ndim == 4:
                sides = copy.rot90(-turns, (2, 3)).flatten(2), original.flatten(2)
            else:
                sides = copy.mT[None], original.mT[None]
            a, b = (F.normalize(side - side.mean(2, keepdim=True), dim=2) for side in sides)
            (a @ b.mT).mean(0).relu().amax(1).mean()


def _ready(name: str, batch: int, hardware: Hardware) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor, Layers]:
    """A network, a batch of random images, the batch with all copies, and the network's layers."""
    model = hardware.place(network(name)).eval()
    images = batch if name in NETWORKS else max(2, batch // 8)  # photographs are larger
    inputs = torch.randn(images, *NETWORKS.get(name, (3, 224, 224)), device=hardware.device)
    return model, inputs, torch.cat([inputs, *(g.act(inputs) for g in TURNS)]), find_layers(model, inputs[0])


def machine(hardware: Hardware) -> str:
    """Processor, instruction set, threads and library, in a line."""
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "")
    processor = named[1] if named else platform.processor() or platform.machine()
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{processor} ({capability}); {hardware.name}; torch {torch.__version__}"


def _peak(work: Callable[[], None], device: torch.device) -> float:
    """MiB of tensors at the most that `work` has allocated at a time."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**20
    now = most = 0
    for event in _profiled(work, profile_memory=True).profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most / 2**20


def _profiled(work: Callable[[], None], **options: bool) -> torch.profiler.profile:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], **options) as profile:
        work()
    return profile


def _best(kinds: dict[str, Callable[[], None]], rounds: int, device: torch.device, steps: int = STEPS) -> dict:
    """Seconds of a step of each kind, the mean of a few, in the best of some rounds; all kinds in turn in each."""
    best = dict.fromkeys(kinds, float("inf"))
    for step in kinds.values():
        step()
    for _ in range(rounds):
        for name, step in kinds.items():
            began = time.perf_counter()
            for _ in range(steps):
                step()
            if device.type != "cpu":
                torch.accelerator.synchronize()
            best[name] = min(best[name], (time.perf_counter() - began) / steps)
    return best


def main(*words: str) -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("what", choices=["train", "measure", "passes"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--over", nargs="+", choices=OVER, default=["image", "dataset"])
    given = parser.parse_args(words)
    work = {"train": train, "measure": measure, "passes": passes}[given.what]
    hardware = (Hardware if work is train else Hardware.for_measuring)(threads=given.threads)
    print(machine(hardware))
    names = [*NETWORKS, *PHOTOGRAPHS] if work is measure else [*NETWORKS]
    for name in ",".join(given.models or names).split(","):
        work(name, hardware, given)


if __name__ == "__main__":
    command_line(main)
