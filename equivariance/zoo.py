"""Many networks of timm in one sweep: which ones, and what becomes of one that fails."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import timm

from equivariance.cli import one_line
from equivariance.errors import UserError
from equivariance.files import write_whole

FAILED = "failed.txt"


def select(models: str | Sequence[str], pretrained: bool) -> list[str]:
    """The names of timm's classification networks that match patterns such as `resnet*`, in timm's order.

    Args:
        models: patterns, names, or files (.txt) with one of them a line (# begins a comment). A name without a
            star is kept even if timm does not know it: that one will fail, the others are measured.
        pretrained: only networks with weights, under the names of their weights: `resnet18.a1_in1k`.

    Raises:
        UserError: a pattern matches nothing.
    """
    names: dict[str, None] = {}
    for pattern in [models] if isinstance(models, str) else models:
        if Path(pattern).suffix == ".txt":
            names |= dict.fromkeys(select(_lines(Path(pattern)), pretrained))
            continue
        found = timm.list_models(pattern, pretrained=pretrained, include_tags="." in pattern or None)
        if not found and any(letter in pattern for letter in "*?["):
            kind = "network with weights" if pretrained else "network"
            raise UserError(f"zoo.models={pattern}: timm has no such {kind}; timm.list_models() lists all")
        names |= dict.fromkeys(found or [pattern])
    return list(names)


def family(name: str) -> str:
    """The module of timm that defines the network, such as `vision_transformer`; else its name's first word."""
    architecture = name.partition(".")[0]
    if timm.is_model(architecture):
        return timm.models.model_entrypoint(architecture).__module__.rpartition(".")[2]
    return architecture.partition("_")[0].rstrip("0123456789")


@contextmanager
def recorded(folder: Path) -> Iterator[None]:
    """Whatever fails inside leaves its reason in the folder, in one line, and does not stop the sweep.

    The next sweep tries again.
    """
    try:
        yield
    except Exception as error:  # whatever a network raises
        reason = one_line(error) if str(error).strip() else type(error).__name__
        write_whole(folder / FAILED, reason + "\n")
        print(f"failed: {reason}")
    else:
        (folder / FAILED).unlink(missing_ok=True)


def _lines(file: Path) -> list[str]:
    try:
        lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    except OSError as error:
        raise UserError(f"zoo.models={file}: {error.strerror}") from error
    return [line for line in lines if line]
