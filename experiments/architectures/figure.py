"""Redraw thesis Fig. 11 and 12 / paper Fig. 7 from results.csv: both scores by part, one line a network."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING, PARTS, SCORES

HERE = Path(__file__).resolve().parent
NAMES = {
    "efficientnet_b6": "EfficientNet-B6",
    "efficientnet_b7": "EfficientNet-B7",
    "resnext101_32x8d": "ResNeXt-101",
    "inception_v3": "Inception-v3",
    "vit_b16": "ViT-B/16",
    "mixer_b16": "MLP-Mixer-B/16",
}
FEWEST = 16  # images for a point behind pooling, where each gives a single value
TRANSFORMS = {"translation": "shifts", "relative translation": "relative shifts", "rotation": "quarter turns"}


@style.styled
def main(folder: Path = HERE) -> None:
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    trained = bool(results.trained.any())  # pretrained networks, as soon as there are any
    results = results[results.trained == trained]
    pooled = ~results.part.isin(BEFORE_POOLING)
    scores = rows.by_part(results[~pooled | (results.images >= FEWEST)])
    there = [name for name in TRANSFORMS if name in set(scores["transform"])]
    figure, grid = style.plt.subplots(
        len(there),
        2,
        figsize=(style.COLUMN, 1.7 * len(there) + 1.2),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for transform, panels in zip(there, grid, strict=True):
        for axes, score in zip(panels, SCORES, strict=True):
            draw(axes, scores[(scores["transform"] == transform) & (scores.score == score)])
            axes.set_title(score if transform == there[0] else "", fontsize=7)
        panels[0].set_ylabel(TRANSFORMS[transform], fontsize=7)
    kind = "Pretrained" if trained else "Untrained controls"
    note = "" if trained else "\n(Mixer ends at pool: its untrained classifier is zero)"
    figure.suptitle(f"{kind}, ImageNet photographs{note}", fontsize=7.5)
    handles, labels = grid[0][0].get_legend_handles_labels()
    handles.append(style.plt.Line2D([], [], color=style.GREY, ls=":", lw=0.8, marker="o", ms=2.5, mfc="none"))
    sizes = [f"{label} ({images(results, label, there)})" for label in labels]
    figure.legend(
        handles,
        [*sizes, "chance: dotted, hollow"],
        ncols=2,
        loc="outside lower center",
        fontsize=6,
        title=f"images of {', '.join(TRANSFORMS[each] for each in there)} in brackets",
        title_fontsize=6,
        columnspacing=1,
    )
    style.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


def images(results: pd.DataFrame, label: str, transforms: list[str]) -> str:
    """How many images a network was measured with under each transformation; one number where they are equal."""
    of_network = results[results.model.map(NAMES) == label].groupby("transform").images.max()
    sizes = [f"{of_network[each]:g}" if each in of_network else "-" for each in transforms]
    return sizes[0] if len({*sizes}) == 1 else ", ".join(sizes)


def draw(axes: style.Axes, panel: pd.DataFrame) -> None:
    """One line a network, and its chance level; pool and final apart from the parts before pooling."""
    places = {part: place + 0.4 * (part not in BEFORE_POOLING) for place, part in enumerate(PARTS)}
    for (model, name), colour, marker in zip(NAMES.items(), style.COLOURS, style.MARKERS, strict=False):
        one = panel[panel.model == model].set_index("part").reindex(PARTS)
        for parts in (PARTS[:3], PARTS[3:]):
            x, part = [places[each] for each in parts], one.loc[list(parts)]
            label = name if parts == PARTS[:3] and one.value.notna().any() else None
            axes.plot(x, part.value, color=colour, marker=marker, lw=1, label=label)
            axes.plot(x, part.chance, color=colour, ls=":", lw=0.8, marker=marker, ms=2.5, mfc="none", mew=0.6)
    axes.set_xticks(list(places.values()), PARTS, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_ylim(-0.02, 1.02)


if __name__ == "__main__":
    main()
