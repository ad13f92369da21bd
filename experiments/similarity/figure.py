"""Redraw thesis Fig. 5 / paper Fig. 2: cosine and correlation on random maps, and by depth on ResNet-44."""

from pathlib import Path

import torch

from equivariance.analysis import plots
from equivariance.runs import rows
from equivariance.scores.statistics import PairStatistics

HERE = Path(__file__).resolve().parent
COLOURS = {"pearson": plots.COLOURS[0], "cosine": plots.COLOURS[1]}


def random_maps(axes: plots.Axes) -> None:
    """Similarity of two random maps, the same number added to both, against that number."""
    a, b = torch.randn(2, 2, 1, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    added = torch.linspace(0, 2, 21)
    pairs = [PairStatistics.of(a + x, b + x) for x in added]
    axes.plot(added, [p.correlation().item() for p in pairs], color=COLOURS["pearson"], label="correlation")
    axes.plot(added, [p.cosine().item() for p in pairs], color=COLOURS["cosine"], label="cosine")
    axes.set_xlabel("added to two random maps")
    axes.set_ylabel("similarity")
    axes.set_ylim(-0.02, 1.02)
    axes.legend()


def by_depth(axes: plots.Axes, results: rows.pd.DataFrame) -> None:
    """Invariance by both similarities, and the mean activation on its own axis."""
    one = results[(results.measure == "invariance") & results.layer.str.startswith("block")]
    for similarity, marker in zip(COLOURS, plots.MARKERS, strict=False):
        curve = one[one.similarity == similarity]
        axes.plot(curve["index"], curve.value, color=COLOURS[similarity], marker=marker, ms=2.5)
    other = axes.twinx()
    other.plot(curve["index"], curve.activation, color="0.5", ls="--", label="mean activation")
    other.spines["right"].set_visible(True)
    other.set_ylabel("mean activation", color="0.4")
    other.grid(False)
    other.set_ylim(bottom=0)
    other.legend(loc="upper right")
    axes.set_xticks([1, 8, 15, 21])
    axes.set_xlabel("residual block")
    axes.set_ylabel("invariance, rotation by 90°")
    axes.set_ylim(-0.02, 1.02)


def main() -> None:
    figure, (left, right) = plots.plt.subplots(
        1, 2, figsize=(2 * plots.COLUMN, 2.3), width_ratios=(1, 1.6), layout="constrained"
    )
    random_maps(left)
    by_depth(right, rows.read(HERE / "results.csv"))
    plots.save(figure, HERE / "figure", ("png", "svg"))
    print(f"drew {HERE / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
