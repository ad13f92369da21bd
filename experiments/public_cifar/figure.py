"""Draw published networks from results.csv: equivariance under shifts by depth, a panel for each comparison."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING

HERE = Path(__file__).resolve().parent
COMPARED = {
    "lilei_resnet32_": "augmentation: ResNet-32, crop and flip in all",
    "zskt_wrn_": "width and depth: WRN",
    "jazhiel_": "depth: ResNet of one author",
    "theo_": "depth: ResNet of another one",
    "akamaster_": "depth: ResNet of a third one",
}


@style.styled
def main(folder: Path = HERE) -> None:
    """Draw figure.{png,svg}: trained networks in colours, the same ones untrained in grey behind them."""
    layers = rows.by_layer(rows.of_first_over(rows.read(folder / "results.csv")))
    layers = layers[(layers.score == "equivariance") & layers.part.isin(BEFORE_POOLING)]
    there = [prefix for prefix in COMPARED if layers.model.str.startswith(prefix).any()]
    figure, grid = style.plt.subplots(
        len(there),
        1,
        figsize=(style.COLUMN, 1.45 * len(there) + 0.5),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for prefix, axes in zip(there, grid[:, 0], strict=True):
        draw(axes, layers[layers.model.str.startswith(prefix)], prefix)
        axes.set_title(COMPARED[prefix], loc="left", fontsize=7)
    grid[-1, 0].set_xlabel("relative depth, up to pooling")
    figure.supylabel("equivariance", fontsize=8)
    figure.suptitle(f"{layers.model.nunique()} networks trained by others, shifts of 1 to 16 pixels", fontsize=7.5)
    style.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew figure in {folder}")


def draw(axes: style.Axes, layers: pd.DataFrame, prefix: str) -> None:
    """A curve for each network, named by what follows the prefix."""
    models = sorted(layers.model.unique(), key=lambda name: (len(name), name))
    trained = rows.is_trained(layers)
    for model, colour, marker in zip(models, style.COLOURS, style.MARKERS, strict=False):
        for of, line in ((~trained, {"color": "0.75", "lw": 0.8}), (trained, {"color": colour, "marker": marker})):
            one = layers[of & (layers.model == model)].sort_values("index")
            depth = one["index"] / max(1, one["index"].max())
            label = model.removeprefix(prefix) if "marker" in line else None
            axes.plot(depth, one.value, label=label, markevery=max(1, len(one) // 8), **line)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(ncols=2, loc="lower left", fontsize=6)


if __name__ == "__main__":
    main()
