"""Which folder may import which, read from the source of every module: two wings and one arrow, and no circles."""

import ast
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "equivariance"
GROUND = {"errors", "files", "names", "progress"}
LIBRARY = {  # each may import itself, the ground floor, and these
    **{name: set() for name in GROUND},
    "rows": set(),
    "layers": set(),
    "transforms": set(),
    "statistics": set(),
    "metric": {"layers", "transforms", "statistics", "rows"},
    "figures": {"rows"},
}
STUDY = {
    "config": set(),
    "data": {"config"},
    "models": {"config", "data"},
    "training": {"config", "data", "models"},
    "runs": {"config", "data", "models", "training"},
    "rank_correlation": set(),
    "tables": set(),
    "transforms": set(),
    "figures": {"rank_correlation", "tables"},
    "partners": {"runs", "figures"},
    "verdicts": {"config", "rank_correlation", "tables"},
    "identity": {"config", "runs"},
    "cli": {"config", "data", "models", "training", "runs", "identity"},
    "measuring": {"config", "data", "models", "training", "runs", "identity", "cli"},
    "report": {"data", "training", "runs", "measuring", "partners", "figures"},
}
PACKAGES = {"torch", "numpy", "pandas", "scipy", "tqdm", "matplotlib", "mpl_toolkits"}  # of others, in the library
EXCEPTIONS = {  # may only become fewer
    # a metric is drawn where it is asked for it
    "equivariance.metric.equivariance": {"equivariance.figures.depth"},
}
WITHOUT_TORCH = ("figures", "rows", "study/verdicts", "study/figures", "study/tables")


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str, late: bool = True) -> set[str]:
    """The modules that one imports, anywhere in it or at once; of type checkers' alone not."""
    found, tree = set(), ast.parse(MODULES[module].read_text())
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if not late and isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            names = {f"{node.module}.{name.name}" for name in node.names}
            inner = names & MODULES.keys()
            found |= inner | ({node.module} if inner != names else set())
        stack += ast.iter_child_nodes(node)
    return found - {module}


def room(module: str) -> tuple[str, str]:
    """(wing, folder), such as ("study", "data")."""
    parts = module.split(".")[1:]
    if not parts:
        return "library", ""
    return ("study", ".".join(parts[1:2])) if parts[0] == "study" else ("library", parts[0])


def forbidden(module: str) -> list[str]:
    wing, folder = room(module)
    wrong = []
    for other in imported(module):
        if not other.startswith("equivariance"):
            top = other.partition(".")[0]
            if wing == "library" and top not in PACKAGES and top not in sys.stdlib_module_names:
                wrong.append(other)
            continue
        of, place = room(other)
        if of == wing and place in ("", folder):
            continue
        if wing == "library":
            allowed = of == "library" and place in GROUND | LIBRARY.get(folder, GROUND | LIBRARY.keys())
        else:
            allowed = of == "library" or place in STUDY.get(folder, STUDY.keys())
        if not allowed:
            wrong.append(other)
    return wrong


def test_every_folder_has_a_rule():
    for module in MODULES:
        wing, folder = room(module)
        assert not folder or folder in (LIBRARY if wing == "library" else STUDY), f"say what {module} may import"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_its_folder_may(module):
    assert {*forbidden(module)} == EXCEPTIONS.get(module, set())


def test_there_are_no_circles_between_modules():
    open_, done = [], set()

    def visit(module):
        assert module not in open_, f"a circle: {' -> '.join([*open_[open_.index(module) :], module])}"
        if module in done:
            return
        open_.append(module)
        for other in sorted(imported(module) & MODULES.keys()):
            visit(other)
        done.add(open_.pop())

    for module in MODULES:
        visit(module)


@pytest.mark.parametrize("place", WITHOUT_TORCH)
def test_what_reads_rows_needs_no_torch(place):
    """Neither by itself nor by what it imports."""
    start = f"equivariance.{place.replace('/', '.')}"
    seen, stack = set(), [name for name in MODULES if name == start or name.startswith(f"{start}.")]
    assert stack
    while stack:
        module = stack.pop()
        if module in seen:
            continue
        seen.add(module)
        others = imported(module, late=False)
        assert not {other.partition(".")[0] for other in others} & {"torch", "torchvision", "timm"}, module
        stack += others & MODULES.keys()


def test_data_networks_and_training_know_no_configuration():
    """They take plain values; `config`, `models.build` and the entry points make these of a configuration."""
    plain = {("study", folder) for folder in ("data", "models", "training")}
    knowing = {name for name in MODULES if any(other.startswith("omegaconf") for other in imported(name))}
    assert {name for name in knowing if room(name) in plain} == {"equivariance.study.models.build"}
