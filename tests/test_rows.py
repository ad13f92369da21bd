"""Rows come back as they were written, and a file that was cut or edited is refused with its row."""

import shutil

import pandas as pd
import pytest

from equivariance import rows
from equivariance.errors import UserError
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

COMMITTED = sorted(
    file.with_suffix("").with_suffix(".csv") for file in (REPOSITORY / "experiments").glob("*/*.runs.csv")
)
WHOLE = REPOSITORY / "experiments/symmetry/results.csv"


@pytest.fixture(scope="module")
def whole():
    """Its rows, to be read only."""
    return rows.read(WHOLE)


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_committed_rows_pass_and_round_trip(file, tmp_path):
    rows.write(tmp_path / "again.csv", rows.read(file))
    for one, other in ((file, tmp_path / "again.csv"), tuple(map(rows.runs_file, (file, tmp_path / "again.csv")))):
        assert one.read_bytes() == other.read_bytes()


def flat(tmp_path, table):
    """The table in one file, as rows were written before there were two."""
    table.rename(columns={"score": "measure"}).to_csv(tmp_path / "results.csv", index=False)
    return tmp_path / "results.csv"


def copied(folder):
    shutil.copy(WHOLE, folder)
    shutil.copy(rows.runs_file(WHOLE), folder)
    return folder / "results.csv"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("value", 1.2, r"value=1.2 is no number in \[0, 1\]"),
        ("low", -0.1, r"low=-0.1 is no number in \[0, 1\]"),
        ("chance", "none", "chance=none is no number"),
        ("accuracy", 99.4, "accuracy=99.4 is no number"),
        ("images", None, "images=nan is no whole number"),
        ("channels", 2.5, "channels=2.5 is no whole number"),
        ("score", "covariance", "score=covariance is none of invariance, equivariance"),
        ("part", "", "part=nan is none of early"),
        ("over", "all", "over=all is none of image"),
        ("trained", "yes", "trained=yes is neither True nor False"),
        ("layer", "=1+1", r"layer==1\+1 needs a word that begins with none of"),
        ("model", '=HYPERLINK("x")', r"model==HYPERLINK\(\"x\"\) needs a word"),
    ],
)
def test_an_edited_cell_is_named_with_its_row(tmp_path, whole, column, value, message):
    table = whole.astype({column: object})
    table.loc[7, column] = value
    if column in rows.SCORED and column != "layer":  # rows.write does not look at numbers
        rows.write(tmp_path / "results.csv", table)
    else:
        flat(tmp_path, table)
    with pytest.raises(UserError, match=rf"results\.csv, row 9: {message}") as error:
        rows.read(tmp_path / "results.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("column", rows.NAMES)
@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(1)", "a\nb", "\t=1", ""])
def test_names_that_a_spreadsheet_would_run_are_not_written(tmp_path, whole, column, name):
    with pytest.raises(UserError, match=f"(?s){column}=.*no rows are written"):
        rows.write(tmp_path / "results.csv", whole.assign(**{column: name}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["NA", "nan", "None", "null", "007", "1e5", "True", "a,b", 'a"b', "a=b", "é"])
def test_every_other_word_is_a_name(tmp_path, whole, name):
    given = dict.fromkeys(rows.NAMES, name) | {"trained_on": name, "git_commit": "123456789e12"}
    table = whole.iloc[:2].assign(**given)
    rows.write(tmp_path / "results.csv", table)
    pd.testing.assert_frame_equal(rows.read(tmp_path / "results.csv"), table, check_dtype=False)


def test_rows_of_before_are_read(tmp_path):
    """One file with everything in every row, and the score under the name `measure`; later columns are empty."""
    table = rows.read(WHOLE)
    pd.testing.assert_frame_equal(rows.read(flat(tmp_path, table)), table, check_dtype=False)
    older = rows.read(flat(tmp_path, table.drop(columns=rows.LATER)))
    assert older[rows.LATER].isna().all(axis=None) and (older.value == table.value).all()


def test_why_a_measurement_ended_is_kept(tmp_path):
    table = rows.read(WHOLE).assign(
        ended="until 0.02 of early: narrow enough; brackets early 0.013; wider: pool 0.100"
    )
    rows.write(tmp_path / "results.csv", table)
    pd.testing.assert_frame_equal(rows.read(tmp_path / "results.csv"), table, check_dtype=False)


def test_rows_that_are_missing_or_there_twice(tmp_path):
    file = copied(tmp_path)
    lines = file.read_text().splitlines(keepends=True)
    for kept in (lines[:20] + lines[21:], lines[:19], lines[:300], lines[:1]):  # anywhere, also after a whole layer
        file.write_text("".join(kept))
        with pytest.raises(UserError, match=r"cnn7 \(run \w+\) has \d+ of its 54 rows"):
            rows.read(file)
    file.write_text("".join([*lines[:20], lines[19], *lines[21:]]))
    with pytest.raises(UserError, match=r"row 21: \w+ of cnn7 \w+ at \d+ is there twice"):
        rows.read(file)
    file.write_text("".join(lines[:300])[:-30])
    with pytest.raises(UserError, match="row 300: the file ends in the middle of a row"):
        rows.read(file)


def test_two_files_that_do_not_belong_together(tmp_path):
    file = copied(tmp_path)
    about = rows.runs_file(file)
    lines = about.read_text().splitlines(keepends=True)
    for text, message in (
        ("".join(lines[:-1]), r"results.csv, row \d+: run \w+ does not stand in results.runs.csv"),
        ("".join(lines).replace(",54\n", ",53\n", 1), "results.runs.csv, row 2: run .* not as it was written"),
        ("".join([*lines, lines[-1]]), r"results.runs.csv, row \d+: run .* there twice"),
        ("".join(lines).replace("cnn7", "cnn8"), "results.runs.csv, row 2: run .* not as it was written"),
    ):
        about.write_text(text)
        with pytest.raises(UserError, match=message):
            rows.read(file)
    about.unlink()
    with pytest.raises(UserError, match=r"no rows in .*results\.runs\.csv"):
        rows.read(file)


@pytest.mark.parametrize("text", ["", "\n", "a,b\n1,2\n", "a,b\n1,2,3,4\n"])
def test_what_is_no_table(tmp_path, text):
    file = tmp_path / "results.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=r"results\.csv"):
        rows.read(file)
    with pytest.raises(UserError, match="no rows in"):
        rows.read(tmp_path / "nothing.csv")


def test_over_epochs_and_transformations_stand_side_by_side(tmp_path):
    table = rows.read(WHOLE)
    table = table[table.trained & (table.over == "dataset")]
    more = [table, table.assign(over="image"), table.assign(epoch=5, epochs=100), table.assign(transform="mirror")]
    rows.write(tmp_path / "results.csv", pd.concat(more))
    together = rows.read(tmp_path / "results.csv")
    assert len(rows.by_layer(together)) == 4 * len(rows.by_layer(table))
    assert len(rows.of_last_epoch(together)) == 3 * len(table)
    assert not rows.is_trained(table.assign(epoch=0)).any() and rows.is_trained(together).all()
