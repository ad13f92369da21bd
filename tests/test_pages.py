"""The pages and figures made from committed rows: complete, and the same bytes again."""

import re
import runpy
import shutil

import numpy as np
import pandas as pd
import pytest

from equivariance import rows
from equivariance.errors import UserError
from equivariance.study import figures
from equivariance.study.verdicts.rules import claimed, verdicts_of
from experiments.public_cifar import figure as public_cifar
from tests.conftest import REPOSITORY
from tests.study.verdicts.test_claims import REPORTED, shifts

pytestmark = pytest.mark.slow

COMMITTED = REPOSITORY / "experiments"
PAPERS = [
    f"{letter}{i + 1}" for letter, count in zip("MSACIR", (3, 4, 6, 2, 7, 3), strict=True) for i in range(count)
]
NUMBERS = [*PAPERS, *(f"L{i + 1}" for i in range(7))]


def script(name):
    return runpy.run_path(str(REPOSITORY / f"scripts/{name}.py"))


def copied(folder):
    """A copy of the experiments; rows and figures are links, which a test replaces and does not write to."""
    skipped = shutil.ignore_patterns("*.svg", "*.png", "*.csv")
    shutil.copytree(COMMITTED, folder, ignore=skipped, dirs_exist_ok=True)
    for file in (*COMMITTED.glob("*/*.csv"), *COMMITTED.glob("*/*.png")):
        (folder / file.relative_to(COMMITTED)).symlink_to(file)


@pytest.fixture
def pages(tmp_path):
    """A copy of the experiments, and the function that writes the pages of it."""
    copied(tmp_path / "experiments")
    main = script("claims")["main"]
    return tmp_path, lambda name=None: main(name, tmp_path / "experiments")


@pytest.fixture
def rows_of(pages):
    """As `pages`, with the committed rows of these experiments alone."""

    def kept(*names):
        for file in (pages[0] / "experiments").glob("*/results.csv"):
            if file.parent.name not in names:
                file.unlink()
        return pages[0] / "experiments", pages[1]

    return kept


def test_the_pages_are_those_of_the_rows(pages):
    """Word for word; numbers to one in the last digit, as other processors add in another order."""
    copy, write = pages
    (copy / "experiments/README.md").unlink()
    write()
    for page in (copy / "experiments").rglob("README.md"):
        again, committed = page.read_text(), (REPOSITORY / page.relative_to(copy)).read_text()
        renew = f"{page.relative_to(copy)}: make claims renews it"
        assert NUMBER.sub("0", again) == NUMBER.sub("0", committed), renew
        for one, other in zip(NUMBER.findall(again), NUMBER.findall(committed), strict=True):
            assert abs(float(one) - float(other)) < 1.5 * 10.0 ** -len(one.partition(".")[2]), renew


def test_every_claim_has_a_row_with_a_verdict_for_each_kind_of_evidence():
    assert [*sorted(claimed())] == sorted(NUMBERS) and list(claimed())[-7:] == NUMBERS[-7:]
    page = (COMMITTED / "README.md").read_text()
    papers, later = page.split("## Later claims")
    for number, claim in claimed().items():
        verdict, *numbers = re.findall(rf"^\| {number} \|.*$", later if claim.later else papers, re.M)
        assert claim.statement in verdict and claim.source in verdict and "**" in verdict
        if "**not run**" not in verdict:
            assert any(re.search(r"\d", line) for line in numbers)
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (COMMITTED / link).exists(), link


def test_the_first_line_counts_each_kind_apart():
    first = (COMMITTED / "README.md").read_text().splitlines()[2]
    assert first.startswith(f"**{len(PAPERS)} claims of the two sources. Full size: ")
    full, reduced, public = re.search(
        r"Full size: (.*?)\. Reduced: (.*?)\. Public networks: (.*?)\.\*", first
    ).groups()
    counted = [sum(map(int, re.findall(r"(?:^|, )(\d+) ", kind))) for kind in (full, reduced, public)]
    assert counted == [len(PAPERS), 21, 15]


