"""Put architectures of all families of timm and torchvision through the measurement, untrained, and check each.

    python scripts/survey.py [--models NAME ...] [--root FOLDER] [--out FOLDER]

Each network is built, searched for layers and measured as measure.py does it, under a quarter turn and a shift by 8
pixels, on two photographs (those of scikit-learn; or all of FOLDER/val/CLASS/*). A network that cannot be measured
is listed with the reason, and the table goes on. With --out it is kept: survey.csv after every network, so that an
interrupted survey goes on where it stopped, and README.md at the end.

Two checks ask whether what was found is right. Strides must not fall with depth, and stride times rows be the
height of the image. And a copy of the network whose borders are all circular, without terms of position, must not
notice a circular shift by its stride, to the right: invariance 1 at every layer. Rows taken for columns, a wrong
order of tokens, a wrong stride, all show there. Where that fails, a few multiples of the stride are tried: whole
windows of attention, or the stride of coarser streams beside the layers. (By half the image, left is not told from
right.)
"""

import argparse
import io
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import pandas as pd
import timm
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.layers.find import Layer, find_layers
from equivariance.metric.memory import affordable_layers
from equivariance.study import models
from equivariance.study.checkout import CONF
from equivariance.study.data import datasets as data
from equivariance.transforms.exact import Shift
from equivariance.transforms.sets import rotations
from scripts import samples
from scripts.circular import EXACT, TURNS, circular, scores

MEASURED = {"rotation": rotations([90]), "translation": [Shift(8)]}
SIDE = 128  # of the images in pixels, for the networks that take such; the others have their own size

