"""Verdicts from the committed rows, into the pages that show them: `python scripts/claims.py [NAME]`.

Writes experiments/README.md (every claim), and renews the table of each experiment's README.md and of README.md.
Prints the verdicts of experiment NAME, or of all.
"""

import re
from pathlib import Path

import pandas as pd

from equivariance.analysis import jobs as experiments
from equivariance.analysis.verdicts import (
    KINDS,
    Verdict,
    cell,
    claimed,
    decides_by,
    described,
    markdown,
    results,
    verdicts_of,
)
from equivariance.checkout import REPOSITORY
from equivariance.cli import command_line
from equivariance.errors import UserError
from equivariance.runs.atomic import write_atomic

HEAD = """# Claims and verdicts

What the thesis (T) and the paper (P) claim, and what our rows say. Written by `make claims` from
`experiments/*/results.csv` by the rules in `experiments/*/claims.py`. A claim that fails is a finding. Means over
seeds stand with plus-minus one standard deviation; each experiment's page says more about its setting.
"""
ELSEWHERE = """## Further experiments

Reduced versions of the above (other depth, fewer epochs or seeds: see their pages), and questions of our own. They
decide no claim of the table.
"""


def main(
    name: str | None = None, folder: Path = experiments.FOLDER, readme: Path = REPOSITORY / "README.md"
) -> None:
    decided = {each: verdicts_of(each, folder) for each in names(folder)}
    if name is not None and name not in decided:
        raise UserError(f"NAME={name}: there is no such experiment; choose {', '.join(decided)}")
    write_atomic(folder / "README.md", page(decided, folder))
    for each, verdicts in decided.items():
        renew_table(folder / each / "README.md", markdown(verdicts))
    renew_table(readme, overview(decided, folder))
    for each in decided if name is None else [name]:
        if name is None:
            print(f"{each}: {tally(decided[each]) or 'no claim of the list'}")
        else:
            print(markdown(decided[each]))


def names(folder: Path) -> list[str]:
    """Experiments that decide claims of the list, then the others that have rules."""
    others = sorted(file.parent.name for file in folder.glob("*/claims.py"))
    return list(dict.fromkeys([*described(), *others]))


def page(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """experiments/README.md."""
    listed = [one for name in described() for one in decided[name] if one.number in claimed()]
    counts = pd.Series([str(one) for one in listed]).value_counts()
    total = ", ".join(f"{counts.get(kind, 0)} {kind}" for kind in KINDS)
    parts = [HEAD, f"**{len(listed)} claims: {total}.**\n"]
    parts += [section(name, decided[name], folder) for name in described()]
    if others := [name for name in decided if name not in described()]:
        parts += [ELSEWHERE, *(elsewhere(name, decided[name], folder) for name in others)]
    return "\n".join(parts)


def section(name: str, verdicts: list[Verdict], folder: Path) -> str:
    """What one experiment decides."""
    about, rules, drawn = described()[name], decides_by(name, folder), figures(name, folder)
    link = f"[{about['title']}]({name})" if (folder / name).exists() else about["title"]
    lines = [f"## {link}\n", f"{about['setting']}. {rows_of(name, folder)}\n"]
    lines += [f"```\n{about['command']}\n```\n"]
    lines += ["| | claim | source | decided by | verdict | ours | figure |", "|---|---|---|---|---|---|---|"]
    for one in verdicts:
        shown = drawn if one.holds is not None else f"`{about['command']}`"
        source = claimed()[one.number].source if one.number in claimed() else "ours"
        text = (
            one.number,
            one.claim,
            source,
            rules.get(one.number, "rule not written yet"),
            f"**{one}**",
            one.evidence,
        )
        lines.append("| " + " | ".join(map(cell, text)) + f" | {shown or 'none yet'} |")
    return "\n".join(lines) + "\n"


def elsewhere(name: str, verdicts: list[Verdict], folder: Path) -> str:
    """The verdicts of an experiment that is not in the list of claims."""
    readme = folder / name / "README.md"
    title = re.search(r"^# (.*)$", readme.read_text(), re.M)[1] if readme.exists() else name
    about = " ".join(filter(None, [rows_of(name, folder), figures(name, folder)]))
    return f"### [{title}]({name})\n\n{about}\n\n{markdown(verdicts)}\n"


def rows_of(name: str, folder: Path) -> str:
    """Where the rows are, and how many networks, seeds and images are in them."""
    rows = results(name, folder)
    if rows.empty:
        return "No rows yet."
    networks = rows[["dataset", "model", "aug", "width", "trained", "seed", "epochs"]].drop_duplicates()
    counts = {
        "trained here": (networks.trained & networks.epochs.notna()).sum(),
        "with published weights": (networks.trained & networks.epochs.isna()).sum(),
        "not trained": (~networks.trained.astype(bool)).sum(),
    }
    kinds = {kind: count for kind, count in counts.items() if count}
    counted = ", ".join(kinds if len(kinds) == 1 else (f"{count} {kind}" for kind, count in kinds.items()))
    seeds = f"{rows.seed.nunique()} seeds, " if rows.seed.nunique() > 1 else ""
    of = f"{len(networks)} networks" if len(networks) > 1 else "one network"
    images = " to ".join(map(str, sorted({rows.images.min(), rows.images.max()})))
    return f"[Rows]({name}/results.csv) of {of} ({counted}), {seeds}{images} images."


def figures(name: str, folder: Path) -> str:
    """Links to the pictures of an experiment."""
    return ", ".join(f"[{file.stem}]({name}/{file.name})" for file in sorted((folder / name).glob("*.png")))


def overview(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """The short table of README.md, one row an experiment."""
    lines = ["| claim | command | ours |", "|---|---|---|"]
    for name, about in described().items():
        numbers = list(about["claims"])
        span = ", ".join(numbers) if len(numbers) < 3 else f"{numbers[0]} to {numbers[-1]}"
        link = f"[{name}](experiments/{name})" if (folder / name).exists() else name
        command = about["command"].replace(" && ", "`, `")
        lines.append(f"| {span}: {cell(about['title'])} | `{command}` | {link}: {tally(decided[name])} |")
    return "\n".join(lines)


def tally(verdicts: list[Verdict]) -> str:
    """Such as "S2, S4 reproduced; S1, S3 not reproduced"."""
    by_kind: dict[str, list[str]] = {}
    for one in verdicts:
        if one.number in claimed():
            by_kind.setdefault(str(one), []).append(one.number)
    return "; ".join(kind if len(by_kind) == 1 else f"{', '.join(those)} {kind}" for kind, those in by_kind.items())


def renew_table(path: Path, table: str) -> None:
    """Replace the table of `path` that begins with the same line, if there is one."""
    if not path.exists():
        return
    text, head = path.read_text(), table.splitlines()[0]
    new = re.sub(rf"^{re.escape(head)}\n(?:\|.*\n?)*", lambda _: table + "\n", text, count=1, flags=re.M)
    if new != text:
        write_atomic(path, new)


if __name__ == "__main__":
    command_line(main)