def test_new_rows_change_the_pages_and_a_reduced_verdict_is_no_reproduction(rows_of, capsys):
    folder, write = rows_of("controlled", "public_cifar")
    image = shifts(REPORTED, "aug", accuracy=0.9)
    pooled = shifts(REPORTED | {"cutmix": {"middle": 0.1}}, "aug", over="dataset", accuracy=0.9)
    rows.write(folder / "augmentation_reduced/results.csv", pd.concat([image, pooled]))
    write("augmentation_reduced")
    assert "| A2 | Random crops" in capsys.readouterr().out
    page = (folder / "README.md").read_text()
    (a4,) = re.findall(r"^\| A4 \| CutMix.*$", page, re.M)
    assert "| **not run** | **depends**: holds (`image`), contradicted (`dataset`) | **undecided** |" in a4
    (a2,) = re.findall(r"^\| A2 \| Random crops.*$", page, re.M)
    assert "| **holds** | – |" in a2
    own = (folder / "augmentation_reduced/README.md").read_text()
    assert "reduced: **holds**" in own and "| crop | 90.00 %, 90.00 %, 90.00 % | 90.00 ± 0.00 % |" in own
    assert "A4 depends" in page
    assert "| A4: CutMix" in (folder / "readings/README.md").read_text()


def test_a_verdict_from_fewer_seeds_than_asked_for_says_so(rows_of):
    folder, write = rows_of("controlled")
    table = shifts(REPORTED, "aug", accuracy=0.9)
    rows.write(folder / "augmentation_reduced/results.csv", table[table.seed < 2])
    write("augmentation_reduced")
    (a2,) = re.findall(r"^\| A2 \|.*not run.*$", (folder / "README.md").read_text(), re.M)
    assert "| **not run** | **holds** (2 of 3 seeds run) | – |" in a2
    overview = (folder / "README.md").read_text().partition("What was claimed")[0]
    assert "(2 of 3 seeds run)" in overview


def test_an_experiment_that_decides_nothing_is_refused(rows_of):
    _, write = rows_of("similarity")
    with pytest.raises(UserError, match="no claim is decided by its rows; choose similarity"):
        write("symmetri")


def test_a_claim_whose_rows_are_not_there_is_not_run(rows_of):
    folder, write = rows_of("similarity")  # without those of `controlled`; M2 needs none
    assert {one.number: one.state for one in verdicts_of("controlled", folder)} == {"M2": "holds", "M3": "not run"}
    write()
    assert "| M3 |" in (folder / "README.md").read_text()


def test_only_declared_rules_decide(pages):
    copy, _ = pages
    (copy / "experiments/controlled/claims.py").write_text("RULE = 1\n")
    with pytest.raises(UserError, match="declares no RULES"):
        verdicts_of("controlled", copy / "experiments")


DRAWN = sorted({figure.parent.name for figure in COMMITTED.glob("*/*.png")})
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def drawn(svg):
    """The labels of a figure in order, what it consists of, and the numbers in it: points, colours, sizes."""
    text = svg.read_text()
    labels = re.findall(r"<!-- (.*?) -->", text)
    text = re.sub(
        r'<!--.*?-->|<metadata>.*?</metadata>|id="\w+"|url\(#\w+\)|"#\w+"|base64,[^"]*', "", text, flags=re.S
    )
    return labels, NUMBER.sub("0", text), np.array(NUMBER.findall(text), float)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_drawn_from_rows(name, tmp_path, monkeypatch):
    """As committed, to half a point, where they were drawn by the matplotlib that is installed here.

    The pictures that lie beside them come from the same figures: they are laid out, and not drawn again.
    """
    import matplotlib

    save = figures.save

    def save_svg(figure, path, formats):
        figure.draw_without_rendering()
        save(figure, path, ("svg",))

    copied(tmp_path)
    monkeypatch.setattr(figures, "save", save_svg)
    script("figures")["main"](name, folder=tmp_path)
    pictures = {figure.stem for figure in (COMMITTED / name).glob("*.png")}
    assert {figure.stem for figure in (tmp_path / name).glob("*.svg")} == pictures
    for figure in (COMMITTED / name).glob("*.svg"):
        again = tmp_path / name / figure.name
        if f"Matplotlib v{matplotlib.__version__}," not in figure.read_text():
            assert again.stat().st_size > 5000
            continue
        (labels, shapes, numbers), (labels_again, shapes_again, numbers_again) = drawn(figure), drawn(again)
        assert labels == labels_again and shapes == shapes_again, f"{name}/{figure.name}: make figures redraws it"
        np.testing.assert_allclose(
            numbers_again, numbers, atol=0.5, err_msg=f"{figure.name}: make figures redraws it"
        )


