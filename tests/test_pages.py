"""The pages and figures made from committed rows: complete, and the same bytes again."""

import re
import runpy
import shutil

import pytest
from conftest import REPOSITORY

from equivariance.analysis.verdicts import claimed, described, verdicts_of
from equivariance.errors import UserError
from equivariance.runs import rows

COMMITTED = REPOSITORY / "experiments"
NUMBERS = [
    f"{letter}{i + 1}" for letter, count in zip("MSACIR", (3, 4, 5, 2, 7, 2), strict=True) for i in range(count)
]
RULES = """
from equivariance.analysis.verdicts import Verdict, verdict

def verdicts(results):
    return [decided(results), Verdict("X1", "Of our own", True, "more | less")]

def decided(results):
    '''C1: narrower
    is higher.'''
    return verdict("C1", None if results.empty else len(results) > 1, f"{len(results)} rows")
"""


@pytest.fixture
def pages(tmp_path):
    """A copy of the experiments and of README.md, and the function that writes the pages of it."""
    shutil.copytree(COMMITTED, tmp_path / "experiments")
    shutil.copy(REPOSITORY / "README.md", tmp_path)
    main = runpy.run_path(str(REPOSITORY / "scripts/claims.py"))["main"]
    return tmp_path, lambda name=None: main(name, tmp_path / "experiments", tmp_path / "README.md")


def test_the_pages_are_those_of_the_rows(pages):
    copy, write = pages
    (copy / "experiments/README.md").unlink()
    write()
    for page in (copy / "experiments").rglob("README.md"):
        relative = page.relative_to(copy)
        assert page.read_bytes() == (REPOSITORY / relative).read_bytes(), f"{relative}: make claims renews it"
    assert (copy / "README.md").read_bytes() == (REPOSITORY / "README.md").read_bytes(), "make claims renews it"


def test_every_claim_has_a_row_with_a_figure_or_a_command():
    assert list(claimed()) == NUMBERS
    page = (COMMITTED / "README.md").read_text()
    for number in NUMBERS:
        (line,) = re.findall(rf"^\| {number} \|.*$", page, re.M)
        assert claimed()[number].statement in line and claimed()[number].source in line
        if "**not run**" in line:
            assert described()[claimed()[number].experiment]["command"] in line
        else:
            assert re.search(r"\*\*(not )?reproduced\*\*", line)
            links = re.findall(r"\]\((\S+\.png)\)", line)
            assert links and all((COMMITTED / link).exists() for link in links)
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (COMMITTED / link).exists(), link


def test_verdicts_follow_rules_and_rows_and_further_experiments_decide_nothing(pages):
    copy, write = pages
    folder = copy / "experiments"
    for name in ("capacity", "capacity_small"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
        (folder / name / "claims.py").write_text(RULES)
    (folder / "capacity/README.md").write_text(
        "before\n\n| | claim | verdict | ours |\n|---|---|---|---|\n| old |\n\nafter\n"
    )
    assert [str(one) for one in verdicts_of("capacity", folder)] == ["not run", "not run", "reproduced"]
    some = rows.read(COMMITTED / "controlled/results.csv").head(2)
    rows.write(folder / "capacity_small/results.csv", some)
    write()
    page = (folder / "README.md").read_text()
    assert (
        "| C1 | Wider means lower, early to late | T Fig. 10, P Fig. 6b | narrower is higher. | **not run** |"
        in page
    )
    further = page[page.index("## Further experiments") :]
    assert "| C1 | Wider means lower, early to late | **reproduced** | 2 rows |" in further
    assert "| X1 | Of our own | **reproduced** | more \\| less |" in further
    table = (folder / "capacity/README.md").read_text()
    assert table.startswith("before\n\n| |") and table.endswith("|\n\nafter\n") and "| old |" not in table
    assert "**not run** | 0 rows" in table
    rows.write(folder / "capacity/results.csv", some.head(1))
    assert [str(one) for one in verdicts_of("capacity", folder)] == ["not reproduced", "not run", "reproduced"]
    with pytest.raises(UserError, match=r"NAME=capasity: there is no such experiment; choose .*capacity"):
        write("capasity")


def test_figures_are_drawn_from_rows_to_the_same_bytes(tmp_path, capsys):
    """Byte for byte the committed ones, where they were drawn by the matplotlib that is installed here."""
    import matplotlib

    copy = tmp_path / "experiments"
    shutil.copytree(COMMITTED, copy)
    drawn = sorted([*copy.glob("*/*.svg"), *copy.glob("*/*.png")])
    for figure in drawn:
        figure.unlink()
    (copy / "later").mkdir()
    (copy / "later/figure.py").write_text("def main():\n    open('no rows.csv')\n")
    runpy.run_path(str(REPOSITORY / "scripts/figures.py"))["main"](folder=copy)
    assert "not drawn: later/figure.py" in capsys.readouterr().out
    for figure in drawn:
        committed = COMMITTED / figure.relative_to(copy)
        made_by = re.search(r"Matplotlib v([\d.]+)", committed.with_suffix(".svg").read_text())[1]
        if made_by.rstrip(".") == matplotlib.__version__:
            assert figure.read_bytes() == committed.read_bytes(), f"{committed.name}: make figures redraws it"
        else:
            assert figure.stat().st_size > 5000


def test_the_report_needs_nothing_but_itself(tmp_path):
    runpy.run_path(str(REPOSITORY / "scripts/report.py"))["main"](str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#|https://)', page) and "<script" not in page
    assert re.findall(r"<tr><td>(\w\d)</td><td>", page)[: len(NUMBERS)] == NUMBERS
    for link in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{link}"' in page
    pictures = re.findall(
        r"!\[[^]]*\]\((\S+\.png)\)", "".join(f.read_text() for f in COMMITTED.glob("*/README.md"))
    )
    assert page.count("data:image/png;base64,") == len(pictures)
    some = rows.read(COMMITTED / "symmetry/results.csv")
    for value in (
        some.git_commit[0],
        some.torch_version[0],
        some.hardware[0],
        "mnist6_rot_eq",
        "weight_decay: 0.0005",
    ):
        assert value in page
