"""Which rules are in force: ``[tool.ucspi-envcheck]`` of pyproject.toml or ``.ucspi-envcheck.toml``; and options."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from ucspi_env.envcheck.lint._engine import RULES
from ucspi_env.envcheck.lint._model import find_rule

OWN_FILE = ".ucspi-envcheck.toml"
SHARED_FILE = "pyproject.toml"
_KEYS = {"select", "ignore", "exclude"}


class ConfigError(ValueError):
    """A setting that cannot be used; the message names the file, the setting and the remedy."""


@dataclass(frozen=True, slots=True)
class Config:
    """Rules and files that the user wants.

    Attributes:
        select: codes, their beginnings (``U1``), or names; empty selects all.
        ignore: the same, left out.
        exclude: patterns in the manner of .gitignore, left out of directory walks.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def rules(self) -> frozenset[str]:
        """Return the codes in force.

        Raises:
            ConfigError: a word names no rule.
        """
        chosen = _matching(self.select) if self.select else frozenset(one.code for one in RULES.values())
        return chosen - _matching(self.ignore)


def _matching(words: tuple[str, ...]) -> frozenset[str]:
    codes: set[str] = set()
    for word in words:
        one = find_rule(word)
        found = (
            {one.code} if one else {rule.code for rule in RULES.values() if word and rule.code.startswith(word.upper())}
        )
        if not found:
            raise ConfigError(
                f"{word!r} is no rule: give a code (U101), the beginning of one (U1) or a name (dot-split)"
            )
        codes |= found
    return frozenset(codes)


def load(start: Path) -> Config:
    """Return the settings nearest to ``start``: of its directory, or of the first parent that has any.

    Raises:
        ConfigError: a file cannot be read, is no TOML, or has an unknown or ill-typed setting.
    """
    directory = start if start.is_dir() else start.parent
    for place in (directory.resolve(), *directory.resolve().parents):
        own, shared = place / OWN_FILE, place / SHARED_FILE
        if own.is_file():
            return _read(own, ())
        if shared.is_file():
            table = _table(shared, ("tool", "ucspi-envcheck"))
            if table is not None:
                return _checked(table, shared)
    return Config()


def _read(path: Path, keys: tuple[str, ...]) -> Config:
    table = _table(path, keys)
    return _checked(table if table is not None else {}, path)


def _table(path: Path, keys: tuple[str, ...]) -> dict[str, object] | None:
    try:
        data: object = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return None
        data = data[key]
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: [{'.'.join(keys)}] is not a table")
    return data


def _checked(table: dict[str, object], path: Path) -> Config:
    table = {key: value for key, value in table.items() if not isinstance(value, dict)} | dict(_lint_table(table, path))
    values: dict[str, tuple[str, ...]] = {}
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown setting {key!r}; known are {', '.join(sorted(_KEYS))}")
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ConfigError(f"{path}: {key} must be a list of strings")
        values[key] = tuple(value)
    return Config(**values)


def _lint_table(table: dict[str, object], path: Path) -> dict[str, object]:
    inner = table.get("lint", {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{path}: lint is not a table")
    return inner
