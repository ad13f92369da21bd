"""Redraw thesis Fig. 13 / paper Fig. 4 from results.csv: Spearman's rho of score and accuracy, by part."""

from pathlib import Path

from equivariance.analysis import plots
from equivariance.analysis.correlation import by_part
from equivariance.layers.find import PARTS
from equivariance.runs import rows
from equivariance.runs.atomic import write_atomic

HERE = Path(__file__).resolve().parent


def main(folder: Path = HERE) -> None:
    found = by_part(rows.read(folder / "results.csv"))
    write_atomic(folder / "correlations.csv", found.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    transforms = list(dict.fromkeys(found["transform"]))
    figure, panels = plots.plt.subplots(
        len(transforms), 1, figsize=(plots.COLUMN, 2.1 * len(transforms)), layout="constrained", squeeze=False
    )
    for transform, axes in zip(transforms, panels[:, 0], strict=True):
        styles = zip(("invariance", "equivariance"), plots.COLOURS, plots.MARKERS, (-0.1, 0.1), strict=False)
        for measure, colour, marker, aside in styles:
            one = found[(found["transform"] == transform) & (found.measure == measure)]
            one = one.set_index("part").reindex(PARTS)
            x = [place + aside for place in range(len(PARTS))]
            axes.vlines(x, one.low, one.high, color=colour, lw=1)
            axes.plot(x, one.rho, marker, color=colour, label=measure)
            for place, row in zip(x, one.itertuples(), strict=True):
                text = "" if row.p != row.p else f"p {row.p:.2g}"
                axes.annotate(text, (place, 1.08), fontsize=4.5, color=colour, rotation=60)
        axes.axhline(0, color="0.4", lw=0.6)
        axes.set_xticks(range(len(PARTS)), PARTS)
        axes.set_ylim(-1.15, 1.45)
        axes.set_ylabel("Spearman's rho")
        axes.set_title(f"{transform}, {found.networks.max()} networks", pad=10)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), ncols=2, loc="outside lower center")
    plots.save(figure, folder / "figure", ("png", "svg"))
    print(f"drew {folder / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
