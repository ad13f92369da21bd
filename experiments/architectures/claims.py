"""What the papers claim about pretrained architectures (I1 to I7), and what our rows say. One rule a claim.

python experiments/architectures/claims.py
"""

from pathlib import Path

import pandas as pd

from equivariance.analysis.verdicts import Verdict, markdown, verdict
from equivariance.runs import rows

HERE = Path(__file__).resolve().parent
EFFICIENTNETS = ["efficientnet_b6", "efficientnet_b7"]
CNNS = [*EFFICIENTNETS, "resnext101_32x8d", "inception_v3"]
MIXING = ["vit_b16", "mixer_b16"]  # of patches
SIX = CNNS + MIXING
MEASURES = ["invariance", "equivariance"]
BEFORE_POOLING = ["early", "middle", "late"]
PARTS = [*BEFORE_POOLING, "pool", "final"]
SAME = 0.05  # a difference of scores up to which they count as equal
COMMAND = "python measure.py experiment=architectures data_dir=FOLDER"

TRANSLATION = ("I1", "I2", "I3", "I4")
ROTATION = ("I5", "I6", "I7")


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """I1 to I7, decided on the pretrained networks: scores averaged over elements, then over layers of a part."""
    trained = results[results.trained.astype(bool)]
    found = []
    for transform, claims in (("translation", TRANSLATION), ("rotation", ROTATION)):
        scores = table(trained[trained["transform"] == transform])
        missing = [name for name in SIX if name not in scores]
        for number in claims:
            if missing:
                text = f"no pretrained {', '.join(missing)}: {COMMAND}"
                found.append(verdict(number, None, text))
            else:
                found.append(verdict(number, *RULES[number](scores)))
    return found


def table(results: pd.DataFrame) -> pd.DataFrame:
    """Scores by (measure, part), one column a network."""
    return rows.by_part(results).pivot_table(index=["measure", "part"], columns="model", values="value")


def shown(scores: pd.DataFrame, measure: str, part: str) -> str:
    """All networks with their score, highest first."""
    ordered = scores.loc[measure, part][SIX].sort_values(ascending=False)
    return f"{part} {measure} " + ", ".join(f"{name} {value:.2f}" for name, value in ordered.items())


def i1(scores: pd.DataFrame) -> tuple[bool, str]:
    """I1: Both below every CNN, in both parts and scores."""
    cells = [(measure, part) for part in ("early", "middle") for measure in MEASURES]
    holds = all(scores.loc[cell][MIXING].max() < scores.loc[cell][CNNS].min() for cell in cells)
    return holds, "; ".join(shown(scores, *cell) for cell in cells if cell[0] == "invariance")


def i2(scores: pd.DataFrame) -> tuple[bool, str]:
    """I2: Both above every other network, in all parts and scores."""
    others = [name for name in SIX if name not in EFFICIENTNETS]
    cells = [(measure, part) for part in PARTS for measure in MEASURES]
    ahead = [cell for cell in cells if scores.loc[cell][EFFICIENTNETS].min() > scores.loc[cell][others].max()]
    named = ", ".join(f"{part} {measure}" for measure, part in ahead) or "nowhere"
    return len(ahead) == len(cells), f"both highest in {len(ahead)} of {len(cells)} parts and scores: {named}"


def i3(scores: pd.DataFrame) -> tuple[bool, str]:
    """I3: Neither is below the lowest CNN."""
    final = scores.loc["invariance", "final"]
    return bool(final[MIXING].min() >= final[CNNS].min()), shown(scores, "invariance", "final")


def i4(scores: pd.DataFrame) -> tuple[bool, str]:
    """I4: In every network and part they differ by at most 0.05."""
    gap = (scores.loc["equivariance"] - scores.loc["invariance"])[SIX]
    part, name = gap.stack().idxmax()
    return bool((gap <= SAME).all(axis=None)), f"largest difference {gap[name][part]:.2f}, {name} {part}"


def i5(scores: pd.DataFrame) -> tuple[bool, str]:
    """I5: Both below every CNN in every part before pooling, ViT the highest in the logits; for both scores."""
    before = [(measure, part) for part in BEFORE_POOLING for measure in MEASURES]
    below = all(scores.loc[cell][MIXING].max() < scores.loc[cell][CNNS].min() for cell in before)
    first = all(scores.loc[measure, "final"][SIX].idxmax() == "vit_b16" for measure in MEASURES)
    return below and first, "; ".join(shown(scores, "equivariance", part) for part in ("early", "late", "final"))


def i6(scores: pd.DataFrame) -> tuple[bool, str]:
    """I6: Mean gap over networks largest early and at most 0.05 late; the largest early gaps are those two's."""
    gap = (scores.loc["equivariance"] - scores.loc["invariance"])[SIX]
    mean = gap.mean(axis=1)[BEFORE_POOLING]
    widest = set(gap.loc["early"].nlargest(2).index)
    holds = mean.idxmax() == "early" and mean["late"] <= SAME and widest == {"resnext101_32x8d", "inception_v3"}
    text = ", ".join(f"{part} {value:.2f}" for part, value in mean.items())
    return bool(holds), f"mean gap {text}; widest early: {', '.join(sorted(widest))}"


def i7(scores: pd.DataFrame) -> tuple[bool, str]:
    """I7: Mean rank (1 the highest, over both scores) of ViT and the EfficientNets in the lower half before
    pooling, in the upper half of the logits; that of Inception-v3 the other way round."""
    ranks = scores[SIX].rank(axis=1, ascending=False).swaplevel()
    before, end = ranks.loc[BEFORE_POOLING].mean(), ranks.loc["final"].mean()
    risers = ["vit_b16", *EFFICIENTNETS]
    up = before[risers].mean() > 3.5 > end[risers].mean()
    down = before["inception_v3"] < 3.5 < end["inception_v3"]
    text = ", ".join(f"{name} {before[name]:.1f} to {end[name]:.1f}" for name in SIX)
    return bool(up and down), f"mean rank before pooling and in the logits: {text}"


RULES = {"I1": i1, "I2": i2, "I3": i3, "I4": i4, "I5": i5, "I6": i6, "I7": i7}


if __name__ == "__main__":
    print(markdown(verdicts(rows.read(HERE / "results.csv"))))
