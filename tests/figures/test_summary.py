"""The short table of a measurement: percent, chance, and what it warns of."""

import pandas as pd
import pytest

from equivariance.errors import UserError
from equivariance.figures.summary import summary
from equivariance.rows import few_images

ROW = {
    "index": 0,
    "part": "early",
    "transform": "rotation",
    "similarity": "pearson",
    "over": "image",
    "images": 2000,
}
ENDS = ["value", "cross_fitted", "chance", "low", "high"]


def table(**layers: tuple[float, ...]) -> pd.DataFrame:
    """Rows of both scores, alike, of layers with these `ENDS`, under two angles that differ by 0.02."""
    return pd.DataFrame(
        ROW
        | {
            "layer": name,
            "index": place,
            "element": element,
            "score": score,
            "agreement": 0.25 if name == "final" else None,
        }
        | {end: x + shift for end, x in zip(ENDS, ends, strict=True)}
        for place, (name, ends) in enumerate(layers.items())
        for element, shift in ((90, -0.01), (180, 0.01))
        for score in ("invariance", "equivariance")
    )


def line_of(text: str, layer: str) -> str:
    (line,) = (line for line in text.splitlines() if line.split()[:1] == [layer])
    return line


def test_scores_are_percentages_beside_their_interval_and_chance():
    text = summary(table(block1=(0.812, 0.81, 0.4, 0.8, 0.824)))
    found = line_of(text, "block1").split()
    assert found == ["block1", "early", *["81.2", "80.0", "to", "82.4", "40.0"] * 2]
    assert "correlation" in text and "rotation by 90, 180 degrees; 2000 images" in text and "few" not in text
    assert repr(text) == str(text)


@pytest.mark.parametrize(
    ("chance", "mark"),
    [(0.2, ""), (0.29, ""), (0.31, "≈ chance"), (0.34, "≈ chance"), (0.36, "< chance"), (None, "")],
)
def test_a_score_that_is_no_more_than_chance_is_marked(chance, mark):
    rows = table(block1=(0.32, 0.32, 0.0, 0.30, 0.35)).assign(chance=chance)
    line = line_of(summary(rows), "block1")
    assert [each for each in ("≈ chance", "< chance") if each in line] == [mark] * bool(mark)
    alone = line_of(summary(rows.assign(low=None, high=None, chance=0.33)), "block1")
    assert "< chance" in alone and " to " not in alone


def test_the_predicted_class_has_a_table_of_its_own():
    text = summary(table(final=(0.5, 0.5, 0.1, 0.4, 0.6)).assign(agreement_worst=0.125))
    heads, line = text.splitlines()[-2:]
    assert heads.split() == ["90", "180", "at", "all", "of", "them"] and line.split()[-3:] == [
        "25.0",
        "25.0",
        "12.5",
    ]


def test_few_images_are_said_in_one_sentence():
    wide, fine = (0.5, 0.4, 0.1, 0.3, 0.6), (0.5, 0.495, 0.1, 0.4, 0.6)
    assert few_images(table(a=fine)) == ""
    assert "the equivariance of b:" in few_images(table(a=fine, b=wide)) and "10.0%" in few_images(table(a=wide))
    assert "the equivariance of any layer" in few_images(table(a=wide, b=wide))
    assert "10 images are too few to quote the score of any layer" in few_images(table(a=fine).assign(images=10))


def test_what_is_no_table_of_scores_is_refused():
    with pytest.raises(UserError, match="has no column index, part"):
        summary(table(a=(0.5,) * 5)[["layer"]])
