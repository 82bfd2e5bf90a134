"""Which rules are in force: ``[tool.ucspi-envcheck]`` of pyproject.toml or ``.ucspi-envcheck.toml``; and options."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

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
        data: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for key in keys:
        if key not in data:
            return None
        inner = _as_table(data[key])
        if inner is None:
            raise ConfigError(f"{path}: [{'.'.join(keys)}] is not a table")
        data = inner
    return data


def _as_table(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _as_words(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    words = [one for one in cast("list[object]", value) if isinstance(one, str)]
    return tuple(words) if len(words) == len(cast("list[object]", value)) else None


def _checked(table: dict[str, object], path: Path) -> Config:
    """Return the settings of a table; those of its ``lint`` table, if there is one, go before."""
    inner = _as_table(table.get("lint", {}))
    if inner is None:
        raise ConfigError(f"{path}: lint is not a table")
    values: dict[str, tuple[str, ...]] = {}
    for key, value in {**table, **inner}.items():
        if isinstance(value, dict):
            continue
        words = _as_words(value)
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown setting {key!r}; known are {', '.join(sorted(_KEYS))}")
        if words is None:
            raise ConfigError(f"{path}: {key} must be a list of strings")
        values[key] = words
    return Config(**values)
