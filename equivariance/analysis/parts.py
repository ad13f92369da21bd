"""Scores by part of the network, as the papers group them, and shift by shift: tables of them, and their panels."""

from collections.abc import Mapping

import pandas as pd

from equivariance.analysis import plots
from equivariance.runs import rows

PARTS = ("early", "middle", "late", "pool", "final")
MEASURES = ("invariance", "equivariance")
STRIDES = {"early": 1, "middle": 2, "late": 4}  # of the maps in the thirds of CIFAR's ResNets


def by_part(results: pd.DataFrame, group: str) -> pd.DataFrame:
    """Mean over transformations for each layer, then over the layers of a part.

    Args:
        group: the column that tells the networks apart, besides seed and trained: "aug", "width".

    Returns:
        Rows of `group`, trained, seed, part, measure, value and chance.
    """
    layers = rows.by_layer(results)
    return layers.groupby([group, "trained", "seed", "part", "measure"])[["value", "chance"]].mean().reset_index()


def by_shift(results: pd.DataFrame, group: str) -> pd.DataFrame:
    """Mean over the layers of a part for each shift: rows of `group`, seed, part, measure, shift, value, chance."""
    keys = [group, "seed", "part", "measure", "element"]
    shifts = results.groupby(keys)[["value", "chance"]].mean().reset_index()
    return shifts.assign(element=shifts.element.astype(int)).rename(columns={"element": "shift"})


def draw_parts(results: pd.DataFrame, group: str, labels: Mapping, title: str) -> plots.Figure:
    """Both scores by part: mean and standard deviation over seeds of each network, untrained ones, chance.

    Args:
        labels: the values of `group`, in order, with their names in the legend.
    """
    scores = by_part(results, group)
    trained, untrained = scores[scores.trained], scores[~scores.trained]
    figure, panels = plots.plt.subplots(2, 1, figsize=(plots.COLUMN, 4.6), sharex=True, layout="constrained")
    for axes, measure in zip(panels, MEASURES, strict=True):
        for place, ((value, label), colour, marker) in enumerate(
            zip(labels.items(), plots.COLOURS, plots.MARKERS, strict=False)
        ):
            one = trained[(trained[group] == value) & (trained.measure == measure)].groupby("part").value
            mean, deviation = (found.reindex(PARTS) for found in (one.mean(), one.std().fillna(0)))
            x = [index + 0.14 * (place - (len(labels) - 1) / 2) for index in range(len(PARTS))]
            axes.errorbar(x, mean, deviation, color=colour, marker=marker, ls="", elinewidth=1, label=label)
        for reference, column, style in ((untrained, "value", "--"), (trained, "chance", ":")):
            mean = reference[reference.measure == measure].groupby("part")[column].mean().reindex(PARTS)
            for index, level in enumerate(mean):
                name = {"--": "untrained", ":": "chance"}[style] if not index and len(reference) else None
                axes.plot([index - 0.4, index + 0.4], [level, level], color="0.45", ls=style, lw=1, label=name)
        axes.set_xticks(range(len(PARTS)), PARTS)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel(measure)
    panels[0].set_title(title)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def draw_shifts(results: pd.DataFrame, group: str, labels: Mapping, title: str) -> plots.Figure:
    """Thesis Fig. 8: invariance shift by shift, early, middle and late; lines at multiples of the part's stride."""
    scores = by_shift(results, group)
    scores = scores[scores.measure == "invariance"]
    figure, panels = plots.plt.subplots(3, 1, figsize=(plots.COLUMN, 5), sharex=True, layout="constrained")
    for axes, (part, stride) in zip(panels, STRIDES.items(), strict=True):
        one = scores[scores.part == part].assign(index=lambda table: table["shift"])
        for (value, label), colour, marker in zip(labels.items(), plots.COLOURS, plots.MARKERS, strict=False):
            curve = one[one[group] == value]
            plots.mean_and_spread(axes, curve, "value", color=colour, marker=marker, label=label)
        plots.mean_and_spread(axes, one, "chance", color="0.45", ls=":", label="chance")
        if stride > 1:
            for shift in range(stride, one["shift"].max() + 1, stride):
                axes.axvline(shift, color="0.6", lw=0.6, zorder=0)
        axes.grid(axis="x", visible=False)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel(f"{part}, stride {stride}")
    axes.set_xticks([1, *range(2, one["shift"].max() + 1, 2)])
    axes.set_xlabel("shift (pixels)")
    panels[0].set_title(f"{title}, invariance")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
