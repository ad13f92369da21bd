"""Redraw thesis Fig. 11 and 12 / paper Fig. 7 from results.csv: both scores by part, one line a network."""

from pathlib import Path

from equivariance.analysis import plots
from equivariance.layers.find import PARTS
from equivariance.runs import rows

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
TRANSFORMS = {"translation": "translation", "relative translation": "relative transl.", "rotation": "rotation"}


def main() -> None:
    results = rows.read(HERE / "results.csv")
    trained = bool(results.trained.any())  # pretrained networks, as soon as there are any
    results = results[results.trained == trained]
    pooled = results.part.isin(("pool", "final"))
    scores = rows.by_part(results[~pooled | (results.images >= FEWEST)])
    there = [name for name in TRANSFORMS if name in set(scores["transform"])]
    figure, grid = plots.plt.subplots(
        len(there),
        2,
        figsize=(plots.COLUMN, 1.7 * len(there) + 0.9),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for transform, panels in zip(there, grid, strict=True):
        for axes, measure in zip(panels, ("invariance", "equivariance"), strict=True):
            panel = scores[(scores["transform"] == transform) & (scores.measure == measure)]
            for (model, name), colour, marker in zip(NAMES.items(), plots.COLOURS, plots.MARKERS, strict=True):
                if model not in set(results.model):
                    continue
                one = panel[panel.model == model].set_index("part").reindex(PARTS)
                axes.plot(range(5), one.value, color=colour, marker=marker, lw=1, label=name)
                axes.plot(range(5), one.chance, color=colour, ls=":", lw=0.7)
            axes.set_xticks(range(5), PARTS, rotation=45, ha="right", rotation_mode="anchor")
            axes.set_ylim(-0.02, 1.02)
            axes.set_title(f"{TRANSFORMS[transform]}: {measure}", fontsize=7)
        panels[0].set_ylabel("mean correlation")
    images = results.images
    size = f"{images.min()} to {images.max()}" if images.min() < images.max() else str(images.max())
    kind = "pretrained" if trained else "untrained controls"
    figure.suptitle(f"{kind}, {size} ImageNet photographs", fontsize=8)
    handles, labels = grid[0][0].get_legend_handles_labels()
    handles.append(plots.plt.Line2D([], [], color="0.4", ls=":", lw=0.7))
    figure.legend(handles, [*labels, "chance level"], ncols=2, loc="outside lower center", fontsize=6.5)
    plots.save(figure, HERE / "figure", ("png", "svg"))
    print(f"drew {HERE / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
