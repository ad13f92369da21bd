"""The walk-throughs of docs/ in an empty folder, their files as printed, and the links of all pages."""

import re
import runpy
import shlex
import sys

import pytest
import torch
from conftest import REPOSITORY
from torch import nn

import equivariance

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
                    result = run(script, *arguments[1:], *SMALL[script])
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
        scores = re.findall(
            r"\b(?:0|1)\.\d{3}\b", "\n".join(re.findall(r"^.* (?:early|middle|late) .*$", ring, re.M))
        )
        assert scores[::2] == ["1.000"] * 4  # each second one is a chance level
    if name == "own_augmentation":
        assert {path.parts[-5] for path in tmp_path.glob("runs/*/*/*/seed0/measure/*/results.csv")} == {
            "none",
            "flip_erase",
        }
        for file in ("compare.pdf", "compare.csv", "difference.png"):
            assert (tmp_path / file).stat().st_size


def test_the_control_of_interpolation_is_measured_as_printed():
    text = (REPOSITORY / "docs/reading_scores.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    names = {
        "eq": equivariance,
        "model": nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU()),
        "images": torch.rand(4, 1, 24, 24),
    }
    exec(code, names)
    scores, controls = names["scores"], names["controls"]
    assert list(controls.element.unique()) == [15, 30, 45] and len(controls) == len(scores)
    assert (
        controls["transform"].str.endswith("rotation control").all() and controls.value.mean() > scores.value.mean()
    )


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
