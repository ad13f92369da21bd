"""The comparison of any measurements: labels from what differs, seeds as a band, differences, tables."""

import runpy

import numpy as np
import pandas as pd
import pytest

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures import depth, style
from equivariance.figures.compare import BY, plot_compare, values
from equivariance.study import partners
from equivariance.study.cli.sweeps import comparison
from equivariance.study.figures import plot_accuracy, save
from equivariance.study.tables import compared, crossed
from scripts.compare import without_common_folders
from tests.conftest import REPOSITORY
from tests.study.verdicts.test_claims import REPORTED, shifts, symmetry

SHIFTS = shifts(REPORTED, "aug").assign(low=lambda t: t.value - 0.01, high=lambda t: t.value + 0.01)
TASKS = symmetry([0.5] * 9, [0.6] * 9)


def labels(*tables, by="depth", **options):
    found = values(list(tables), by, **options)
    return list(dict.fromkeys(found[found.kind == "score"].label))


def test_curves_are_named_by_whatever_differs():
    assert labels(TASKS) == ["mnist6", "mnist6_rot_inv", "mnist6_rot_eq"]
    assert labels(SHIFTS) == list(REPORTED)
    widths = shifts({1: {}, 2: {}}, "width")
    assert labels(widths) == ["width 1", "width 2"]
    named = widths.assign(model=widths.width.map("wrn16-{}".format))
    assert labels(named) == ["wrn16-1", "wrn16-2"]  # whose name says the width
    assert len(labels(named, by="width")) == 5  # a curve for each part
    two = pd.concat([named, named.assign(model="other")])  # two networks of each width are no seeds of one
    assert len(labels(two, by="width")) == 15
    one = SHIFTS[SHIFTS.aug == "crop"]
    assert labels(one, one.assign(over="dataset")) == ["over image", "over dataset"]
    assert labels(one, by="epoch") == ["net"]
    assert labels(one) == ["net"]
    twice = values({"here": one, "there": one.assign(value=one.value / 2)})
    assert list(dict.fromkeys(twice[twice.kind == "score"].label)) == ["here", "there"]
    runs = [f"runs/own/seed0/measure/rotation-{name}" for name in "ab"]  # two checkpoints of one network
    assert without_common_folders(runs) == ["rotation-a", "rotation-b"]
    assert labels(one, one) == ["net"]  # the same rows twice are one curve


def test_seeds_are_a_band_and_one_seed_has_its_images():
    found = values([SHIFTS], "part").set_index(["label", "score", "part"])
    per_seed = [
        one.groupby("index").value.mean().mean()
        for _, one in SHIFTS[
            (SHIFTS.aug == "crop") & (SHIFTS.part == "early") & (SHIFTS.score == "invariance")
        ].groupby("seed")
    ]
    cell = found.loc["crop", "invariance", "early"]
    assert cell["mean"] == pytest.approx(np.mean(per_seed)) and cell.seeds == 3
    assert cell.high - cell["mean"] == pytest.approx(np.std(per_seed, ddof=1))
    single = values([SHIFTS[SHIFTS.seed == 0]], "part")
    single = single[single.kind == "score"]
    assert (single.seeds == 1).all() and np.allclose(single.high - single.low, 0.02)


def test_differences_are_taken_seed_by_seed():
    found = values([SHIFTS], "part", minus={"aug": "none"}).set_index(["label", "score", "part"])
    assert set(found.kind) == {"score"} and "none" not in found.index.get_level_values("label")
    assert found.loc["crop", "equivariance", "late"]["mean"] == pytest.approx(0.1, abs=0.005)
    assert found.loc["flip", "equivariance", "late"]["mean"] == pytest.approx(0, abs=0.005)
    shared = SHIFTS.assign(value=SHIFTS.value + SHIFTS.seed)  # what all networks of a seed have in common cancels
    again = values([shared], "part", minus={"aug": "none"}).set_index(["label", "score", "part"])
    np.testing.assert_allclose(again["mean"], found["mean"])
    np.testing.assert_allclose(again.deviation, found.deviation)
    one = values([SHIFTS[SHIFTS.seed == 0]], "part", minus={"aug": "none"})
    assert np.allclose(one.high - one.low, 0.02 * 2**0.5)  # half widths in quadrature