def test_all_figures_are_drawn_but_for_those_without_rows_and_any_rows_get_the_comparison(tmp_path, capsys):
    rows.write(tmp_path / "mine/results.csv", rows.read(COMMITTED / "controlled/results.csv"))
    (tmp_path / "later_on").mkdir()
    (tmp_path / "later_on/results.csv").write_text("no rows\n")
    main = script("figures")["main"]
    main(folder=tmp_path)
    printed = capsys.readouterr().out
    assert "not drawn: later_on (" in printed and f"drew figure in {tmp_path / 'mine'}" in printed
    assert (tmp_path / "mine/figure.png").stat().st_size > 5000
    for name, message in (("other", "there is no figure of it; choose later_on, mine"), ("later_on", "no column")):
        with pytest.raises(UserError, match=message):
            main(name, folder=tmp_path)


def test_an_experiment_is_drawn_by_its_own_file_or_as_another_one():
    for name, about in script("figures")["GIVEN"].items():
        drawn_as = about.get("of", name)
        assert (COMMITTED / drawn_as / "figure.py").exists()
        assert drawn_as == name or not (COMMITTED / name / "figure.py").exists()


def test_rows_of_one_s_own_are_drawn_where_they_lie(tmp_path):
    shutil.copy(COMMITTED / "zoo/leaderboard.csv", tmp_path)
    script("figures")["main"]("zoo", str(tmp_path))
    assert (tmp_path / "figure.png").stat().st_size > 5000


PROGRAMS = [each.stem for each in (REPOSITORY / "scripts").glob("*.py") if "__main__" in each.read_text()]


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_scripts_answer_help(name, run):
    result = run(f"scripts/{name}.py", "--help")
    assert result.code == 0 and f"{name}.py" in result.out and "NAME=--help" not in result.error


def test_figures_of_made_up_reduced_rows(tmp_path):
    draw = script("figures")["draw"]
    with pytest.raises(UserError, match="no rows in"):
        draw("augmentation_reduced", tmp_path)
    last = shifts(REPORTED, "aug").assign(epoch=20, epochs=20)
    start = last.assign(epoch=0, value=0.1)
    rows.write(tmp_path / "results.csv", pd.concat([start, last.assign(epoch=5), last]))
    draw("augmentation_reduced", tmp_path)
    assert {file.stem for file in tmp_path.glob("*.png")} == {"figure", "parts", "shifts", "dips", "epochs"}


def test_each_published_network_is_in_the_panel_of_its_comparison(tmp_path):
    one = shifts(REPORTED, "aug").query("aug == 'none' and seed == 0")
    models = ["lilei_resnet32_mixup", "lilei_resnet32_cutmix", "theo_resnet20"]
    named = [one.assign(model=model, trained=trained) for model in models for trained in (True, False)]
    rows.write(tmp_path / "results.csv", pd.concat(named))
    compared = script("figures")["GIVEN"]["public_cifar"]["compared"]
    panels = public_cifar.figures(tmp_path, compared)["figure"].axes
    named = {axes.get_title(loc="left"): axes.get_legend_handles_labels()[1] for axes in panels}
    assert named == {
        compared["lilei_resnet32_"]: ["mixup", "cutmix"],
        compared["theo_resnet"]: ["20"],
    }
    assert [len(axes.lines) for axes in panels] == [4, 2]  # each beside its untrained twin
