"""Which language a file is written in: by its name, else by its first line, else by what it holds."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from typing import Final

LANGUAGES: Final = ("c", "cpp", "sh", "perl", "python", "ruby", "php", "go", "rust", "awk", "haskell", "sql")

_SUFFIXES: Final = {
    ".c": "c", ".h": "c", ".ec": "c", ".pc": "c",
    ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".c++": "cpp", ".hh": "cpp", ".hpp": "cpp", ".hxx": "cpp", ".h++": "cpp", ".ino": "cpp",
    ".sh": "sh", ".bash": "sh", ".ksh": "sh", ".zsh": "sh", ".dash": "sh", ".bats": "sh",
    ".pl": "perl", ".pm": "perl", ".cgi": "perl", ".t": "perl", ".plx": "perl", ".fcgi": "perl",
    ".py": "python", ".pyw": "python", ".pyi": "python",
    ".rb": "ruby", ".rake": "ruby", ".gemspec": "ruby",
    ".php": "php", ".php3": "php", ".php4": "php", ".php5": "php", ".phtml": "php", ".inc": "php",
    ".go": "go", ".rs": "rust", ".awk": "awk", ".gawk": "awk",
    ".hs": "haskell", ".lhs": "haskell",
    ".sql": "sql", ".ddl": "sql",
}  # fmt: skip
_GENERATED: Final = (".in", ".sh.in", ".orig", ".bak", ".dist", ".example", ".sample", ".tmpl", ".template")
_NAMES: Final = {
    "run": "sh",
    "configure": "sh",
    ".bashrc": "sh",
    ".profile": "sh",
    "rc": "sh",
    "rakefile": "ruby",
    "gemfile": "ruby",
}
_NOT_SOURCE: Final = frozenset(
    [
        ".md",
        ".rst",
        ".txt",
        ".html",
        ".htm",
        ".xml",
        ".json",
        ".yaml",
        ".yml",
        ".toml",
        ".ini",
        ".cfg",
        ".conf",
        ".css",
        ".js",
        ".ts",
        ".tsx",
        ".svg",
        ".po",
        ".pot",
        ".mo",
        ".tex",
        ".texi",
        ".texinfo",
        ".info",
        ".1",
        ".2",
        ".3",
        ".4",
        ".5",
        ".6",
        ".7",
        ".8",
        ".9",
        ".lock",
        ".csv",
        ".log",
        ".m4",
        ".am",
        ".ac",
        ".mk",
        ".cmake",
        ".sgml",
        ".man",
        ".java",
        ".class",
        ".lua",
        ".ml",
        ".mli",
        ".el",
        ".lisp",
        ".scm",
        ".tcl",
        ".vim",
        ".diff",
        ".patch",
    ]
)
PATCHES: Final = (".patch", ".diff")

_INTERPRETERS: Final = (
    (re.compile(r"\b(?:ba|da|k|z|a)?sh\d*\b|\bbats\b|\bexeclineb\b(?!)"), "sh"),
    (re.compile(r"\bperl"), "perl"),
    (re.compile(r"\bpython|\bpypy"), "python"),
    (re.compile(r"\bj?ruby"), "ruby"),
    (re.compile(r"\bphp"), "php"),
    (re.compile(r"\b[gmn]?awk"), "awk"),
    (re.compile(r"\brunhaskell|\brunghc"), "haskell"),
)
_CONTENTS: Final = (
    (re.compile(r"^<\?php\b", re.MULTILINE), "php"),
    (re.compile(r"^\s*#\s*include\s*[<\"]\w", re.MULTILINE), "c"),
    (re.compile(r"^(?:use strict;|package [\w:]+;|=head1 |use Qpsmtpd|my \$\w+|sub \w+\s*\{)", re.MULTILINE), "perl"),
    (re.compile(r"^package \w+\s*$[\s\S]{0,400}^(?:import|func)\b", re.MULTILINE), "go"),
    (re.compile(r"^(?:use std::|fn main\(|pub fn |extern crate )", re.MULTILINE), "rust"),
    (re.compile(r"^module [A-Z][\w.]*\b.*\bwhere|^import qualified |^main\s*::\s*IO", re.MULTILINE), "haskell"),
    (re.compile(r"^(?:import (?:os|sys|socket|re)\b|from [\w.]+ import |def \w+\(.*\):)", re.MULTILINE), "python"),
    (re.compile(r"(?i)^\s*create\s+table\b", re.MULTILINE), "sql"),
    (re.compile(r"^\s*(?:require ['\"]|def \w+[^:\n]*$[\s\S]{0,600}^\s*end\b)", re.MULTILINE), "ruby"),
    (re.compile(r"^(?:BEGIN|END)\s*\{", re.MULTILINE), "awk"),
    (re.compile(r"^\s*(?:if \[ |case \"?\$|esac\b|fi$|export \w+=|exec \d|exec tcpserver)", re.MULTILINE), "sh"),
    (re.compile(r"^\s*(?:static |const |struct |unsigned |void |int |char )[\w\s*]+\w\s*[(\[;=]", re.MULTILINE), "c"),
)
_HEAD: Final = 8192


def _by_name(path: str) -> str | bool | None:
    """Return the language, False for a name that is surely no source code, or None where the name does not say."""
    name = path.replace("\\", "/").rpartition("/")[2].lower()
    for generated in _GENERATED:
        if name.endswith(generated) and len(name) > len(generated):
            name = name[: -len(generated)]
    dot = name.rfind(".")
    suffix = name[dot:] if dot >= 0 else ""
    if path.endswith((".C", ".H")):
        return "cpp"
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if suffix in _NOT_SOURCE and dot > 0:
        return False
    return _NAMES.get(name)


def guess(path: str, text: str) -> str | None:
    """Return the language of ``text``, one of `LANGUAGES`, or None when it is none of them.

    The first line of a script outranks a misleading name; headers that use C++ are C++.
    """
    head = text[:_HEAD]
    named = _by_name(path)
    if head.startswith("#!"):
        first = head.partition("\n")[0]
        program = re.sub(r"^#!\s*(?:\S*/env\s+(?:-\S+\s+)*)?", "", first).rpartition("/")[2]
        for pattern, language in _INTERPRETERS:
            if pattern.search(program):
                if language == "sh" and re.search(r"^exec perl\b|^\s*eval ['\"]exec perl", head, re.MULTILINE):
                    return "perl"
                return language
        if not named:
            return None
    if named is False:
        return None
    if isinstance(named, str):
        if named == "php" and "<?" not in head:
            return "c" if "#include" in head else None
        if named == "perl" and path.endswith(".cgi") and "<?php" in head:
            return "php"
        if path.endswith(".h") and re.search(r"^\s*(?:class \w+|namespace \w+|template\s*<)", head, re.MULTILINE):
            return "cpp"
        return named
    for pattern, language in _CONTENTS:
        if pattern.search(head):
            return language
    return None