def test_references_are_untrained_networks_and_chance():
    untrained = SHIFTS.assign(trained=False, value=0.2, epoch=0, epochs=0)
    for table in (pd.concat([SHIFTS, untrained]), pd.concat([SHIFTS, SHIFTS.assign(epoch=0, value=0.2)])):
        found = values([table], "part")
        assert set(found.kind) == {"score", "untrained", "chance"}
        assert np.allclose(found[found.kind == "untrained"]["mean"], 0.2)
        assert list(dict.fromkeys(found[found.kind == "score"].label)) == list(REPORTED)
    only = values([untrained], "part")
    assert set(only.kind) == {"score", "chance"}


def test_references_over_one_thing_are_none_of_another():
    one = SHIFTS[SHIFTS.aug == "crop"]
    other = one.assign(over="dataset", chance=0.4)
    found = values([one, other], "part").set_index("label")
    assert np.allclose(found.loc["chance, over dataset", "mean"], 0.4) and "chance" not in found.index
    assert np.allclose(found.loc["chance, over image", "mean"], one.chance.iloc[0])


def test_each_curve_has_its_own_chance_level_in_its_colour():
    one, other = (SHIFTS[SHIFTS.aug == aug].assign(width=1) for aug in ("none", "crop"))
    tables, levels = {"one": one, "other": other.assign(chance=0.4)}, {one.chance.iloc[0], 0.4}
    for by in BY:
        found = values(tables, by)
        chance = found[found.kind == "chance"]
        assert {*chance.label} == {f"chance, {label}" for label in found[found.kind == "score"].label}
        assert {*chance["mean"].round(9)} == levels and (chance["mean"] == chance.chance).all(), by
    axes = plot_compare(tables).axes[0]
    colours = {line.get_label(): line.get_color() for line in axes.lines}
    dotted = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    drawn = {line.get_color(): set(line.get_ydata().round(9)) for line in dotted}
    assert drawn == {colours[name]: {*table.chance} for name, table in tables.items()}
    style.plt.close("all")


def test_a_sweep_ends_with_the_line_that_draws_its_comparison(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [tmp_path / f"runs/net/seed{seed}/measure/rotation" for seed in (0, 1, 2)]
    for run in runs:
        run.mkdir(parents=True)
        (run / "results.csv").touch()
    program = f"python {REPOSITORY}/scripts/compare.py "
    assert comparison(runs) == program + "runs/net"
    assert comparison(runs[1:]) == program + "runs/net/seed1/measure/rotation runs/net/seed2/measure/rotation"
    assert comparison(runs[:1]) is comparison([runs[0]] * 2) is None
    epochs = [run.with_name(f"rotation-epoch{epoch}") for run in runs for epoch in range(4)]
    for epoch in epochs:
        epoch.mkdir()
        (epoch / "results.csv").touch()
    assert comparison([*runs, *epochs]) == program + "runs/net --by epoch"


def test_the_keys_of_a_mapping_name_the_curves():
    one, other = SHIFTS[SHIFTS.aug == "crop"], symmetry([0.5] * 9, [0.6] * 9)
    found = values({"mine": one, "yours": other[other.dataset == "mnist6"]})
    assert {*found[found.kind == "score"].label} == {"mine", "yours"}  # although the rows' own names differ
    assert {*values({"mine": one}).query("kind == 'score'").label} == {"mine"}


def test_depth_is_relative_where_layers_differ():
    one, other = SHIFTS[SHIFTS.aug == "crop"], symmetry([0.5] * 9, [0.6] * 9)
    found = values([one, other[other.dataset == "mnist6"]])
    body = found[found.part.isin(("early", "middle", "late"))]
    assert body.groupby("label").x.max().eq(1).all() and body.x.min() == 0
    assert found[found.part == "final"].x.nunique() == 1
    same = values([SHIFTS])
    assert same[same.part == "early"].x.unique().tolist() == [0, 1]


def test_epochs_elements_and_widths_along_x():
    last = SHIFTS.assign(epoch=20, epochs=20)
    table = pd.concat([last.assign(epoch=0), last.assign(epoch=5), last])
    found = values([table], "epoch")
    assert sorted(found.x.unique()) == [0, 5, 20] and set(found.score) == {"equivariance"}
    late = [line.split(" | ")[0] for line in compared(found.sort_values("x", key=lambda x: -x)).splitlines()]
    assert late[2:5] == [f"| equivariance early {epoch}" for epoch in (0, 5, 20)]
    found = values([table], "element", "invariance")
    assert sorted(found.x.unique()) == list(range(1, 17)) and found[found.kind == "score"].seeds.eq(3).all()
    found = values([shifts({1: {}, 2: {"late": 0.1}}, "width")], "width").set_index(["label", "score", "x"])
    assert found.loc["late", "invariance", 2]["mean"] - found.loc["late", "invariance", 1]["mean"] > 0.09


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "layer"}, "choose depth"),
        ({"score": "accuracy"}, "choose invariance"),
        ({"minus": {"aug": "mixup"}}, "there is no such network"),
        ({"by": "epoch", "tables": [SHIFTS.assign(epoch=None)]}, "no rows to compare by epoch"),
        ({"tables": []}, "nothing to compare"),
    ],
)
def test_what_cannot_be_compared(options, message):
    with pytest.raises(UserError, match=message):
        values(**({"tables": [SHIFTS]} | options))


