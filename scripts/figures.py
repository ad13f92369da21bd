"""Redraw the figures of all experiments, or of one, from committed rows.

    python scripts/figures.py [NAME [FOLDER]]

Runs `main(folder)` of every experiments/NAME/figure.py; an experiment that has rows and no such file gets the
comparison of all its networks. FOLDER holds rows of one's own, such as runs/zoo: they are drawn as those of the
experiment NAME, into FOLDER. The same rows give the same bytes.
"""

import inspect
import runpy
from pathlib import Path

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures import compare, style
from equivariance.study.checkout import EXPERIMENTS
from equivariance.study.cli import command_line


def main(name: str | None = None, own: str | None = None, *, folder: Path = EXPERIMENTS) -> None:
    """Draw; NAME is a folder of experiments/."""
    if own is not None and not Path(own).is_dir():
        raise UserError(f"FOLDER={own}: there is no such folder; scripts/collect.py and leaderboard.py make it")
    drawable = sorted(
        each for each in folder.glob("*/") if any((each / file).exists() for file in ("figure.py", "results.csv"))
    )
    known = [each.name for each in drawable]
    if name is not None and name not in known:
        raise UserError(f"NAME={name}: there is no figure of it; choose {', '.join(known)}")
    for each in drawable if name is None else [folder / name]:
        try:
            draw(each, each if own is None else Path(own))
        except (UserError, FileNotFoundError) as error:
            if name is not None:
                raise UserError(str(error)) from error
            print(f"not drawn: {each.name} ({error})")


def draw(experiment: Path, folder: Path) -> None:
    """Draw the figures of an experiment from the rows of a folder into it."""
    if (experiment / "figure.py").exists():
        script = runpy.run_path(str(experiment / "figure.py"))["main"]
        script(folder) if inspect.signature(script).parameters else script()
        return
    table = rows.of_first_over(rows.read(folder / "results.csv"))
    style.save(compare.plot_compare([table], title=folder.name), folder / "figure", ("png", "svg"))
    print(f"drew the comparison of all networks in {folder}")


if __name__ == "__main__":
    command_line(main)
