"""Verdicts from the committed rows, into the pages that show them.

    python scripts/claims.py [NAME]

Writes experiments/README.md (every claim), and renews the table of each experiment's README.md and of README.md.
Prints the verdicts that the rows of experiment NAME decide, or a line for each group of claims.
"""

import re
from collections import Counter
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.rows import of_last_epoch
from equivariance.study.checkout import EXPERIMENTS, REPOSITORY
from equivariance.study.cli import command_line
from equivariance.study.verdicts.rules import (
    KINDS,
    OTHERWISE,
    REPRODUCTION,
    STATES,
    Evidence,
    Verdict,
    cell,
    claimed,
    combined,
    described,
    evidence_of,
    evidence_text,
    fewer_seeds,
    in_words,
    markdown,
    results,
    rules_of,
    verdicts_of,
    word,
)

HEAD = """# Claims and verdicts

{counts}

What was claimed, and what our rows say. Written by `make claims` from `experiments/*/results.csv` by the rules in
`experiments/*/claims.py` and the list in `claims.yaml`; nothing in it is typed by hand. A claim that fails is a
finding.

Three kinds of evidence stand side by side. **Full**: the papers' own setting; only this reproduces a claim, or does
not. **Reduced**: our own training, smaller, said how. **Public**: networks that others trained, said whose. Each is
decided under two readings of the measure where there are rows: `image` (similarity within each image, averaged over
images) and `dataset` (one correlation over all images and positions). *Partly*: for some of what a claim speaks of;
the numbers say for which. Means over seeds stand with plus-minus one standard deviation.
"""
PUBLIC = REPOSITORY / "equivariance/study/models/public.yaml"
OF = {"full": "Full size", "reduced": "Reduced", "public": "Public networks"}


def main(name: str | None = None, folder: Path = EXPERIMENTS, readme: Path = REPOSITORY / "README.md") -> None:
    """Write the pages; NAME is an experiment whose verdicts are printed."""
    decided = {group: verdicts_of(group, folder) for group in described()}
    deciding = by_experiment(decided)
    if name is not None and name not in deciding:
        raise UserError(f"NAME={name}: no claim is decided by its rows; choose {', '.join(deciding)}")
    write_atomic(folder / "README.md", page(decided, folder))
    for each, verdicts in deciding.items():
        renew_table(folder / each / "README.md", markdown(verdicts))
        renew_table(folder / each / "README.md", accuracies(results(each, folder)))
        renew_table(folder / each / "README.md", beside_published(results(each, folder)))
    renew_table(readme, overview(decided, folder))
    if name is not None:
        print(markdown(deciding[name]))
    for group in decided if name is None else ():
        print(
            f"{group}: " + "; ".join(f"{kind}: {text}" for kind in KINDS if (text := tally(decided[group], kind)))
        )


def accuracies(table: pd.DataFrame) -> str:
    """The accuracies of trained networks after their last epoch, seed by seed; a row for each network."""
    trained = of_last_epoch(table[table.trained.astype(bool) & table.accuracy.notna()])
    lines = ["| network | accuracy on the test images, seed by seed | mean ± s.d. |", "|---|---|---|"]
    columns = [column for column in ("dataset", "model", "aug") if trained[column].nunique() > 1] or ["model"]
    for names, one in trained.groupby(columns, sort=False, dropna=False):
        each = 100 * one.drop_duplicates("seed").sort_values("seed").accuracy
        name = " ".join(str(name) for name in names if name == name)
        values = ", ".join(f"{value:.2f} %" for value in each)
        lines.append(
            f"| {name} | {values} | {each.mean():.2f} ± {each.std():.2f} % |"
            if len(each) > 1
            else f"| {name} | {values} | |"
        )
    return "\n".join(lines)


def beside_published(table: pd.DataFrame) -> str:
    """The accuracies of networks that others trained, and what their authors say."""
    published = OmegaConf.load(PUBLIC)["networks"]
    lines = ["| network | accuracy, measured | published |", "|---|---|---|"]
    for name, accuracy in table[table.trained.astype(bool)].groupby("model", sort=False).accuracy.first().items():
        theirs = published.get(name, {}).get("top1")
        lines.append(f"| {name} | {100 * accuracy:.2f} % | {f'{theirs:.2f} %' if theirs else 'not stated'} |")
    return "\n".join(lines)


def by_experiment(decided: dict[str, list[Verdict]]) -> dict[str, list[Verdict]]:
    """The verdicts that the rows of each experiment decide."""
    found: dict[str, list[Verdict]] = {}
    for verdicts in decided.values():
        for one in verdicts:
            for name in one.evidence.experiments:
                found.setdefault(name, []).append(one)
    return found


