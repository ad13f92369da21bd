"""What decides claims of later work (L1 to L7), as far as rows of ours can."""

import pandas as pd
from scipy.stats import spearmanr

from equivariance import rows
from equivariance.figures.rank_correlation import rank_correlation
from equivariance.names import BEFORE_POOLING, PARTS, SCORES
from equivariance.study.verdicts.parts import by_part
from equivariance.study.verdicts.rules import Evidence, Outcome, Rule

SETTLED = 0.05  # a score in [0, 1] that stays this close to its last value has settled
FIRST_EPOCHS = 5
GOOD = 0.7  # a multiple correlation that explains half of the variance
FEWEST = 6  # networks for a correlation with accuracy
FAMILIES = {
    "CNN": ("efficientnet_b6", "efficientnet_b7", "resnext101_32x8d", "inception_v3"),
    "transformer": ("vit_b16",),
    "Mixer": ("mixer_b16",),
}


def equivariance_falls_invariance_rises(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    layers = rows.by_layer(results[results.part.isin(BEFORE_POOLING)])
    networks = ["score", "dataset", "model", "aug", "width", "seed", "transform"]
    rho = layers.groupby(networks, dropna=False)[["index", "value"]].apply(
        lambda one: spearmanr(one["index"], one.value).statistic
    )
    falls, rises = rho["equivariance"] < 0, rho["invariance"] > 0
    cases = {("equivariance falls",): bool(falls.all()), ("invariance rises",): bool(rises.all())}
    text = (
        f"rho of score and depth before pooling: equivariance {rho['equivariance'].min():.2f} to "
        f"{rho['equivariance'].max():.2f}, falls in {falls.sum()} of {len(falls)} networks; invariance "
        f"{rho['invariance'].min():.2f} to {rho['invariance'].max():.2f}, rises in {rises.sum()}"
    )
    return Outcome(cases, text)


def settle_early(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    networks = ["score", "part", "transform", "dataset", "model", "aug", "width", "seed"]
    scores = results.groupby([*networks, "epochs", "epoch"], dropna=False).value.mean().reset_index()
    last = scores[scores.epoch == scores.epochs][[*networks, "value"]]
    later = scores[(scores.epoch >= FIRST_EPOCHS) & (scores.epoch < scores.epochs)]
    later = later.merge(last, on=networks, suffixes=("", "_last"))
    if later.empty:
        return Outcome({}, f"no rows of an epoch from {FIRST_EPOCHS} on besides the last")
    moved = (later.value - later.value_last).abs().groupby([later.score, later.part]).max()
    there = {score: [part for part in PARTS if part in moved[score]] for score in SCORES}
    cases = {(score, part): bool(moved[score, part] <= SETTLED) for score in SCORES for part in there[score]}
    text = "; ".join(
        f"{score} {', '.join(f'{part} {moved[score, part]:.3f}' for part in there[score])}" for score in SCORES
    )
    return Outcome(cases, f"largest distance from the last epoch, from epoch {FIRST_EPOCHS} on: {text}")


def augmentation_raises_both(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = by_part(results[results.part.isin(BEFORE_POOLING)], "aug")
    wide = scores.groupby(["aug", "seed", "score"]).value.mean().unstack(["score", "seed"])
    up = wide.drop(evidence.baseline) - wide.loc[evidence.baseline]
    cases = {(aug,): bool((row > 0).all()) for aug, row in up.iterrows()}
    text = "; ".join(
        f"{aug} " + ", ".join(f"{score} {' '.join(f'{value:+.3f}' for value in row[score])}" for score in SCORES)
        for aug, row in up.iterrows()
    )
    return Outcome(cases, f"minus {evidence.baseline}, mean before pooling, by seed: {text}")


def before_pooling(results: pd.DataFrame) -> pd.DataFrame:
    """Mean over the parts before pooling, by transformation, score and network."""
    scores = rows.by_part(results[results.part.isin(BEFORE_POOLING)])
    return scores.pivot_table(index=["transform", "score"], columns="model", values="value")


def mixers_between(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = before_pooling(results)
    family = {name: scores[list(members)].mean(axis=1) for name, members in FAMILIES.items()}
    low, high = (
        pd.concat([family["CNN"], family["transformer"]], axis=1).agg(how, axis=1) for how in ("min", "max")
    )
    between = (low < family["Mixer"]) & (family["Mixer"] < high)
    text = "; ".join(
        f"{' '.join(key)}: " + ", ".join(f"{name} {values[key]:.2f}" for name, values in family.items())
        for key in scores.index
    )
    return Outcome({key: bool(value) for key, value in between.items()}, text)


def transformers_above_cnns(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = before_pooling(results).xs("equivariance", level="score")
    cnn, transformer = (scores[list(FAMILIES[name])].mean(axis=1) for name in ("CNN", "transformer"))
    cases: dict[tuple[str, ...], bool | None] = {
        ("transformers above CNNs", transform): bool(transformer[transform] > cnn[transform])
        for transform in scores.index
    }
    text = "; ".join(f"{name}: CNNs {cnn[name]:.2f}, transformer {transformer[name]:.2f}" for name in scores.index)
    return Outcome(cases, text)


def grows_with_accuracy(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    scores = rows.by_part(results[(results.score == "equivariance") & results.part.isin(BEFORE_POOLING)])
    cases: dict[tuple[str, ...], bool | None] = {
        ("transformers above CNNs",): None,
        ("grows with model size",): None,
    }
    text = []
    for transform, one in scores.groupby("transform", sort=False):
        each = one.groupby("model")[["value", "accuracy"]].mean()
        found = rank_correlation(each.value, each.accuracy)
        if found.networks >= FEWEST and found.rho == found.rho:
            cases["grows with accuracy", transform] = bool(found.rho > 0 and found.p < 0.05)
        text.append(f"{transform}: {found}")
    if len(cases) == 2:
        return Outcome({}, f"needs {FEWEST} networks with different accuracies; {'; '.join(text)}")
    return Outcome(cases, f"{'; '.join(text)} (no transformer among these networks)")


def decide_l5(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    compared = transformers_above_cnns if evidence.compare else grows_with_accuracy
    return compared(results, evidence)


def deeper_is_more_consistent(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    final = results[results.agreement.notna() & (results.score == "invariance")]
    if final.empty:
        return Outcome({}, "no rows with the share of predicted classes that stay")
    scores = final.groupby(["series", "depth"])[["agreement", "accuracy"]].mean()
    rho, texts = {}, []
    for series, one in scores.groupby("series"):
        one = one.droplevel("series")
        rho[series] = spearmanr(one.index, one.agreement).statistic
        each = ", ".join(
            f"depth {depth:g} {row.agreement:.3f} ({row.accuracy:.3f})" for depth, row in one.iterrows()
        )
        texts.append(f"{series}: {each}")
    return Outcome(
        {(series,): bool(value > 0) for series, value in rho.items()},
        f"predicted classes that stay (and accuracy), {'; '.join(texts)}",
    )


def linear_maps(results: pd.DataFrame, evidence: Evidence) -> Outcome:
    of_score = results[(results.score == "linear") & results.part.isin(BEFORE_POOLING)]
    if of_score.value.isna().all():
        return Outcome({}, "no rows of the linear score")
    keys = ["transform", "dataset", "model", "aug", "width", "seed"]
    scores = of_score.groupby([*keys, "part"], dropna=False).value.mean().unstack("part")
    cases: dict[tuple[str, ...], bool | None] = {}
    texts = []
    for transform, one in scores.groupby("transform"):
        cases["good early", transform] = bool((one.early >= GOOD).all())
        cases["worse late", transform] = bool((one.late < one.early).all())
        each = ", ".join(f"{part} {one[part].min():.2f} to {one[part].max():.2f}" for part in BEFORE_POOLING)
        texts.append(f"{transform}, {len(one)} network{'s' * (len(one) > 1)}: {each}")
    return Outcome(cases, "; ".join(texts))


RULES = [
    Rule(
        "L1",
        "Spearman's rho of score and depth before pooling is negative for equivariance and positive for "
        "invariance, in every network and under every transformation",
        equivariance_falls_invariance_rises,
    ),
    Rule(
        "L2",
        "in every network and part, both scores stay within 0.05 of their last value from the fifth epoch on",
        settle_early,
        every_epoch=True,
    ),
    Rule(
        "L3",
        "with every augmentation, both scores, averaged before pooling, are above the baseline's in every seed",
        augmentation_raises_both,
        "translation",
    ),
    Rule(
        "L4",
        "averaged before pooling, the Mixer lies between the mean of the CNNs and the transformer, for both scores "
        "and each transformation",
        mixers_between,
    ),
    Rule(
        "L5",
        "averaged before pooling, the transformer's equivariance is above the mean of the CNNs; rho of "
        "equivariance and accuracy is positive (p < 0.05)",
        decide_l5,
    ),
    Rule(
        "L6",
        "for each author's networks, rho of depth and the share of predicted classes that stay under shifts is "
        "positive",
        deeper_is_more_consistent,
        "translation",
    ),
    Rule(
        "L7",
        "in every network and under every transformation, the linear score is at least 0.7 early and lower late",
        linear_maps,
    ),
]
