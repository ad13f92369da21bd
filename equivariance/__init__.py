"""Learned equivariance: how much of a network's response to shifts and rotations is learned.

    import equivariance as eq

    table = eq.measure(model, images, eq.rotations())
    eq.plot_depth(table)

The public names are those of `__init__.pyi`, where type checkers find them too. Each is imported when it is first
used, so that `import equivariance` alone loads neither PyTorch nor Matplotlib.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"

_HOME = {  # of each public name
    name.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(node, ast.ImportFrom) and node.module
    for name in node.names
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
