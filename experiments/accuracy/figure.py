"""Redraw thesis Fig. 13 / paper Fig. 4 from results.csv: accuracy against equivariance, and rho by part."""

from pathlib import Path

from equivariance import rows
from equivariance.figures import style
from equivariance.figures.rank_correlation import with_accuracy
from equivariance.figures.scatter import plot_accuracy
from equivariance.files import write_atomic
from equivariance.names import BEFORE_POOLING, PARTS, SCORES

HERE = Path(__file__).resolve().parent
SHOWN = {"before": "equivariance before pooling", "final": "equivariance, logits"}


@style.styled
def main(folder: Path = HERE) -> None:
    """Draw figure.{png,svg}, one dot a network; and rho.{png,svg} where there are networks enough for a rho."""
    results = rows.of_last_epoch(rows.of_first_over(rows.read(folder / "results.csv")))
    results = results[rows.is_trained(results) & results.accuracy.notna()]
    networks = results.model.nunique()
    title = f"{networks} networks trained by others, {results.images.max()} images"
    style.save(plot_accuracy(points(results), SHOWN, title=title), folder / "figure", ("png", "svg"))
    drawn, found = ["figure"], with_accuracy(results)
    if found.rho.notna().any():
        write_atomic(
            folder / "correlations.csv", found.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        )
        style.save(correlations(found, title), folder / "rho", ("png", "svg"))
        drawn.append("rho")
    print(f"drew {', '.join(drawn)} in {folder}")


def points(results):
    """Equivariance before pooling and of the logits, and accuracy, one row a network and transformation."""
    scores = rows.by_part(results[results.score == "equivariance"])
    wide = scores.pivot_table(index=["model", "transform", "accuracy"], columns="part", values="value", sort=False)
    return wide.assign(before=wide[list(BEFORE_POOLING)].mean(axis=1)).reset_index()


def correlations(found, title: str) -> style.Figure:
    """Rho by part, with its interval where there is one."""
    transforms = list(dict.fromkeys(found["transform"]))
    figure, grid = style.plt.subplots(
        len(transforms), 1, figsize=(style.COLUMN, 1.8 * len(transforms) + 0.5), layout="constrained", squeeze=False
    )
    for transform, axes in zip(transforms, grid[:, 0], strict=True):
        for score, colour, marker, aside in zip(SCORES, style.COLOURS, style.MARKERS, (-0.1, 0.1), strict=False):
            of_transform = found[found["transform"] == transform]
            one = of_transform[of_transform.score == score].set_index("part").reindex(PARTS)
            x = [place + aside for place in range(len(PARTS))]
            axes.vlines(x, one.low, one.high, color=colour, lw=1)
            axes.plot(x, one.rho, marker, color=colour, label=score)
        axes.axhline(0, color=style.GREY, lw=0.6)
        axes.set_xticks(range(len(PARTS)), PARTS)
        axes.set_ylim(-1.08, 1.08)
        axes.set_ylabel("Spearman's rho")
        axes.set_title(f"{transform}, n = {of_transform.networks.max()}", fontsize=7)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    figure.suptitle(f"{title}\nlines: 95 % intervals over networks")
    return figure


if __name__ == "__main__":
    main()