def test_a_table_of_markdown_has_a_line_for_each_place():
    found = values([SHIFTS], "part", "invariance")
    head, _, *lines = compared(found).splitlines()
    assert head == "| | none | crop | flip | cutmix | randaugment |" and len(lines) == 5
    numbers = found[(found.label == "crop") & (found.part == "late")].iloc[0]
    assert f"{numbers['mean']:.3f} ± {numbers.deviation:.3f}" in lines[2] and "invariance late" in lines[2]


def test_a_crossed_table_has_lines_in_the_order_asked_for_and_dashes_for_what_is_missing():
    cells = pd.DataFrame([("b", 1, "x", 0.5), ("a", 2, "y", 1.0), ("a", 1, "x", "1|2")], columns=[*"lmcv"])
    table = crossed(
        cells, {"l": {"b": "B", "a": "A"}, "m": (2, 1)}, {"c": {"y": "Y", "x": "X"}}, "{v}", ["one", "two"]
    )
    assert table.splitlines() == [
        "| one | two | Y | X |",
        "|---|---|---|---|",
        "| B | 1 | – | 0.5 |",
        "| A | 2 | 1.0 | – |",
        r"| A | 1 | – | 1\|2 |",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["depth", "part", "element", "epoch", "width"])
def test_every_comparison_draws_the_same_bytes_again(by, tmp_path):
    for name in "ab":
        save(plot_compare([SHIFTS], by), tmp_path / name, ("png",))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_curves_drawn_are_the_values():
    figure = plot_compare([SHIFTS], "element", "invariance")
    assert figure.axes[-1].get_xlabel() == "shift (pixels)"
    table = values([SHIFTS], "element", "invariance")
    panels = [axes for axes in figure.axes if axes.lines]  # the legend has the place of a sixth one
    for axes, part in zip(panels, dict.fromkeys(table.part), strict=True):
        drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
        of_part = table[(table.part == part) & (table.kind == "score")]
        for label, one in of_part.groupby("label"):
            np.testing.assert_allclose(drawn[label], one["mean"])
    style.plt.close(figure)


