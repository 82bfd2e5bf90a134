"""``--fix``: the few rewrites that are certain.

Certain is one thing only: a Python file that reads ``os.environ["TCPREMOTEIP"]`` (or TCPREMOTEPORT) by subscript, which
cannot yield None. `ucspi_env.remote()` gives the same value under every super-server, un-mapped. All else is for the
author.
"""

from __future__ import annotations

import ast

_WANTED = {
    "TCPREMOTEIP": "str(ucspi_env.remote().ip)",
    "TCPREMOTEPORT": "str(ucspi_env.remote().port)",
}


def _reads(tree: ast.Module) -> list[ast.Subscript]:
    found: list[ast.Subscript] = []
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.ctx, ast.Load)
            and isinstance(node.value, ast.Attribute)
            and node.value.attr == "environ"
            and isinstance(node.value.value, ast.Name)
            and node.value.value.id == "os"
            and isinstance(node.slice, ast.Constant)
            and node.slice.value in _WANTED
            and node.lineno == node.end_lineno
        ):
            found.append(node)
    return found


def _handled(tree: ast.Module) -> bool:
    """Say whether the file catches KeyError: `remote()` raises another error, so its handlers would no longer fire."""
    names = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type
        for name in ast.walk(node.type)
        if isinstance(name, ast.Name)
    }
    bare = any(isinstance(node, ast.ExceptHandler) and node.type is None for node in ast.walk(tree))
    return bare or bool(names & {"KeyError", "LookupError"})


def _writes(tree: ast.Module) -> bool:
    """Say whether the file sets the variable itself, as tests do: then reading it back must see that."""
    return any(
        isinstance(node, ast.Constant) and node.value in _WANTED and not isinstance(parent, ast.Subscript)
        for parent in ast.walk(tree)
        for node in ast.iter_child_nodes(parent)
    ) or any(
        isinstance(node, ast.Subscript)
        and not isinstance(node.ctx, ast.Load)
        and isinstance(node.slice, ast.Constant)
        and node.slice.value in _WANTED
        for node in ast.walk(tree)
    )


def fixed(text: str) -> tuple[str, int]:
    """Return the rewritten text of a Python file and the number of places; the text itself where nothing is certain."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text, 0
    reads = _reads(tree)
    if not reads or _handled(tree) or _writes(tree):
        return text, 0
    bound = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    taken = any(
        isinstance(node, ast.Name) and node.id == "ucspi_env" and not isinstance(node.ctx, ast.Load)
        for node in ast.walk(tree)
    )
    if taken:
        return text, 0
    lines = text.split("\n")
    for node in sorted(reads, key=lambda one: (one.lineno, one.col_offset), reverse=True):
        row = lines[node.lineno - 1].encode()
        replacement = _WANTED[str(getattr(node.slice, "value", ""))].encode()
        lines[node.lineno - 1] = (row[: node.col_offset] + replacement + row[node.end_col_offset :]).decode()
    if "ucspi_env" not in bound:
        lines.insert(_after_os(tree), "import ucspi_env")
    return "\n".join(lines), len(reads)


def _after_os(tree: ast.Module) -> int:
    """Return how many lines stand before the place for the import: after the last import at the top of the file."""
    last = 0
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            last = node.end_lineno or node.lineno
        elif last or not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            break
        else:
            last = node.end_lineno or node.lineno
    return last
