"""M2 and M3: what the measure must give where the answer is known.

python experiments/controlled/claims.py
"""

from pathlib import Path

import pandas as pd
import torch

from equivariance.analysis.verdicts import Verdict, markdown, not_run, verdict
from equivariance.runs import rows
from equivariance.scores.statistics import PairStatistics

HERE = Path(__file__).resolve().parent
DIGITS = 5e-6  # rows hold six digits


def verdicts(results: pd.DataFrame) -> list[Verdict]:
    """M2 on random maps, M3 on the networks made by hand."""
    return [shifted_maps(), *(not_run("M3") if results.empty else [networks_made_by_hand(results)])]


def shifted_maps(seed: int = 0) -> Verdict:
    """M2: two random maps, both with 0.5 added: correlation stays, cosine does not."""
    a, b = torch.randn(2, 2, 1, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before, after = PairStatistics.of(a, b), PairStatistics.of(a + 0.5, b + 0.5)
    (r, cosine), (r_after, cosine_after) = ((s.correlation().item(), s.cosine().item()) for s in (before, after))
    text = f"correlation {r:.4f} before and {r_after:.4f} after, cosine {cosine:.4f} and {cosine_after:.4f}"
    return verdict("M2", abs(r - r_after) < 1e-12 and abs(cosine - cosine_after) > 0.05, text)


def networks_made_by_hand(results: pd.DataFrame) -> Verdict:
    """M3: invariance 1 at every layer of the isotropic network, equivariance 1 of the one with cut corners."""
    lowest = results.groupby(["model", "measure"]).value.min()
    whole, cut = lowest["gaussian-whole", "invariance"], lowest["gaussian-cut", "equivariance"]
    blocks = results[results.part.isin(("early", "middle", "late"))]
    broken = blocks.groupby(["model", "measure"]).value.max()["gaussian-cut", "invariance"]
    text = (
        f"smallest invariance with isotropic filters {whole:.6f}; "
        f"smallest equivariance with cut corners {cut:.6f}, largest invariance there before pooling {broken:.3f}"
    )
    return verdict("M3", bool(min(whole, cut) > 1 - DIGITS and broken < 1 - DIGITS), text)


if __name__ == "__main__":
    print(markdown(verdicts(rows.read(HERE / "results.csv"))))
