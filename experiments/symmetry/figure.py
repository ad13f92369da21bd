"""Redraw thesis Fig. 7 / paper Fig. 5 from results.csv: rotation invariance and equivariance of CNN-7 by depth."""

from pathlib import Path

from equivariance.analysis import plots
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
TASKS = {"mnist6": "MNIST6", "mnist6_rot_inv": "Rot-Inv", "mnist6_rot_eq": "Rot-Eq"}


def main() -> None:
    scores = rows.by_layer(rows.read(HERE / "results.csv"))
    figure, panels = plots.plt.subplots(
        2, 1, figsize=(plots.COLUMN, 4.4), layout="constrained", sharex=True, sharey=True
    )
    for axes, measure in zip(panels, ("invariance", "equivariance"), strict=True):
        one = scores[scores.measure == measure]
        layers = list(one.drop_duplicates("index").sort_values("index").layer)
        for (task, label), colour, marker in zip(TASKS.items(), plots.COLOURS, plots.MARKERS, strict=False):
            trained = one[(one.dataset == task) & one.trained]
            plots.mean_and_spread(axes, trained, "value", color=colour, marker=marker, label=label)
        plots.mean_and_spread(axes, one[~one.trained], "value", color="0.45", ls="--", label="untrained")
        plots.mean_and_spread(axes, one[one.trained], "chance", color="0.45", ls=":", label="chance")
        plots.depth_axis(axes, layers)
        axes.set_ylabel(measure)
    seeds = scores[scores.trained].groupby("dataset").seed.nunique()
    panels[0].set_title(f"CNN-7, quarter turns, {seeds.min()} seeds")
    panels[0].legend(ncols=2)
    plots.save(figure, HERE / "figure", ("png", "svg"))
    print(f"drew {HERE / 'figure.png'} and .svg")


if __name__ == "__main__":
    main()
