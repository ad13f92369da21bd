"""Thesis Fig. 6 / paper Fig. 3: networks made by hand, by depth; and their filters."""

from pathlib import Path

from equivariance import rows
from equivariance.figures import style
from equivariance.names import SCORES
from equivariance.study.figures import legend, measured

NAMES = {"whole": "isotropic filters", "cut": "one corner cut"}


def figures(folder: Path) -> dict[str, style.Figure]:
    """Above the filters, below the scores; the axis of the scores begins at 0.97."""
    from equivariance.study.models.gaussian import GaussianCNN  # which loads PyTorch

    scores = rows.by_layer(measured(folder))
    figure = style.plt.figure(figsize=(style.COLUMN, 2.9), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 4))
    for side, (corner, name) in enumerate(NAMES.items()):
        row = grid[0, side].subgridspec(1, 4)
        for place, weight in enumerate(GaussianCNN(1, 1, corner).blocks[0][0].weight[:, 0].detach().numpy()):
            axes = figure.add_subplot(row[place])
            axes.imshow(weight, cmap="Greys", vmin=0)
            axes.axis("off")
        axes = figure.add_subplot(grid[1, side])
        axes.set_title(name)
        one = scores[scores.model == f"gaussian-{corner}"]
        for score, look in style.looks(SCORES).items():
            curve = one[one.score == score]
            size = 6 if score == "invariance" else 3  # where both are 1, both are seen
            axes.plot(curve["index"], curve.value, ms=size, label=score, **look)
        style.depth_axis(axes, list(curve.layer))
        axes.set_ylim(0.97, 1.001)
        if not side:
            axes.set_ylabel("mean correlation\n(axis from 0.97)")
    legend(figure)
    return {"figure": figure}
