"""A network's score block by block, with and without blurs before its strides; its largest drops as a table."""

from collections.abc import Mapping
from pathlib import Path

from equivariance import rows
from equivariance.figures import style
from equivariance.figures.score_drops import score_drops
from equivariance.names import BEFORE_POOLING
from equivariance.study.figures import legend, measured
from equivariance.study.tables import markdown, sentence

SHOWN = 3  # drops


def figures(folder: Path, networks: Mapping[str, str]) -> dict[str, style.Figure]:
    """Invariance by block, its drop over each block below, and lines where the stride changes."""
    results = measured(folder)
    layers = rows.by_layer(results[results.part.isin(BEFORE_POOLING) & (results.score == "invariance")])
    figure, grid = style.panels(2, 1, 1.6, 0.9, sharex=True, height_ratios=(1.2, 1))
    upper, lower = grid[:, 0]
    for aside, (name, look) in zip((-0.27, 0, 0.27), style.looks(networks).items(), strict=True):
        one = layers[layers.model == name].sort_values("index")
        x = one["index"].to_numpy()
        style.curve(upper, x, one.value, one.low, one.high, ms=2.5, label=networks[name], **look)
        lower.bar(x[1:] + aside, -one.value.diff().to_numpy()[1:], 0.27, color=look["color"])
    for place in one[one.stride.diff() > 0]["index"]:
        for axes in (upper, lower):
            axes.axvline(place, color="0.6", lw=0.6, zorder=0)
    upper.set_ylabel("invariance")
    lower.set_ylabel("drop over the block")
    lower.axhline(0, color=style.GREY, lw=0.6)
    lower.set_xticks(*style.named_layers(list(one.layer)), **style.SLANTED)
    legend(figure, ncols=1, fontsize=6.5)
    figure.suptitle("ResNet-44, shift by one pixel; strides at the lines", fontsize=7.5)
    return {"figure": figure}


def page(folder: Path, networks: Mapping[str, str]) -> str:
    """The largest drops of invariance of each network, and what they come to."""
    results = measured(folder)
    results = results[results.score == "invariance"]
    parts, lines = rows.by_part(results).set_index(["model", "part"]).value, []
    for name, label in networks.items():
        one = results[results.model == name]
        found = score_drops(one)
        drops = "; ".join(sentence(drop) for _, drop in found[found.before != "input"].head(SHOWN).iterrows())
        lines.append([label, drops, *parts[name][["middle", "late", "final"]], f"{one.accuracy.iloc[0]:.3f}"])
    head = ["network", "largest drops from a block to the next", "middle", "late", "final", "accuracy"]
    return (
        "![Invariance by block with and without blurs, and its drop over each block](figure.png)\n\n"
        f"*{results.images.max()} images, over={results.over.iloc[0]}; bands: 95 % intervals over images.*\n\n"
        + markdown(head, lines)
    )