# The smallest network of each module of timm by number of parameters (of modules that hold several families, one of
# each; deepseek_vit is left out: 412 million) and of each family of torchvision.
TIMM = """
beit_base_patch16_224 halonet_h1 eca_botnext26ts_256 lambda_resnet26rpt_256 mobileone_s1 repvgg_a0 gernet_s
cait_xxs24_224 coat_tiny coat_lite_tiny convit_tiny convmixer_768_32 convnext_zepto_rms cpubone_nano
crossvit_tiny_240 csatv2 cs3darknet_focus_s cspnext_tiny davit_tiny deit_tiny_patch16_224
deit_tiny_distilled_patch16_224 densenet121 densenetblur121d dla46x_c dpn48b edgenext_xx_small efficientformer_l1
efficientformerv2_s0 efficientnet_b0 tf_efficientnet_b0 mobilenetv2_035 mnasnet_small mixnet_s fbnetc_100 tinynet_e
efficientvim_m1 efficientvit_b0 efficientvit_m0 vit_tiny_patch16_dinov3_qkvb eva02_tiny_patch14_224 fasternet_t0
fastvit_t8 focalnet_tiny_srf gcvit_xxtiny gemma4_vit_167m ghostnet_050 hardcorenas_b hgnetv2_b0 hiera_tiny_224
hieradet_small hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4
lcnetv2_small levit_128s levit_conv_128s lowformer_b0 mambaout_femto maxvit_pico_rw_256 coatnet_pico_rw_224
poolformerv2_s12 caformer_s18 mixer_s32_224 gmlp_ti16_224 resmlp_12_224 mobilenetv3_small_050 lcnet_035
mobilenetv5_base mobilevit_xxs mobilevitv2_050 mvitv2_tiny naflexvit_base_patch16_gap nasnetalarge
nest_tiny nextvit_small nf_regnet_b0 pit_ti_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny
regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d resnet10t resnetv2_18 rexnet_100 selecsls42
legacy_seresnet18 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
swinv2_tiny_window8_256 swinv2_cr_tiny_224 tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_svt_small
twins_pcpvt_small vgg11_bn visformer_tiny vit_tiny_patch16_224 vit_tiny_r_s16_p8_224 vit_srelpos_small_patch16_224
samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw legacy_xception xception41p
xcit_nano_12_p8_224
"""
TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2
mobilenet_v3_small regnet_y_400mf resnet18 shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11 vit_b_32
"""
EVERYTHING = [*TIMM.split(), *(f"torchvision:{name}" for name in TORCHVISION.split())]
# Why a check says no: looked up in the networks' code; where it can be tried, what was changed and what came of it.
ZERO = "Its classifier is zero at initialisation."
STREAMS = "Streams of several resolutions flow beside each other, so hardly a single map holds all data."
UNPADDED = "Unpadded convolutions cost rows at the border; the circular copy, which pads, holds."
FEATURES = "timm gives it no classifier by default: `final` is the pooled features."
SMALL = (
    "Untrained, its features are below 1e-10 beside the classifier's biases of up to 0.05, too small for float32; "
    "with classifier weights of size 1 and no bias `final` is alive."
)
MASKS = (
    "Its shifted windows mask what they carry around the border, and these masks are no stored terms: without "
    "them, at {} pixels, a shift by {} (whole windows) holds."
)
POSITIONS = (
    "Its classifier has weights of its own for each position of a {} grid: with these averaged over the positions, "
    "at {} pixels, a shift by 32 holds."
)
FIXED = "It is built for one size, where whole windows are no shift by whole positions: at 448 pixels, 224 holds."
HALVED = "Its own 224 pixels are no multiple of its stride: at 256 pixels, a shift by 64 holds."
REMARKS = {
    "crossvit_tiny_240": STREAMS,
    "tnt_s_patch16_224": STREAMS,
    **dict.fromkeys(("nasnetalarge", "pnasnet5large"), "Every cell reads the two cells before it, as streams do."),
    **dict.fromkeys(("inception_v3", "inception_resnet_v2", "torchvision:inception_v3"), UNPADDED),
    "legacy_xception": UNPADDED,
    "inception_v4": f"{UNPADDED} {SMALL}",
    **dict.fromkeys(("cspnext_tiny", "torchvision:googlenet"), SMALL),
    **dict.fromkeys(("vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224", "gemma4_vit_167m"), FEATURES),
    "qwen3_vit_88m": FEATURES,
    "torchvision:squeezenet1_1": "It classifies every position by a 1 x 1 convolution, and pools the logits.",
    "tiny_vit_5m_224": "Its classifier has 21841 classes by default: a limit of size, no failure.",
    **dict.fromkeys(("hiera_tiny_224", "hieradet_small", "torchvision:vit_b_32"), ZERO),
    **dict.fromkeys(("gmlp_ti16_224", "resmlp_12_224"), ZERO),
    "mixer_s32_224": f"{ZERO} Linear maps over all positions; with the same weight for each, the shift holds.",
    "sequencer2d_s": f"{ZERO} LSTMs along rows and columns begin at the border; fed around it, the shift holds.",
    **dict.fromkeys(("swin_tiny_patch4_window7_224", "torchvision:maxvit_t"), FIXED),
    "torchvision:swin_t": MASKS.format(448, 224),
    "torchvision:swin_v2_t": MASKS.format(512, 256),
    "gcvit_xxtiny": "Its queries lay the whole image, resized, over each window: with one query for all positions, "
    "at 448 pixels and windows of the same size, a shift by 224 holds.",
    **dict.fromkeys(("torchvision:vgg11", "vgg11_bn"), POSITIONS.format("7 x 7", 224)),
    "torchvision:alexnet": POSITIONS.format("6 x 6", 128),
    **dict.fromkeys(("levit_128s", "levit_conv_128s"), HALVED),
    "pit_ti_224": "Its unpadded patches give 27 rows, and a term of position for each, where the copy has 28: with "
    "one term for all, a shift by 32 holds.",
}


def look(name: str, root: Path) -> dict:
    """One line of the table: the layers of a network, its scores and checks, or why it is refused."""
    library, architecture = parsed(name)
    began, row = time.monotonic(), {"model": name}
    given = ("dataset=image_folder", f"dataset.root={root}", f"model={library}", f"model.name={architecture}")
    for side in (SIDE, "null"):
        try:
            with initialize_config_dir(str(CONF), version_base="1.3", job_name="measure"):
                cfg = compose("config", [*given, f"dataset.size={side}"])
            found = measured(cfg)
            row |= {"family": family(name), **found, "refused": ""}
            break
        except UserError as error:
            row["refused"] = str(error)
        except Exception as error:  # one network's failure is a line of the table, not its end
            row["refused"] = f"failed: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]}"
    return row | {"seconds": round(time.monotonic() - began, 1)}


def parsed(name: str) -> tuple[str, str]:
    """Library and architecture of `torchvision:NAME`, or `NAME` of timm."""
    library, _, architecture = name.rpartition(":")
    return library or "timm", architecture


def family(name: str) -> str:
    """The library's module that defines the network."""
    library, architecture = parsed(name)
    entry = timm.models.model_entrypoint if library == "timm" else torchvision.models.get_model_builder
    return f"{library} {entry(architecture).__module__.rpartition('.')[2]}"


