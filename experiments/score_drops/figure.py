"""Draw a network's score block by block, with and without blurs before its strides, and renew README.md's table."""

from pathlib import Path

import pandas as pd

from equivariance import rows
from equivariance.figures import style
from equivariance.figures.score_drops import score_drops, sentence
from equivariance.names import BEFORE_POOLING
from equivariance.study.verdicts.pages import renew

HERE = Path(__file__).resolve().parent
NETWORKS = {
    "akamaster_resnet44": "as published",
    "akamaster_resnet44_blur_strides": "blur before blocks 8, 15 (strided)",
    "akamaster_resnet44_blur_others": "blur before blocks 6, 13",
}
SHOWN = 3  # drops


@style.styled
def main(folder: Path = HERE) -> None:
    results = rows.of_first_over(rows.read(folder / "results.csv"))
    style.save(draw(rows.by_layer(results[results.part.isin(BEFORE_POOLING)])), folder / "figure", ("png", "svg"))
    shown = "![Invariance by block with and without blurs, and its drop over each block](figure.png)"
    images = results.images.max()
    about = f"*{images} images, over={results.over.iloc[0]}; bands: 95 % intervals over images.*"
    renew(folder / "README.md", f"{shown}\n\n{about}\n\n{table(results)}")
    print(f"drew figure and table in {folder}")


def draw(layers: pd.DataFrame) -> style.Figure:
    """Invariance by block, its drop over each block below, and lines where the stride changes."""
    figure, (upper, lower) = style.plt.subplots(
        2, 1, figsize=(style.COLUMN, 4.1), sharex=True, layout="constrained", height_ratios=(1.2, 1)
    )
    of_score = layers[layers.score == "invariance"]
    for position, (name, label) in enumerate(NETWORKS.items()):
        one = of_score[of_score.model == name].sort_values("index")
        colour, marker = style.COLOURS[position], style.MARKERS[position]
        upper.fill_between(one["index"], one.low, one.high, color=colour, alpha=style.SPREAD, lw=0)
        upper.plot(one["index"], one.value, color=colour, marker=marker, ms=2.5, label=label)
        drops = -one.value.diff().to_numpy()[1:]
        lower.bar(one["index"].to_numpy()[1:] + 0.27 * (position - 1), drops, 0.27, color=colour)
    strides = one[one.stride.diff() > 0]["index"]
    for axes in (upper, lower):
        for place in strides:
            axes.axvline(place, color="0.6", lw=0.6, zorder=0)
    upper.set_ylabel("invariance")
    lower.set_ylabel("drop over the block")
    lower.axhline(0, color=style.GREY, lw=0.6)
    step = one.iloc[::3]
    lower.set_xticks(step["index"], step.layer, rotation=45, ha="right", rotation_mode="anchor")
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", fontsize=6.5)
    figure.suptitle("ResNet-44, shift by one pixel; strides at the lines", fontsize=7.5)
    return figure


def table(results: pd.DataFrame) -> str:
    """The largest drops of invariance of each network, and what they come to."""
    lines = [
        "| network | largest drops from a block to the next | middle | late | final | accuracy |",
        "|---|" + "---|" * 5,
    ]
    parts = rows.by_part(results[results.score == "invariance"]).set_index(["model", "part"])
    for name, label in NETWORKS.items():
        one = results[(results.model == name) & (results.score == "invariance")]
        found = score_drops(one)
        drops = "; ".join(sentence(drop) for _, drop in found[found.before != "input"].head(SHOWN).iterrows())
        scores = " | ".join(f"{parts.value[name, part]:.2f}" for part in ("middle", "late", "final"))
        lines.append(f"| {label} | {drops} | {scores} | {one.accuracy.iloc[0]:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
