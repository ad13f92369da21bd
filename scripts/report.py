"""A report to hand on: one HTML file that opens from disk, with nothing to load from elsewhere.

    python scripts/report.py [FILE.html] [NAME ...]

Verdicts, the page of each experiment with its figures, its settings, and where its rows come from; with NAMEs the
pages of these experiments alone. It is light or dark as the reader's screen is, and prints on paper.
"""

import base64
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import jinja2
from hydra.errors import MissingConfigException
from markdown_it import MarkdownIt
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from tqdm import tqdm

from equivariance.errors import UserError
from equivariance.files import write_atomic
from equivariance.study.checkout import REPOSITORY
from equivariance.study.cli import command_line
from equivariance.study.cli import jobs as experiments
from equivariance.study.runs.folder import git_commit
from equivariance.study.verdicts import rules as verdicts

TEMPLATE = Path(__file__).with_name("report.html.jinja")
LONG = 24  # rows from which on a table is folded
PROVENANCE = {
    "networks": ["dataset", "model", "aug", "width"],
    "seeds": ["seed"],
    "epochs": ["epochs"],
    "precision of the training": ["precision"],
    "transformations": ["transform", "element"],
    "similarity": ["similarity"],
    "images": ["images"],
    "code of the measurement": ["git_commit"],
    "PyTorch": ["torch_version"],
    "hardware of the measurement": ["hardware"],
}


def main(target: str = str(REPOSITORY / "report.html"), *names: str) -> None:
    folders = [file.parent.name for file in sorted(experiments.FOLDER.glob("*/README.md"))]
    listed = [name for name in verdicts.described() if name in folders]
    listed += [name for name in folders if name not in listed]
    if unknown := [name for name in names if name not in listed]:
        raise UserError(f"NAME={unknown[0]}: there is no page of it; choose {', '.join(listed)}")
    listed = [name for name in listed if not names or name in names]
    decided = [one for name in verdicts.described() for one in verdicts.verdicts_of(name)]
    table = [summary(claim, decided) for claim in verdicts.claimed().values()]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(TEMPLATE.read_text()).render(
        parts=[
            ("Claims of the papers", [one for one in table if not one["claim"].later]),
            ("Later claims", [one for one in table if one["claim"].later]),
        ],
        described=verdicts.described(),
        counts=counts([one for one in table if not one["claim"].later]),
        kinds=verdicts.KINDS,
        sections=[section(name) for name in tqdm(listed, "report", unit="experiment", disable=None)],
        there=listed,
        commit=git_commit(),
    )
    write_atomic(Path(target), page)
    print(f"{Path(target)}: {len(page) / 2**20:.1f} MB, {len(listed)} experiments")


def summary(claim: verdicts.Claim, decided: list[verdicts.Verdict]) -> dict:
    """A claim, and by kind of evidence the state and the words of its verdict."""
    found = {}
    for kind in verdicts.KINDS:
        ones = [one for one in decided if (one.number, one.kind) == (claim.number, kind)]
        if ones:
            state = verdicts.combined(ones)
            found[kind] = (state.replace(" ", "-"), verdicts.word(claim.number, kind, state))
    return {"claim": claim, "verdicts": found}


def counts(table: list[dict]) -> dict[str, list[tuple[str, str, int]]]:
    """How many claims have which verdict, by kind of evidence: its class in the page, its words, the number."""
    found = {}
    for kind in verdicts.KINDS:
        said = Counter(one["verdicts"][kind] for one in table if kind in one["verdicts"])
        order = [state.replace(" ", "-") for state in verdicts.STATES]
        found[kind] = sorted(((*verdict, n) for verdict, n in said.items()), key=lambda one: order.index(one[0]))
    return found


def section(name: str) -> dict:
    """What the report shows of an experiment."""
    folder = experiments.FOLDER / name
    text = (folder / "README.md").read_text()
    title = re.search(r"^# (.*)$", text, re.M)
    html = (
        MarkdownIt("commonmark", {"html": False})
        .enable("table")
        .render(text.replace(title[0], "", 1) if title else text)
    )
    return {
        "name": name,
        "title": title[1] if title else name,
        "html": jinja2.utils.markupsafe.Markup(self_contained(html, folder)),
        "settings": settings(name),
        "provenance": provenance(name),
    }


def self_contained(html: str, folder: Path) -> str:
    """Pictures inside the page, as SVG where there is one; long tables folded; links to files as their names."""

    def embed(match: re.Match) -> str:
        source = re.search(r'src="([^"]*)"', match[0])[1]
        path = folder / source
        if path.suffix == ".png" and path.with_suffix(".svg").exists():
            path = path.with_suffix(".svg")
        kind = {".svg": "image/svg+xml", ".png": "image/png"}.get(path.suffix)
        if kind is None or not path.is_file() or not path.resolve().is_relative_to(experiments.FOLDER.resolve()):
            return f"<em>(no picture {source})</em>"
        content = base64.b64encode(path.read_bytes()).decode()
        return match[0].replace(f'src="{source}"', f'class="{path.suffix[1:]}" src="data:{kind};base64,{content}"')

    def fold(match: re.Match) -> str:
        rows = match[0].count("<tr>") - 1
        stacked = ' class="claims"' if "<th>claim</th>" in match[0] else ""  # on a phone
        table = f'<div class="wide">{match[0].replace("<table>", f"<table{stacked}>")}</div>'
        return table if rows < LONG else f"<details><summary>Table of {rows} rows</summary>{table}</details>"

    html = re.sub(r"<img [^>]*>", embed, html)
    for words in (verdicts.REPRODUCTION, verdicts.OTHERWISE):
        for state, word in words.items():
            html = html.replace(
                f"<strong>{word}</strong>", f'<span class="verdict {state.replace(" ", "-")}">{word}</span>'
            )
    html = re.sub(r'<a href="(?!https?:|#)[^"]*">(.*?)</a>', r"<code>\1</code>", html, flags=re.S)
    return re.sub(r"<table>.*?</table>", fold, html, flags=re.S)


def settings(name: str) -> dict[str, str]:
    """The configuration of the first job of the preset as YAML, by group, and what the sweep varies."""
    try:
        first = next(experiments.each_job(name, "measure"))
    except MissingConfigException:
        return {}
    with suppress(InterpolationToMissingValueError):  # a folder that only the command line names
        OmegaConf.resolve(first)
    groups = {key: OmegaConf.to_yaml(first[key]) for key in ("dataset", "model", "aug", "recipe", "measure")}
    preset = OmegaConf.load(REPOSITORY / f"conf/experiment/{name}.yaml")
    varied = OmegaConf.select(preset, "hydra.sweeper.params")
    return {"varied": OmegaConf.to_yaml(varied) if varied else "nothing", **groups}


def provenance(name: str) -> dict[str, str]:
    """The different values that the rows hold of what they were made with."""
    rows = verdicts.results(name)
    found = {}
    for label, columns in PROVENANCE.items():
        values = rows[columns].drop_duplicates().itertuples(index=False)
        texts = dict.fromkeys(" ".join(plain(value) for value in each if value == value) for each in values)
        found[label] = ", ".join(text for text in texts if text) or "not known"
    return found if len(rows) else {}


def plain(value) -> str:
    """Whole numbers without a point."""
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    command_line(main)
