"""Redraw the figures of all experiments, or of one, from committed rows: `python scripts/figures.py [NAME]`.

Runs `main()` of every experiments/NAME/figure*.py; the same rows give the same bytes.
"""

import runpy
from pathlib import Path

from equivariance.analysis import jobs as experiments
from equivariance.analysis import plots
from equivariance.cli import command_line
from equivariance.errors import UserError


def main(name: str | None = None, folder: Path = experiments.FOLDER) -> None:
    scripts = sorted(folder.glob(f"{name or '*'}/figure*.py"))
    if not scripts:
        known = sorted(file.parent.name for file in folder.glob("*/figure*.py"))
        raise UserError(f"NAME={name}: there is no figure of it; choose {', '.join(known)}")
    for script in scripts:
        with plots.plt.rc_context():  # one figure's settings are not the next one's
            try:
                runpy.run_path(str(script))["main"]()
            except (UserError, FileNotFoundError) as error:
                if name:
                    raise
                print(f"not drawn: {script.parent.name}/{script.name} ({error})")


if __name__ == "__main__":
    command_line(main)
