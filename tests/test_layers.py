"""docs/architecture.md and the code agree: every module has its layer, and imports run one way."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ucspi_env"
ROW = re.compile(r"^\| `([\w.]+)` \| (\d) \| (.+) \|$", re.MULTILINE)
CORE, CODECS, SHELL, PROGRAMS, ENVCHECK, DOORS = range(6)
# What a pure module has no business with. The core's two windows to the outside are named on the page.
IMPURE = {"socket", "_socket", "selectors", "subprocess", "signal", "_signal", "time", "threading", "asyncio", "mmap"}
WINDOWS = {"__init__", "_facts", "_relay", "_session", "_sockdiag"}


def documented() -> dict[str, int]:
    page = (ROOT / "docs" / "architecture.md").read_text()
    return {name: int(layer) for name, layer, _ in ROW.findall(page)}


def modules() -> dict[str, Path]:
    """Every module by its dotted name below the package; a subpackage of envcheck counts as one."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        if parts[:2] == ("envcheck", "lint"):
            continue
        found[".".join(parts)] = file
    return found


def imports(file: Path) -> set[str]:
    """What a module imports when it runs: not what only type checkers read."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
                for other in child.orelse:
                    visit(other)
                continue
            if isinstance(child, ast.Import):
                names.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                names.add(child.module)
                names.update(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child)

    visit(ast.parse(file.read_text()))
    return names


def ours(names: set[str]) -> set[str]:
    """The imported modules of this package, by their dotted name below it."""
    known = modules()
    found = set()
    for name in names:
        if name == "ucspi_env":
            found.add("__init__")
        elif name.startswith("ucspi_env."):
            inner = name.removeprefix("ucspi_env.")
            if inner in known:
                found.add(inner)
            elif f"{inner}.__init__" in known:
                found.add(f"{inner}.__init__")
            elif inner.startswith("envcheck.lint"):
                found.add("envcheck.lint")
    return found


def test_the_page_lists_every_module() -> None:
    assert set(documented()) == {*modules(), "envcheck.lint"}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_run_one_way(name: str) -> None:
    layers = documented()
    layer = layers[name]

    for other in ours(imports(modules()[name])) - {name}:
        assert layers[other] <= layer, f"{name} (layer {layer}) imports {other} (layer {layers[other]})"
        if layer == PROGRAMS:
            assert layers[other] != PROGRAMS, f"program {name} imports program {other}"


@pytest.mark.parametrize("name", sorted(name for name, layer in documented().items() if layer <= CODECS))
def test_pure_modules_do_no_io(name: str) -> None:
    used = {module.partition(".")[0] for module in imports(modules()[name])}

    assert name in WINDOWS or not used & IMPURE


def test_click_is_imported_at_one_door_only() -> None:
    users = {name for name, file in modules().items() if "click" in imports(file)}

    assert users == {"envcheck.cli"}


def test_nobody_imports_a_door() -> None:
    layers = documented()
    doors = {name for name, layer in layers.items() if layer == DOORS}

    for name, file in modules().items():
        if name not in doors:
            assert not ours(imports(file)) & doors - {"envcheck._entry"}, name