def measured(cfg: DictConfig) -> dict:
    """Layers, scores and checks of the network that the configuration names.

    Raises:
        UserError: it cannot be measured.
    """
    cfg.dataset = models.prepare(cfg.dataset, cfg.model)
    images = data.load(cfg.dataset, "held_out")
    pixels = images.normalise(images.pixels)
    height, width = pixels.shape[2:]
    torch.manual_seed(cfg.seed)
    model = models.build(models.untrained(cfg.model), pixels.shape[1:], images.num_classes).eval()
    found_layers = find_layers(model, pixels)
    layers, too_wide = affordable_layers(found_layers, TURNS)
    left_out = found_layers.left_out | too_wide
    maps = [layer for layer in layers if layer.part not in ("pool", "final")]
    row = {
        "size": f"{height}x{width}",
        "layers": len(maps),
        "kinds": ", ".join(dict.fromkeys(layer.kind for layer in maps)),
        "strides": " ".join(f"{s or 0:g}x{len([*g])}" for s, g in groupby(layer.stride for layer in maps)),
        "left_out": "; ".join(left_out),
    }
    open_ends = [*doubts(layers, left_out, height, width)]
    for name, transforms in MEASURED.items():
        for transform in transforms:
            transform.check(height, width)
        found = scores(model, layers, transforms, pixels)
        if name == "rotation" and (
            dead := [each.name for each in layers if not found[each.name, "invariance"] >= 0]
        ):
            open_ends.append(f"no live channel in {', '.join(dead)}")
        for place, layer in (("first", layers[0]), ("last", (maps or layers)[-1])):
            for measure in ("invariance", "equivariance"):
                row[f"{name}_{measure}_{place}"] = found[layer.name, measure]
    return row | {"doubts": "; ".join(open_ends)} | circular(model, layers, pixels)


def doubts(layers: Sequence[Layer], left_out: dict[str, str], *sides: int) -> Iterator[str]:
    """What cannot be, or is rare enough to be looked at by hand."""
    maps = [layer for layer in layers if layer.part not in ("pool", "final")]
    if len(maps) < 4:
        yield f"only {len(maps)} layers before pooling"
    for part in ("pool", "final"):
        if part not in [layer.part for layer in layers]:
            yield f"no {part} ({left_out[part]})" if part in left_out else f"no {part}"
    unknown = [layer.name for layer in maps if layer.stride is None]
    if unknown:
        yield f"no stride: {', '.join(unknown)}"
    short = [
        f"{layer.name} has {layer.size[0]} rows of stride {layer.stride:g}"
        for layer in maps
        if layer.stride
        and any(abs(n * layer.stride - side) >= 2 * layer.stride for n, side in zip(layer.size, sides, strict=True))
    ]
    if short:
        yield short[0] + (f" (and {len(short) - 1} more such layers)" if len(short) > 1 else "")
    strides = [layer.stride for layer in maps if layer.stride]
    if any(after < before for before, after in pairwise(strides)):
        yield "strides fall"


