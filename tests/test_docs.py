"""The walk-throughs of docs/ in an empty folder, their files as printed, and the links of all pages."""

import re
import runpy
import shlex
import sys

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from torch import nn

import equivariance
from equivariance.study.config import CONF
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

SMALL = {"train.py": ["recipe.epochs=1"], "measure.py": ["recipe.epochs=1", "measure.images=4"]}
WALKS = ["own_network", "own_data", "own_transformation", "own_augmentation"]
PAGES = sorted(
    page.relative_to(REPOSITORY)
    for pattern in ("*.md", "docs/*.md", "docs/*.ipynb", "experiments/*.md", "experiments/*/*.md")
    for page in REPOSITORY.glob(pattern)
)


@pytest.fixture
def walk(run, tmp_path, monkeypatch):
    """Follow a page from an empty folder: write its files, run its commands with smaller settings."""
    monkeypatch.chdir(tmp_path)

    def follow(name: str) -> dict[str, str]:
        """What each command of ours has printed."""
        printed = {}
        text = (REPOSITORY / f"docs/{name}.md").read_text()
        for language, content in re.findall(r"^```(\w+)\n(.*?)^```", text, re.S | re.M):
            if language in ("python", "yaml"):
                file = tmp_path / re.match(r"# (\S+)\n", content)[1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(content)
            for line in content.splitlines() if language == "sh" else ():
                program, *arguments = shlex.split(line, comments=True)
                if program != "python" or "# downloads" in line:
                    continue
                script = arguments[0].removeprefix("$EQ/")
                if script in SMALL:
                    of_run = any(each.startswith("run=") for each in arguments)  # its checkpoint has the recipe
                    small = [each for each in SMALL[script] if not of_run or each.startswith("measure.")]
                    small += ["dataset.size=96"] if "model=timm" in arguments else []
                    result = run(script, *arguments[1:], *small)
                    assert result.code == 0, (line, result.error)
                    printed[line] = result.out
                elif script.startswith("scripts/"):
                    monkeypatch.setattr(sys, "argv", [script, *arguments[1:]])
                    runpy.run_path(str(REPOSITORY / script), run_name="__main__")
                elif script == "-c":
                    exec(arguments[1], {})
                else:
                    exec((tmp_path / script).read_text(), {})
        return printed

    return follow


@pytest.mark.parametrize("name", WALKS)
def test_the_commands_run_as_printed(name, walk, tmp_path):
    printed = walk(name)
    assert printed and list(tmp_path.glob("runs/*/*/none/seed0/measure/*/results.csv"))
    if name == "own_transformation":
        ring = next(out for line, out in printed.items() if "ring.Net" in line)
        scores = re.findall(r"([\d.]+) +[\d.]+ to ", ring)  # each before its interval
        assert scores == ["100.0"] * 2 * 4  # of four layers
    if name == "own_augmentation":
        assert {path.parts[-5] for path in tmp_path.glob("runs/*/*/*/seed0/measure/*/results.csv")} == {
            "none",
            "flip_erase",
        }
        for file in ("compare.pdf", "compare.csv", "difference.png"):
            assert (tmp_path / file).stat().st_size


@pytest.mark.parametrize("page", ["reading_scores", "beyond"])
def test_the_lines_for_your_own_code_run_as_printed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (REPOSITORY / f"docs/{page}.md").read_text()

    def network(width):
        layers = [nn.Conv2d(1, width, 3), nn.ReLU(), nn.Conv2d(width, 4, 3, 2), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    names = {"eq": equivariance, "model": network(3), "other": network(5), "images": torch.rand(8, 1, 24, 24)}
    names["labels"] = torch.arange(8) % 3
    found = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.S | re.M):
        exec(code, names)
        found |= {name: names[name] for name in ("table", "angles", "scales", "halves", "drops") if name in names}
    if page == "reading_scores":
        assert list(found["table"].element.unique()) == [15, 30, 45] and found["table"].control.notna().any()
        return
    assert {"matching_chance", "linear_chance"} <= {*found["table"]} and (tmp_path / "similarity.png").exists()
    assert all(found[name].control.notna().any() for name in ("angles", "scales", "halves"))
    assert {*found["drops"].score} == {"invariance", "equivariance"} and len(names["final"]) == 4


ELSEWHERE = {  # how a command begins that the walk-throughs do not run: why, or where it is run
    "make ": "installs, or runs the tests themselves",
    ".venv/bin/pre-commit ": "changes the hooks of the checkout",
    "wandb ": "needs an account",
    "torchrun ": "test_results.py",
    "python scripts/compare.py ": "test_compare.py",
    "python scripts/dashboard.py": "test_tracking.py",
    ". ": "the shell's environment",
    "export ": "the shell's environment",
}


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.suffix == ".md" and page.stem not in WALKS and page.parts[0] != "experiments"],
    ids=str,
)
def test_every_command_is_run_or_said_to_be_run_elsewhere(page):
    """Commands of train.py and measure.py on other pages than the walk-throughs: their configuration composes.

    Those of experiments/ are of the presets, which test_config.py composes.
    """
    text = (REPOSITORY / page).read_text()
    blocks = [
        block for language, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M) if language in "sh"
    ]
    whole = "\n".join(blocks).replace("\\\n", " ")
    commands = [line for line in whole.splitlines() if re.match(r"[\w./]+ .*", line)]
    for line in commands:
        if line.startswith(tuple(ELSEWHERE)):
            continue
        for command in line.partition("#")[0].split("&&"):
            program, script, *_ = command.split()
            if program != "python" or script not in SMALL:
                continue  # a listing of files, or what a program has printed
            words = shlex.split(command)[2:]
            given = [first_value(word) for word in words if not word.startswith("-")]
            with initialize_config_dir(str(CONF), version_base="1.3", job_name=script.removesuffix(".py")):
                compose("config", given)


def first_value(word: str) -> str:
    """An override; of a sweep, with its first value."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page):
    """Relative links and pictures; of a page of this repository also the heading that is meant."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", (REPOSITORY / page).read_text(), flags=re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), f"{page}: no {link}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            names = [re.sub(r"[^\w\- ]", "", each).strip().lower().replace(" ", "-") for each in headings]
            assert heading in names, f"{page}: {target.name} has no heading {heading}"


def test_every_page_of_docs_is_in_the_contents():
    contents = (REPOSITORY / "mkdocs.yml").read_text()
    missing = [page.name for page in PAGES if page.parts[0] == "docs" and f"docs/{page.name}" not in contents]
    assert not missing and set(WALKS) <= {page.stem for page in PAGES}
