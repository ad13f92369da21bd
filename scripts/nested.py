"""Check on real networks that the three scores are nested: invariance <= equivariance <= linear.

    python scripts/nested.py EXPERIMENT [overrides, such as model.name=NAME measure.images=100]

Every network of the preset is measured anew, under both readings that `linear` has. In sample (fitted and judged on
the same images) the inequality is exact where each channel varies in every image; the scores of rows are judged on
other images, and hold it up to their intervals. Nothing is written.
"""

from itertools import product

import torch
from omegaconf import OmegaConf

from equivariance.metric.equivariance import Equivariance
from equivariance.names import NESTED
from equivariance.statistics.linear import OVER
from equivariance.study.cli import command_line, jobs
from equivariance.study.measuring import Subject

ROUNDING = 1e-6


def main(name: str, *overrides: str) -> None:
    """Print for each network how many triples of scores there are, how many are not nested, and the worst gaps."""
    for cfg in jobs.jobs(name, "measure", overrides):
        OmegaConf.set_struct(cfg, False)
        cfg.measure.over, cfg.measure.scores = list(OVER), list(NESTED)
        subject = Subject(cfg, say=None)
        metric = Equivariance(
            subject.model, subject.example, subject.transforms, subject.patterns, **subject.reading
        )
        for pixels, labels in subject.batches(metric, 0, len(subject.chosen), 1)[1]:
            metric.update(subject.images.normalise(pixels), labels)
        metric.finish()
        check(metric, f"{cfg.dataset.name} {cfg.model.name}, {subject.transforms[0].name}")


def check(metric: Equivariance, what: str) -> None:
    """Print a line in sample and a line for the scores of rows."""
    gaps, partial = [], 0
    table = metric.compute().set_index(["layer", "over", "element", "score"])
    for (name, layer), g in product(metric.layers.items(), metric.transforms):
        for over in OVER if layer.size != (1, 1) else OVER[:1]:
            if name in metric.too_wide:
                continue
            found = metric.in_sample(name, g, over)
            gaps.append([found["equivariance"] - found["invariance"], found["linear"] - found["equivariance"]])
            whole = table.live[name, over, g.element, "invariance"] * layer.channels
            partial += (
                gaps[-1][1] < -ROUNDING
                and round(whole, 6) < layer.channels - table.dead_channels[name, over, g.element, "invariance"]
            )
    gap = torch.tensor(gaps)
    wide = table.unstack("score")
    judged = wide["value"].dropna()
    apart = (wide["high"]["linear"] < wide["low"]["equivariance"]).sum()
    crossed = (wide["high"]["linear"] < wide["cross_fitted"]["equivariance"]).sum()
    print(
        f"{what}, {metric.images} images: in sample {len(gap)} triples, {int((gap < -ROUNDING).any(1).sum())} not "
        f"nested ({partial} of them with channels constant in some images), smallest gaps {gap[:, 0].min():.1e}, "
        f"{gap[:, 1].min():.1e}; judged on other images {len(judged)} triples, linear below equivariance in "
        f"{(judged['linear'] < judged['equivariance']).sum()}, its interval below the cross-fitted equivariance in "
        f"{crossed}, below the whole interval of equivariance in {apart}",
        flush=True,
    )


if __name__ == "__main__":
    command_line(main)
