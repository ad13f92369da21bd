"""Put architectures of all families of timm and torchvision through the measurement, untrained, and check each.

    python -m tests.layers.survey [--models NAME ...] [--root FOLDER] [--out FOLDER]

Each network is built, searched for layers and measured as measure.py does it, under a quarter turn and a shift by 8
pixels, on two photographs (those of scikit-learn; or all of FOLDER/val/CLASS/*). A network that cannot be measured
is listed with the reason, and the table goes on. With --out it is kept: survey.csv after every network, so that an
interrupted survey goes on where it stopped.

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
from equivariance.study.config import CONF
from equivariance.study.data import datasets as data
from equivariance.transforms.exact import Shift
from equivariance.transforms.sets import rotations
from tests import samples
from tests.layers.circular import TURNS, circular, scores

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
    main(arguments.models, arguments.root, arguments.out)
