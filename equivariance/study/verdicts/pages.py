"""Tables on pages that are written from rows, between two marks."""

from pathlib import Path

from equivariance.files import write_atomic

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


def renew(page: Path, text: str) -> None:
    """Replace what stands between the marks `BEGIN` and `END` of a page; nothing where there is no page."""
    if not page.exists():
        return
    before, _, rest = page.read_text().partition(BEGIN)
    write_atomic(page, before + BEGIN + text + END + rest.partition(END)[2])