def main(names: Sequence[str], root: Path | None, out: Path | None) -> pd.DataFrame:
    table = pd.DataFrame()
    if out and (out / "survey.csv").exists():
        table = pd.read_csv(io.StringIO((out / "survey.csv").read_text()))
        print(f"{len(table)} networks are in {out / 'survey.csv'}: delete it to start again")
    done = set(table.get("model", ()))
    with tempfile.TemporaryDirectory() as folder:
        root = root or samples.photographs(Path(folder))
        for name in names:
            if name in done:
                continue
            row = look(name, root)
            print(line(row), flush=True)
            table = pd.concat([table, pd.DataFrame([row])])
            if out:
                write_atomic(out / "survey.csv", table.to_csv(index=False, float_format="%.6f"))
    return table


def page(table: pd.DataFrame) -> str:
    """README.md: what was done, the table, what was refused, what the checks left open."""
    texts = {"doubts": "", "circular_why": "", "kinds": "none", "strides": "none"}
    table = table.astype(dict.fromkeys(texts, object)).fillna(texts)  # empty columns of a file are numbers
    refused, rest = (table[table.layers.isna() == missing] for missing in (True, False))
    exact = rest.circular > EXACT
    waiting = sorted({*EVERYTHING} - {*table.model})
    _, _, what, checks = __doc__.split("\n\n")
    rows = [
        f"| {row.model} | {row.family} | {row.size} | {row.layers:g} | {row.kinds} | {row.strides} "
        f"| {change(row, 'rotation')} | {change(row, 'translation')} "
        f"| {held(row)} | {row.seconds:.0f} |"
        for row in rest.itertuples()
    ]
    open_ends = [
        f"- {row.model}: {'; '.join(filter(None, (row.doubts, shown(row))))}. {REMARKS.get(row.model, '')}".rstrip()
        for row in rest.itertuples()
        if row.doubts or not row.circular > EXACT
    ]
    return f"""# Any network: the survey of architectures

```
python scripts/survey.py --out experiments/survey
```

![Both scores of the first and the last layer, one line a network, by family](figure.png)

*Scores against depth, by family: networks whose maps are channels first (convolutional and hybrid ones), and those
of tokens or channels last, at one stride throughout (such as ViT) or in stages (such as Swin).*

{len(table)} architectures of timm {timm.__version__} and torchvision {torchvision.__version__}, the smallest of
each module that defines some, untrained: {len(rest)} measured, {len(refused)} refused.
{what}

{checks.strip()}
The last holds for {exact.sum()} networks; where a check says no, the reason is below. It cannot see what adds
nothing before training: the blocks of timm's swinv2 and swinv2_cr, whose normalisation begins at zero (with weights
of 1, at 512 and 448 pixels, a shift by half of that holds), and the maps over all positions of gMLP and ResMLP,
which begin near zero, and would break it.

Scores are invariance / equivariance, of the first and of the last layer before pooling; `circular` is the copy's
invariance, and the shift in pixels; seconds are those of a busy machine, one thread.

| network | family | image | layers | layout | strides x layers | quarter turn | shift by 8 | circular | s |
|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

## Refused

{chr(10).join(f"- {row.model}: {row.refused}" for row in refused.itertuples()) or "None."}

## Not run yet

{f"{chr(44)} ".join(waiting) + ": the command goes on with them." if waiting else "None."}

## Where a check says no

{chr(10).join(open_ends)}
"""


def change(row, name: str) -> str:
    first, last = (
        " / ".join(f"{getattr(row, f'{name}_{measure}_{place}'):.2f}" for measure in ("invariance", "equivariance"))
        for place in ("first", "last")
    )
    return f"{first} to {last}"


def held(row) -> str:
    return f"1 ({row.circular_shift:.0f})" if row.circular > EXACT else "see below"


def shown(row) -> str:
    if row.circular != row.circular:
        return f"no circular copy ({row.circular_why})"
    return "" if row.circular > EXACT else f"circular {row.circular:.3f} {row.circular_why}"


def line(row: dict) -> str:
    return " | ".join(
        f"{key}={value:.6f}" if isinstance(value, float) else f"{value}" for key, value in row.items()
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=EVERYTHING, help="timm's names, or torchvision:NAME")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    survey_table = main(arguments.models, arguments.root, arguments.out)
    if arguments.out:
        write_atomic(arguments.out / "README.md", page(survey_table))
