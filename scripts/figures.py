"""Redraw the figures and tables of all experiments, or of one, from committed rows.

    python scripts/figures.py [NAME [FOLDER]]

experiments/NAME/figure.py says what is drawn: `figures(folder)` gives figures by name, and `page(folder)`, if it
is there, what stands between the marks of README.md; experiments/figures.yaml has their other arguments, or says as
which other one it is drawn. An experiment that has rows and neither gets the comparison of all its networks. FOLDER
holds rows of one's own, such as runs/zoo: drawn as those of the experiment NAME, into FOLDER. The same rows
give the same bytes.
"""

from equivariance.study.cli import answer_help, command_line

answer_help(__name__, __doc__)  # before what takes seconds is imported

from importlib import import_module
from pathlib import Path

import yaml

from equivariance import rows
from equivariance.errors import UserError
from equivariance.figures.compare import plot_compare
from equivariance.figures.style import styled
from equivariance.files import write_atomic
from equivariance.study import figures
from equivariance.study.config import CONF, EXPERIMENTS

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
GIVEN = yaml.safe_load((EXPERIMENTS / "figures.yaml").read_text())


def main(name: str | None = None, own: str | None = None, *, folder: Path = EXPERIMENTS) -> None:
    """Draw; NAME is a folder of experiments/."""
    if own is not None and not Path(own).is_dir():
        raise UserError(f"FOLDER={own}: there is no such folder; scripts/collect.py and leaderboard.py make it")
    known = {each.parent.name for file in ("figure.py", "results.csv") for each in folder.glob(f"*/{file}")}
    known |= {each for each in GIVEN if (folder / each).is_dir()}
    if own is not None:  # also of experiments without committed rows, such as the quick start
        known |= {preset.stem for preset in CONF.glob("experiment/*.yaml")}
    if name is not None and name not in known:
        raise UserError(f"NAME={name}: there is no figure of it; choose {', '.join(sorted(known))}")
    for each in sorted(known) if name is None else [name]:
        try:
            styled(draw)(each, folder / each if own is None else Path(own))
        except (UserError, FileNotFoundError) as error:
            if name is not None:
                raise
            print(f"not drawn: {each} ({error})")


def draw(name: str, folder: Path) -> None:
    """Draw the figures of an experiment from the rows of a folder into it, and renew its page."""
    arguments = dict(GIVEN.get(name, {}))
    drawn_as = arguments.pop("of", name)
    if (EXPERIMENTS / drawn_as / "figure.py").exists():
        module = import_module(f"experiments.{drawn_as}.figure")
        drawn = module.figures(folder, **arguments)
        page = folder / "README.md"
        if hasattr(module, "page") and page.exists():
            before, _, rest = page.read_text().partition(BEGIN)
            text = module.page(folder, **arguments)
            write_atomic(page, before + BEGIN + text + END + rest.partition(END)[2])
    else:
        table = rows.of_first_over(rows.read(folder / "results.csv"))
        drawn = {"figure": plot_compare([table], title=folder.name)}
    for stem, figure in drawn.items():
        figures.save(figure, folder / stem, ("png", "svg"))
    print(f"drew {', '.join(drawn)} in {folder}")


if __name__ == "__main__":
    command_line(main)
