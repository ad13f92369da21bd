"""Any measurements in one figure and one table: by depth, part of the network, element, epoch or width.

Curves are named by whatever differs between them. Seeds become mean and standard deviation; one seed alone has its
95 % interval over images. Chance levels and untrained networks are references where there are rows of them.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from equivariance.errors import UserError
from equivariance.figures import style
from equivariance.names import BEFORE_POOLING, ELEMENTS, NESTED, PARTS, SCORES
from equivariance.rows import KEY, MEASUREMENT, completed, is_trained, of_last_epoch

BY = ("depth", "part", "element", "epoch", "width")
BY_PANEL = ("element", "epoch")  # with a panel for each part of the network
VARIES = ("source", "dataset", "model", "aug", "width", "trained", "transform", "similarity", "over", "epoch")
WORDS = {"width": "width {:g}", "epoch": "epoch {:g}", "over": "over {}", "similarity": "{}", "trained": "{}"}
READ = ("transform", "similarity", "over")  # how a network is read: references of one reading are none of another
COLUMNS = ["label", "kind", "score", "part", "x", "name", "mean", "low", "high", "deviation", "seeds", "chance"]
NAMED = 9  # layers whose names have room below a figure
WIDEST = 26  # letters of a name in a legend of two columns
GAP = 0.6  # of a name's room, between the last one before pooling and those behind it
Tables = Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame]


@style.styled
def plot_compare(
    tables: Tables,
    by: str = "depth",
    score: str | None = None,
    minus: Mapping[str, object] | None = None,
    names: Mapping[str, str] | None = None,
    title: str = "",
    parts: Sequence[str] = PARTS,
    references: bool = True,
) -> style.Figure:
    """Draw measurements in one figure of a column's width.

    By depth, part and width, a panel for each score; by element and epoch, a panel for each part of the network. By
    width, a curve for each part.

    Args:
        tables: rows of measurements, see `rows.COLUMNS`; the keys of a mapping name the curves.
        by: "depth" (relative depth where the networks' layers differ), "part", "element", "epoch" or "width".
        score: one of `names.NESTED`; None: the two of `names.SCORES`, but equivariance alone by element and epoch.
        minus: the network whose scores are subtracted from those of the others, seed by seed, such as
            {"aug": "none"}.
        names: other names in the legend, by label; also gives the order of the curves.
        title: heads the figure, above what all curves have in common and what the band is.
        parts: those that get a panel or a place.
        references: whether chance levels and untrained networks are drawn, and the axes of scores go from 0 to 1;
            otherwise they show the range that there is.

    Returns:
        The figure.

    Raises:
        UserError: there is nothing to compare, or `by`, `score` or `minus` name nothing that there is.
    """
    table, gathered, names = values(tables, by, score, minus, parts), _gathered(tables), names or {}
    table = table if references else table[table.kind == "score"]
    title = "\n".join(filter(None, [title, _in_common(gathered, table)]))
    column, order = ("part", PARTS) if by in BY_PANEL else ("score", NESTED)
    panels = [value for value in order if (table[column] == value).any()]
    labels = dict.fromkeys([*names, *table[table.kind == "score"].label])
    colours = {label: look for label, look in style.looks(labels).items() if label in set(table.label)}
    columns, height = (2 if len(panels) > 3 else 1), {1: 2.3, 2: 1.9}.get(len(panels), 1.35)
    lines, more = -(-len(panels) // columns), 0.55 + 0.16 * -(-(len(colours) + 2) // 2)
    figure, grid = style.panels(lines, columns, height, more, sharex=True)
    cells = [*grid.flat]
    corner = cells.pop(1) if len(cells) > len(panels) else None  # has room for the legend
    for axes, value in zip(cells, panels, strict=True):
        _draw(axes, table[table[column] == value], by, colours, names)
        axes.set_ylabel(value)
        if minus:
            axes.axhline(0, color=style.GREY, lw=0.8, zorder=0)
        elif references:
            axes.set_ylim(-0.02, 1.02)
    elements = {ELEMENTS.get(name, "element") for name in gathered["transform"].unique()}
    element = elements.pop() if len(elements) == 1 else "element"
    for axes in grid[-1]:
        _x_axis(axes, table, by, element, 8 // columns)
    what = table.score.iloc[0] if column == "part" else ""
    if minus:
        label = _label_of(minus)
        what = f"{what or 'difference'}: minus {names.get(label, label)}"
    figure.suptitle("\n".join(filter(None, [title, what])), fontsize=7.5)
    handles = dict(zip(*reversed(grid[0, 0].get_legend_handles_labels()), strict=True))
    handles = {label: handles[label] for label in sorted(handles, key=("untrained", "chance").__contains__)}
    if len(handles) > 1 or by == "part":
        wide = max(map(len, handles)) > WIDEST
        if corner and not wide:
            corner.legend(handles.values(), handles, loc="center")
        else:
            figure.legend(handles.values(), handles, loc="outside lower center", ncols=1 if wide else 2)
    if corner:
        corner.axis("off")
    return figure


def values(
    tables: Tables,
    by: str = "depth",
    score: str | None = None,
    minus: Mapping[str, object] | None = None,
    parts: Sequence[str] = PARTS,
) -> pd.DataFrame:
    """The numbers of `plot_compare`.

    Returns:
        Rows of label, kind ("score", "untrained" or "chance"), score, part, x (the layer's place, the part,
        element, epoch or width), name (of the layer), mean, low and high (mean plus-minus a standard deviation over
        seeds; of one seed the 95 % interval over images), deviation (over seeds), seeds, and chance (NaN of a
        difference).
    """
    if by not in BY:
        raise UserError(f"--by {by}: choose {', '.join(BY)}")
    if score is not None and score not in NESTED:
        raise UserError(f"--score {score}: choose {', '.join(NESTED)}")
    table = _gathered(tables)
    wanted = [score] if score else ["equivariance"] if by in BY_PANEL else list(SCORES)
    table = table[table.score.isin(wanted) & table.part.isin(parts)]
    trained = is_trained(table)
    shown = table if by == "epoch" or not trained.any() else of_last_epoch(table[trained])
    if by == "epoch":
        shown = shown[shown.epoch.notna() & shown.trained.astype(bool)]
    if shown.empty:
        raise UserError(f"no rows to compare by {by}")
    untrained = table[~trained] if by != "epoch" and trained.any() else table[:0]
    columns = _what_differs(shown, by)
    shown = shown.assign(label=_labels(shown, columns))
    if by == "width":
        more = ", " + shown.label if columns else ""
        shown, untrained = shown.assign(label=shown.part + more), untrained[:0]
    read = [column for column in columns if column in READ]
    untrained = untrained.assign(label=_reference("untrained", untrained, read))
    if by == "depth":
        shared = len({tuple(one.drop_duplicates("index").layer) for _, one in shown.groupby("label")}) == 1
        shown, untrained = (_with_depth(one, shared) for one in (shown, untrained))
        if not shared:  # no reference can stand for networks with other layers
            twins = [column for column in columns if column not in ("aug", "trained", "epoch")]
            untrained = untrained.assign(label=_reference("untrained", untrained, twins or ["model"]))
    else:
        shown, untrained = (one.assign(x=one[by], name=one.layer) for one in (shown, untrained))
    found = [_over_seeds(shown, "score", by, minus)]
    if minus is None:
        of_chance = dict.fromkeys(("value", "low", "high"), shown.chance)
        found.append(_over_seeds(shown.assign(label="chance, " + shown.label, **of_chance), "chance", by))
        if len(untrained):
            found.append(_over_seeds(untrained, "untrained", by))
    return pd.concat(found, ignore_index=True)


def _gathered(tables: Tables) -> pd.DataFrame:
    """All rows with their source, each once."""
    places = map(str, range(len(tables))) if len(tables) > 1 else [""]
    named = tables if isinstance(tables, Mapping) else dict(zip(places, tables, strict=False))
    if not named:
        raise UserError("nothing to compare: give folders of runs, or files of rows")
    table = pd.concat([completed(each).assign(source=name) for name, each in named.items()], ignore_index=True)
    table = table.drop_duplicates([*KEY, "value"])
    return table if isinstance(tables, Mapping) or not told_apart(table) else table.assign(source="")


def told_apart(table: pd.DataFrame) -> bool:
    """Whether no two rows are of the same network and measurement, by what the rows themselves say."""
    return not table.drop_duplicates([*KEY, "value"]).duplicated(KEY).any()


def _in_common(gathered: pd.DataFrame, table: pd.DataFrame) -> str:
    """What is the same in all rows, and what the bands are: in two lines."""
    said = {"dataset": "{}", "transform": "{}", "over": "over={}"}
    same = [word.format(gathered[key].iloc[0]) for key, word in said.items() if gathered[key].nunique() == 1]
    seeds = sorted(table.seeds[table.kind == "score"].unique())
    several = f"mean, spread: ± s.d. of {' to '.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seeds"
    band = "one seed; spread: 95 % interval over images" if seeds[-1] == 1 else several
    return f"{', '.join(same)}\n{band}"


def _what_differs(shown: pd.DataFrame, by: str) -> list[str]:
    """The columns, seeds aside, in which the networks differ; none that follows from an earlier one."""
    several = [c for c in VARIES if shown[c].nunique(dropna=False) > 1 and c != by]
    if shown.source.all() and "source" not in several:
        several.insert(0, "source")  # a name that was given, if only to one table
    if by == "width" and "model" in several and shown.groupby("width").model.nunique().max() == 1:
        several.remove("model")  # whose name says its width

    def networks(columns: list[str]) -> int:
        return len(shown[columns].drop_duplicates())

    kept: list[str] = []
    for column in several:
        named = column == "model" and "dataset" in kept  # a data set's name alone says little
        if not kept or named or networks([*kept, column]) > networks(kept):
            kept.append(column)
    for column in [each for each in kept if each not in ("source", "dataset")]:  # a model may say its width
        others = [other for other in kept if other != column]
        if others and networks(others) == networks(kept):
            kept = others
    return kept


def _labels(table: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """A name for each row's network from these columns; the one column that there is, or the model's name."""
    if not columns:
        return table.model.astype(str)
    first, *others = (table[column].map(partial(_word, column)).astype(str) for column in columns)
    return first.str.cat(others, sep=", ") if others else first


def _reference(kind: str, table: pd.DataFrame, columns: Sequence[str]) -> pd.Series | str:
    """What a reference is called: its kind, and what else tells it from others of this kind."""
    return kind + ", " + _labels(table, columns) if columns else kind


def _word(column: str, value: object) -> str:
    if pd.isna(value):
        return f"{column} not known"
    if column == "trained":
        return "trained" if value else "untrained"
    return WORDS.get(column, "{}").format(value)


def _label_of(chosen: Mapping[str, object]) -> str:
    return ", ".join(_word(column, value) for column, value in chosen.items())


def _with_depth(table: pd.DataFrame, shared: bool) -> pd.DataFrame:
    """Each layer's place along x: its index, or relative depth in [0, 1]; those behind pooling aside."""
    body = table.part.isin(BEFORE_POOLING)
    network = table.groupby(["dataset", "model", "width", "label"], dropna=False, sort=False)
    last = table["index"].where(body).groupby(network.ngroup()).transform("max")
    if shared:
        wide = (last / NAMED).clip(lower=1)  # so that names have room in a deep network
        behind = last + (table["index"] - last) * wide + GAP * wide
        return table.assign(x=table["index"].where(body, behind), name=table.layer)
    ends = table.part.map({"pool": 1.12, "final": 1.26}).astype(float)
    return table.assign(x=(table["index"] / last.clip(lower=1)).where(body, ends), name=table.layer)


def _over_seeds(table: pd.DataFrame, kind: str, by: str, minus: Mapping[str, object] | None = None) -> pd.DataFrame:
    """Mean over elements and layers as `by` asks, then mean and deviation over seeds."""
    place = ["score", *(["part"] if by in BY_PANEL else []), "x"]
    networks = [*MEASUREMENT, "source", "label", *place]
    kept = {column: (column, "mean") for column in ("low", "high", "chance")}
    kept |= {column: (column, "first") for column in ("name", "of_part")}
    groups = table.assign(of_part=table.part).groupby(networks, dropna=False, sort=False)
    each = groups.agg(value=("value", "mean"), **kept).reset_index()
    if minus is not None:
        each = _minus(each, minus, place)
    groups = each.groupby(["label", *place], dropna=False, sort=False)
    over_seeds = {"mean": ("value", "mean"), "deviation": ("value", "std"), "seeds": ("value", "size")}
    found = groups.agg(**over_seeds, **kept).reset_index()
    several = found.seeds > 1
    found = found.assign(
        low=found.low.where(~several, found["mean"] - found.deviation),
        high=found.high.where(~several, found["mean"] + found.deviation),
        part=found.of_part if by != "width" else "",
        kind=kind,
        name=found.name if by == "depth" else "",
    )
    return found[COLUMNS]


def _minus(each: pd.DataFrame, minus: Mapping[str, object], place: list[str]) -> pd.DataFrame:
    """Differences from the chosen network's scores, seed by seed; half widths add in quadrature."""
    chosen = np.logical_and.reduce([each[column] == value for column, value in minus.items()])
    if not chosen.any() or chosen.all():
        there = "; ".join(f"{column} {', '.join(map(str, each[column].unique()))}" for column in minus)
        raise UserError(f"--minus {_label_of(minus)}: there is no such network, or no other; there is {there}")
    pair = [*(c for c in MEASUREMENT if c not in (*minus, "model" if "width" in minus else "")), *place]
    base = each[chosen][[*pair, "value", "low", "high"]]
    both = each[~chosen].merge(base, on=pair, suffixes=("", "_base"))
    if both.empty:
        raise UserError(f"--minus {_label_of(minus)}: no other network has its seeds, layers and transformation")
    half = np.hypot((both.high - both.low) / 2, (both.high_base - both.low_base) / 2)
    difference = both.value - both.value_base
    return both.assign(value=difference, chance=np.nan, low=difference - half, high=difference + half)


def _draw(axes, panel: pd.DataFrame, by: str, colours: Mapping, names: Mapping[str, str]) -> None:
    """The curves of a panel, each with its chance level, and the untrained in grey; by part, marks side by side."""
    places, dodge, room = _places(panel, by), by == "part", 0.7 / len(colours)
    aside = {label: room * (position - (len(colours) - 1) / 2) for position, label in enumerate(colours)}
    for label, look in colours.items():
        one = panel[(panel.kind == "score") & (panel.label == label)]
        if one.empty:
            continue
        x = np.array([places[each] for each in one.x])
        shown = names.get(label, label)
        if dodge:
            error = [one["mean"] - one.low, one.high - one["mean"]]
            axes.errorbar(x + aside[label], one["mean"], error, ls="", elinewidth=1, label=shown, **look)
        else:
            _curve(axes, x, one, by, label=shown, **look)
    for kind, line in style.REFERENCES.items():
        for name, one in panel[panel.kind == kind].groupby("label", sort=False):
            x = np.array([places[each] for each in one.x])
            of = str(name).partition(", ")[2]  # the one curve it is for
            colour = colours.get(of, {}).get("color", style.GREY)
            if dodge:
                x, half = (x + aside[of], room / 2) if of in aside else (x, 0.42)
                axes.hlines(one["mean"], x - half, x + half, color=colour, ls=line["ls"], lw=1)
            else:
                _curve(axes, x, one, by, band=kind == "untrained", **line | {"color": colour})
        if (panel.kind == kind).any():
            apart = by == "depth" and kind == "untrained"  # chance is a line everywhere
            axes.plot([], [], color=style.GREY, label=kind, **line if apart else line | {"marker": ""})


def _curve(axes, x: np.ndarray, one: pd.DataFrame, by: str, band: bool = True, **look) -> None:
    """A line with its band; by depth, layers behind pooling stand apart from the line."""
    order = np.argsort(x, kind="stable")
    x, one = x[order], one.iloc[order]
    body = one.part.isin(BEFORE_POOLING).to_numpy() if by == "depth" else np.ones(len(one), bool)
    line = look if look.get("label") else {key: look[key] for key in ("color", "ls", "lw")}
    bounds, every = (one.low[body], one.high[body]) if band else (), max(1, round(body.sum() / 12))
    style.curve(axes, x[body], one["mean"][body], *bounds, markevery=every, **line)
    if not body.all():
        ends = one[~body]
        error = [ends["mean"] - ends.low, ends.high - ends["mean"]] if band else None
        apart = {key: value for key, value in look.items() if key not in ("label", "lw")}
        axes.errorbar(x[~body], ends["mean"], error, elinewidth=1, **apart | {"ls": ""})


def _places(table: pd.DataFrame, by: str) -> dict:
    """Where each value of x stands: numbers for themselves, parts and epochs one after the other."""
    if by == "part":
        return {part: place for place, part in enumerate(part for part in PARTS if part in set(table.x))}
    ordered = sorted(table.x.unique(), key=lambda each: (isinstance(each, str), each))
    if by in ("epoch", "width") or any(isinstance(each, str) for each in ordered):
        return {each: place for place, each in enumerate(ordered)}
    return {each: each for each in ordered}


def _x_axis(axes, table: pd.DataFrame, by: str, elements: str, most: int) -> None:
    places = _places(table, by)
    if by == "depth":
        ends = table[~table.part.isin(BEFORE_POOLING)].drop_duplicates("x")
        body = table[table.part.isin(BEFORE_POOLING)].sort_values("x")
        relative = (body.x.max() <= 1 and body.groupby("x").name.nunique().max() > 1) or (body.x % 1 != 0).any()
        if relative:
            ticks = {0: "0", 0.25: "¼", 0.5: "½", 0.75: "¾", 1: "1"} | dict(zip(ends.x, ends.part, strict=True))
            axes.set_xlabel("relative depth")
            axes.set_xticks(list(ticks), list(ticks.values()))
            return
        layers = body.drop_duplicates("x")
        step = max(1, -(-len(layers) // NAMED))
        layers = layers.iloc[::step]
        axes.set_xticks([*layers.x, *ends.x], [*layers.name, *ends.name], **style.SLANTED)
        return
    if by == "element" and all(each is place for each, place in places.items()):
        ordered = list(places)
        step = max(1, round(len(ordered) / most))
        axes.set_xticks([ordered[0], *[each for each in ordered[step - 1 :: step] if each != ordered[0]]])
        axes.set_xlabel(elements)
        return
    names = [f"{each:g}" if not isinstance(each, str) else each for each in places]
    axes.set_xticks(list(places.values()), names)
    if by != "part":
        axes.set_xlabel(elements if by == "element" else by)