def page(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """experiments/README.md."""
    papers = {group: verdicts for group, verdicts in decided.items() if not described()[group].get("later")}
    later = {group: verdicts for group, verdicts in decided.items() if group not in papers}
    parts = [HEAD.format(counts=f"**{counts(papers, folder)}**")]
    parts += [section(group, verdicts, folder) for group, verdicts in papers.items()]
    for group, verdicts in later.items():
        parts += [section(group, verdicts, folder, counts({group: verdicts}, folder))]
    return "\n".join(parts)


def counts(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """How many claims there are, and what each kind of evidence says of how many of them."""
    numbers = [number for group in decided for number in described()[group]["claims"]]
    texts = [f"{len(numbers)} claims."]
    for kind in KINDS:
        found = [ones for number in numbers if (ones := of(decided, number, kind))]
        states = Counter((STATES.index(combined(ones)), fewer_seeds(ones)) for ones in found)
        words = REPRODUCTION if kind == "full" and not claimed()[numbers[0]].later else OTHERWISE
        said = ", ".join(f"{n} {words[STATES[state]]}{seeds}" for (state, seeds), n in sorted(states.items()))
        if said:
            texts.append(f"{OF[kind]}: {said}.")
    return " ".join(texts)


def of(decided: dict[str, list[Verdict]], number: str, kind: str) -> list[Verdict]:
    """The verdicts of one kind on a claim; those that were run, where there are any."""
    ones = [one for verdicts in decided.values() for one in verdicts if (one.number, one.kind) == (number, kind)]
    return [one for one in ones if one.outcome.state != "not run"] or ones[:1]


def section(group: str, verdicts: list[Verdict], folder: Path, first: str = "") -> str:
    """A group of claims: its evidence, its verdicts by kind, and the numbers behind each."""
    about, rules = described()[group], rules_of(group, folder)
    link = f"[{about['title']}]({group})" if (folder / group / "README.md").exists() else about["title"]
    lines = [f"## {link}\n", *([f"**{first}**\n"] if first else []), f"{about['setting']}.\n"]
    lines += [evidence_line(evidence, folder) for evidence in evidence_of(group)]
    lines += ["", f"```\n{about['command']}\n```\n"]
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in verdicts)]
    lines += [f"| | claim | source | decided by | {' | '.join(kinds)} |", "|---" * (4 + len(kinds)) + "|"]
    for number, (statement, source) in about["claims"].items():
        decided_by = rules[number].decided_by if number in rules else "rule not written yet"
        cells = [in_words(of({group: verdicts}, number, kind)) for kind in kinds]
        lines.append("| " + " | ".join([number, *map(cell, (statement, source, decided_by)), *cells]) + " |")
    numbers = []
    for number in about["claims"]:
        for kind in kinds:
            for ones in by_evidence(one for one in verdicts if (one.number, one.kind) == (number, kind)):
                shown = "not run: " if all(one.outcome.state == "not run" for one in ones) else ""
                if shown and ones[0].evidence.rows(folder).empty and rules[number].from_rows:
                    continue  # the list above says that there are no rows
                drawn = figures(ones[0].evidence.experiments, folder) if not shown else ""
                numbers.append(f"| {number} | {kind} | {shown}{cell(evidence_text(ones))} | {drawn} |")
    if numbers:
        lines += ["", "| | evidence | ours | figure |", "|---|---|---|---|", *numbers]
    return "\n".join(lines) + "\n"


def by_evidence(verdicts) -> list[list[Verdict]]:
    """The verdicts of each evidence, those under all readings together."""
    found: dict[int, list[Verdict]] = {}
    for one in verdicts:
        found.setdefault(id(one.evidence), []).append(one)
    return list(found.values())


def evidence_line(evidence: Evidence, folder: Path) -> str:
    """What the rows of an evidence are of, and how many networks, seeds and images."""
    only = f" ({', '.join(evidence.claims)})" if evidence.claims else ""
    rows = evidence.rows(folder)
    if rows.empty:
        return f"- {evidence.kind}{only}: {evidence.what}. No rows of trained networks yet."
    networks = rows[["dataset", "model", "aug", "width", "seed", "epochs"]].drop_duplicates()
    linked = [
        f"[rows]({name}/results.csv)" for name in evidence.experiments if (folder / name / "results.csv").exists()
    ]
    of = f"{len(networks)} networks" if len(networks) > 1 else "One network"
    there, asked = rows.seed.nunique(), evidence.seeds
    seeds = f", {there} of {asked} seeds" if there < asked else f", {there} seeds" if there > 1 else ""
    images = " to ".join(map(str, sorted({int(rows.images.min()), int(rows.images.max())})))
    return f"- {evidence.kind}{only}: {evidence.what}. {of}{seeds}, {images} images: {', '.join(linked)}."


def figures(names: tuple[str, ...], folder: Path) -> str:
    """Links to the pictures of experiments."""
    files = [file for name in names for file in sorted((folder / name).glob("*.png"))]
    return ", ".join(f"[{file.stem}]({file.parent.name}/{file.name})" for file in files)


def overview(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """The short table of README.md, one row a group of claims."""
    lines = ["| claim | command | full | reduced | public |", "|---|---|---|---|---|"]
    for group, about in described().items():
        numbers = list(about["claims"])
        span = ", ".join(numbers) if len(numbers) < 3 else f"{numbers[0]} to {numbers[-1]}"
        there = (folder / group / "README.md").exists()
        title = f"[{cell(about['title'])}](experiments/{group})" if there else cell(about["title"])
        command = about["command"].replace(" && ", "`, `")
        said = " | ".join(tally(decided[group], kind) or "–" for kind in KINDS)
        lines.append(f"| {span}: {title} | `{command}` | {said} |")
    return "\n".join(lines)


def tally(verdicts: list[Verdict], kind: str) -> str:
    """Such as "S2, S4 reproduced; S1, S3 not reproduced", by one kind of evidence."""
    by_word: dict[str, list[str]] = {}
    for number in dict.fromkeys(one.number for one in verdicts if one.kind == kind):
        ones = of({"": verdicts}, number, kind)
        by_word.setdefault(word(number, kind, combined(ones)) + fewer_seeds(ones), []).append(number)
    return "; ".join(text if len(by_word) == 1 else f"{', '.join(those)} {text}" for text, those in by_word.items())


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