def test_plot_depth_draws_scores_interval_chance_and_the_untrained_network():
    table = rows.read(REPOSITORY / "experiments/symmetry/results.csv")
    one = rows.of_first_over(table[(table.dataset == "mnist6") & (table.seed == 0)])
    axes = depth.plot_depth(one)
    assert "marks: mean over rotation, angle (degrees) 90, 180, 270\n" in axes.get_xlabel()
    assert axes.get_legend_handles_labels()[1] == ["invariance", "equivariance", "chance", "untrained"]
    scores = rows.by_layer(one[one.trained & (one.score == "invariance")])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), scores.value)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert {scores.low.iloc[0], scores.high.iloc[0]} <= {*band}
    assert depth.plot_depth(one[one.trained], axes) is axes
    style.plt.close(axes.figure)
    only = depth.plot_depth(one[~one.trained])
    assert "untrained" not in only.get_legend_handles_labels()[1]
    style.plt.close(only.figure)
    epochs = pd.concat([one.assign(epoch=5), one.assign(epoch=20, value=0.5)])  # of 100
    (last,) = {*depth.plot_depth(epochs[epochs.trained]).lines[0].get_ydata()}
    assert last == 0.5
    style.plt.close("all")
    for wrong, message in ((table[table.seed == 0], "several values of dataset"), (one[:0], "no rows to draw")):
        with pytest.raises(UserError, match=message):
            depth.plot_depth(wrong)


def test_orbits_wrap_and_share_one_grey_scale():
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(16, 5, 5))
    orbit = partners.Orbit("block1", 3, maps, maps[::-1], list(range(16)), [0.5] * 16)
    figure = partners.draw_orbits(
        [orbit, orbit], list(range(1, 17)), "translation", generator.uniform(size=(16, 8, 8))
    )
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == 16 * (1 + 2 * 2)
    assert {axes.images[0].get_clim() for axes in shown} == {(0, 1), (maps.min(), maps.max())}
    style.plt.close(figure)


def test_accuracy_figure_names_networks_and_has_no_rho_of_two():
    points = pd.DataFrame(
        {"model": ["a", "b"], "transform": "rotation", "accuracy": [0.5, 0.6], "score": [0.1, 0.2]}
    )
    figure = plot_accuracy(points, {"score": "equivariance"})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (1)", "b (1)"]
    assert figure.axes[0].get_title() == "rotation\nrho not defined, n = 2"
    more = pd.concat([points.assign(model=f"{place} {points.model}", kind=place // 2) for place in range(20)])
    (legend,) = plot_accuracy(more, {"score": "equivariance"}, "kind").legends
    assert legend.get_texts()[-1].get_text() == "others"
    style.plt.close("all")


@pytest.mark.slow
def test_the_script_compares_folders_and_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main = runpy.run_path(str(REPOSITORY / "scripts/compare.py"))["main"]
    for aug in ("none", "crop"):
        rows.write(tmp_path / f"runs/{aug}/measure/translation/results.csv", SHIFTS[SHIFTS.aug == aug])
    main("runs", "--by", "part", "--minus", "aug=none", "--out", "out/figure.pdf")
    printed = capsys.readouterr().out.strip().splitlines()
    assert all(line.startswith("|") for line in printed)  # and nothing else, to be written to a file
    assert (tmp_path / "out/figure.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(tmp_path / "out/figure.csv")
    assert set(table.label) == {"crop"} and len(table) == 10
    pooled = SHIFTS.assign(over="dataset", value=0.5)
    rows.write(tmp_path / "runs/both/results.csv", pd.concat([SHIFTS[SHIFTS.aug == "flip"], pooled]))
    main("runs", "--by", "part", "--out", "out/figure.png")
    assert {"none", "crop", "flip", "chance, flip"} <= {*pd.read_csv(tmp_path / "out/figure.csv").label}
    main("runs/both", "--by", "part", "--over", "dataset", "--out", "out/figure.png")
    assert len(pd.read_csv(tmp_path / "out/figure.csv").query("kind == 'score' and mean == 0.5")) == 5 * 10
    for wrong, message in (
        (["runs", "--over", "pixel"], "choose image, dataset"),
        (["nowhere.csv"], "no rows in nowhere.csv"),
        (["out"], "out has no measurement"),
        (["runs", "--out", "figure.jpg"], "needs the ending .png"),
        (["runs", "--minus", "crop"], "such as aug=none"),
        (["runs", "--buy", "part"], "unrecognized arguments: --buy part"),
    ):
        with pytest.raises(UserError, match=message):
            main(*wrong)
