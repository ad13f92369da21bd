"""Which files of published networks are there, and where the others come from.

python scripts/public.py FOLDER
"""

from pathlib import Path

from equivariance.errors import UserError
from equivariance.study.cli import command_line


def main(folder: str) -> None:
    from equivariance.study.models.public import checked_file, origin, table  # here, as it takes seconds

    for name, row in table().items():
        try:
            checked_file(row, Path(folder).expanduser())
            state = "there"
        except UserError as error:
            state = "missing" if "is not there" in str(error) else "another file"
        print(f"{name:24} {state:13} {row['file']}: {origin(row)}")


if __name__ == "__main__":
    command_line(main)
