"""Verdicts from the committed rows, into the pages that show them.

    python scripts/claims.py [NAME]

Writes experiments/README.md (every claim) and verdicts.csv (every case of every claim), and renews the tables of
each experiment's README.md.
Prints the verdicts that the rows of experiment NAME decide, or a line for each group of claims.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

import re
from collections import Counter
from itertools import chain, groupby, product
from pathlib import Path

import pandas as pd

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.rows import of_last_epoch
from equivariance.study.config import EXPERIMENTS, published_networks
from equivariance.study.tables import markdown, write_csv
from equivariance.study.verdicts import rules
from equivariance.study.verdicts.decide import ALPHA
from equivariance.study.verdicts.rules import KINDS, STATES, Evidence, Verdict

OF = {"full": "Full size", "reduced": "Reduced", "public": "Public networks"}
ORDER = [*STATES[:1], "depends", *STATES[1:]]


def main(name: str | None = None, folder: Path = EXPERIMENTS) -> None:
    """Write the pages; NAME is an experiment whose verdicts are printed."""
    decided = {group: rules.verdicts_of(group, folder) for group in rules.described()}
    deciding: dict[str, list[Verdict]] = {}  # by the experiment whose rows decide
    for one in chain(*decided.values()):
        for each in one.evidence.experiments:
            deciding.setdefault(each, []).append(one)
    if name is not None and name not in deciding:
        raise UserError(f"NAME={name}: no claim is decided by its rows; choose {', '.join(deciding)}")
    write_atomic(folder / "README.md", page(decided, folder))
    write_csv(folder / "verdicts.csv", rules.cases(chain(*decided.values())), 4)
    for each, verdicts in deciding.items():
        table = rules.results(each, folder)
        tables = rules.markdown(verdicts), accuracies(table), beside_published(table)
        renew_tables(folder / each / "README.md", *tables)
    renew_tables(folder / "readings" / "README.md", disputed(decided))
    if name is not None:
        print(rules.markdown(deciding[name]))
    for group in decided if name is None else ():
        said = (f"{kind}: {text}" for kind in KINDS if (text := tally(decided[group], kind)))
        print(f"{group}: {'; '.join(said)}")


def accuracies(table: pd.DataFrame) -> str:
    """The accuracies of trained networks after their last epoch, seed by seed; a row for each network."""
    trained = of_last_epoch(table[table.trained.astype(bool) & table.accuracy.notna()])
    lines = []
    columns = [column for column in ("dataset", "model", "aug") if trained[column].nunique() > 1] or ["model"]
    for names, one in trained.groupby(columns, sort=False, dropna=False):
        each = 100 * one.drop_duplicates("seed").sort_values("seed").accuracy
        mean = f"{each.mean():.2f} ± {each.std():.2f} %" if len(each) > 1 else ""
        lines.append([" ".join(pd.Series(names).dropna()), ", ".join(map("{:.2f} %".format, each)), mean])
    return markdown(["network", "accuracy on the test images, seed by seed", "mean ± s.d."], lines)


def beside_published(table: pd.DataFrame) -> str:
    """The accuracies of networks that others trained, and what their authors say."""
    published, lines = published_networks(), []
    for name, accuracy in table[table.trained.astype(bool)].groupby("model", sort=False).accuracy.first().items():
        theirs = published.get(name, {}).get("top1")
        lines.append([name, f"{100 * accuracy:.2f} %", f"{theirs:.2f} %" if theirs else "not stated"])
    return markdown(["network", "accuracy, measured", "published"], lines)


def page(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """experiments/README.md."""
    papers = {group: verdicts for group, verdicts in decided.items() if not rules.described()[group].get("later")}
    known = {"counts": f"**{counts(papers, 'claims of the two sources')}**", "overview": overview(decided, folder)}
    known |= {"level": 100 * (1 - ALPHA)} | rules.document()["smallest"]
    parts = [rules.document()["page"].format(**known)]
    for group, verdicts in decided.items():
        parts.append(section(group, verdicts, folder, "" if group in papers else counts({group: verdicts})))
    parts += ["## Verdicts that changed with the rules of November 2026\n", *changed(decided), ""]
    parts += ["## How the sources are read\n", *(f"- {line}" for line in rules.document()["sources"]), ""]
    return "\n".join(parts)


def changed(decided: dict[str, list[Verdict]]) -> list[str]:
    """A line for each claim that has another verdict than by the rules of before, or had none; with the reason."""
    lines = []
    for number, claim in rules.claimed().items():
        now = {kind: rules.agreed(of(decided, number, kind)) for kind in KINDS}
        texts = [f"{kind}: {was} before, {now[kind]} now" for kind, was in claim.before.items() if was != now[kind]]
        if texts or (claim.why and not claim.before):
            lines.append(f"- {number}: {'; '.join(texts)}{'. ' if texts else ''}{claim.why}")
    return lines


def counts(decided: dict[str, list[Verdict]], what: str = "claims") -> str:
    """How many claims there are, and what each kind of evidence says of how many of them."""
    numbers = [claim.number for claim in rules.claimed().values() if claim.group in decided]
    texts = [f"{len(numbers)} {what}."]
    for kind in KINDS:
        found = [ones for number in numbers if (ones := of(decided, number, kind))]
        states = Counter((ORDER.index(rules.agreed(ones)), rules.fewer_seeds(ones)) for ones in found)
        if states:
            each = (f"{n} {ORDER[state]}{seeds}" for (state, seeds), n in sorted(states.items()))
            texts.append(f"{OF[kind]}: {', '.join(each)}.")
    return " ".join(texts)


def of(decided: dict[str, list[Verdict]], number: str, kind: str) -> list[Verdict]:
    """The verdicts of one kind on a claim; those that were run, where there are any."""
    ones = [one for verdicts in decided.values() for one in verdicts if (one.number, one.kind) == (number, kind)]
    return [one for one in ones if one.state != "not run"] or ones[:1]


def section(group: str, verdicts: list[Verdict], folder: Path, first: str) -> str:
    """A group of claims: its evidence, its verdicts by kind, and the numbers behind each."""
    about = rules.described()[group]
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in verdicts)]
    lines, numbers = [], []
    for number, claim in rules.claimed().items():
        if claim.group == group:
            ours = {kind: of({group: verdicts}, number, kind) for kind in kinds}
            decided_by = f"{claim}. {claim.note}".rstrip(". ")
            said_of = [rules.said(ones) if ones else "–" for ones in ours.values()]
            lines.append([number, claim.statement, claim.source, decided_by, *said_of])
            for kind, ones in ours.items():
                were_run = (one for one in ones if one.state != "not run")
                for evidence, same in groupby(were_run, lambda one: one.evidence):
                    drawn = figures(evidence.experiments, folder)
                    numbers.append([number, kind, rules.evidence_text(same), drawn])
    text = [f"## {linked(group, folder)}\n", *([f"**{first}**\n"] if first else []), f"{about['setting']}.\n"]
    text += [*(evidence_line(evidence, folder) for evidence in rules.evidence_of(group)), ""]
    text += [f"```\n{about['command']}\n```\n", markdown(["", "claim", "source", "decided by", *kinds], lines)]
    return "\n".join(text + ([markdown(["", "evidence", "ours", "figure"], numbers)] if numbers else []))


def linked(group: str, folder: Path) -> str:
    """The title of a group of claims, which links its page if it has one."""
    title = rules.described()[group]["title"]
    return f"[{title}]({group})" if (folder / group / "README.md").exists() else title


def evidence_line(evidence: Evidence, folder: Path) -> str:
    """What the rows of an evidence are of, and how many networks, seeds and images."""
    only = f" ({', '.join(evidence.claims)})" if evidence.claims else ""
    rows = evidence.rows(folder)
    if rows.empty:
        return f"- {evidence.kind}{only}: {evidence.what}. No rows of trained networks yet."
    networks = rows[["dataset", "model", "aug", "width", "seed", "epochs"]].drop_duplicates()
    there = (name for name in evidence.experiments if (folder / name / "results.csv").exists())
    linked = ", ".join(f"[rows]({name}/results.csv)" for name in there)
    of = f"{len(networks)} networks" if len(networks) > 1 else "One network"
    run, asked = rows.seed.nunique(), evidence.seeds
    seeds = f", {run} of {asked} seeds" if run < asked else f", {run} seeds" if run > 1 else ""
    images = " to ".join(map(str, sorted({int(rows.images.min()), int(rows.images.max())})))
    return f"- {evidence.kind}{only}: {evidence.what}. {of}{seeds}, {images} images: {linked}."


def figures(names: tuple[str, ...], folder: Path) -> str:
    """Links to the pictures of experiments."""
    files = [file for name in names for file in sorted((folder / name).glob("*.png"))]
    return ", ".join(f"[{file.stem}]({file.parent.name}/{file.name})" for file in files)


def overview(decided: dict[str, list[Verdict]], folder: Path) -> str:
    """The short table at the top, one row a group of claims."""
    lines = []
    for group, about in rules.described().items():
        numbers = list(about["claims"])
        span = ", ".join(numbers) if len(numbers) < 3 else f"{numbers[0]} to {numbers[-1]}"
        lines.append([f"{span}: {linked(group, folder)}", *(tally(decided[group], kind) or "–" for kind in KINDS)])
    return markdown(["claims", *KINDS], lines).strip()


def disputed(decided: dict[str, list[Verdict]]) -> str:
    """The claims on which one kind of evidence gives different verdicts, by `over` or border."""
    lines = [
        [f"{number}: {claim.statement}", kind, rules.said(ones)]
        for (number, claim), kind in product(rules.claimed().items(), KINDS)
        if rules.agreed(ones := of(decided, number, kind)) == "depends"
    ]
    return markdown(["claim", "evidence", "where the verdict depends on the choice"], lines)


def tally(verdicts: list[Verdict], kind: str) -> str:
    """Such as "S4 holds; S1, S3 contradicted", by one kind of evidence."""
    by_word: dict[str, list[str]] = {}
    for number in dict.fromkeys(one.number for one in verdicts if one.kind == kind):
        ones = of({"": verdicts}, number, kind)
        by_word.setdefault(rules.agreed(ones) + rules.fewer_seeds(ones), []).append(number)
    return "; ".join(text if len(by_word) == 1 else f"{', '.join(those)} {text}" for text, those in by_word.items())


def renew_tables(path: Path, *tables: str) -> None:
    """Replace each table of a page that begins with the same line as one of these; nothing where it has none."""
    if not path.exists():
        return
    before = text = path.read_text()
    for table in tables:
        head, new = table.partition("\n")[0], table.strip() + "\n"
        text = re.sub(rf"^{re.escape(head)}\n(?:\|.*\n?)*", lambda _, new=new: new, text, count=1, flags=re.M)
    if text != before:
        write_atomic(path, text)


if __name__ == "__main__":
    command_line(main)
