"""Where the programs of other packages are: Debian's own tcpserver, the inetds, socat, HAProxy, ….

`.ci/peers.txt` says which package a program comes from. Packages that conflict with one another are unpacked side by
side, each in a root of its own (`.peers/<package>/usr/bin/…`, or under `$UCSPI_PEERS`); the others are taken from the
system.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class Peer(NamedTuple):
    """One line of the table."""

    package: str
    mode: str  # "install" or "unpack"
    programs: tuple[str, ...]  # plain names, or absolute paths where a program is not on PATH


class PeerTable:
    """The table and the places to look."""

    def __init__(self, rows: list[Peer], unpacked: Path) -> None:
        self.rows = rows
        self.unpacked = unpacked

    @classmethod
    def read(cls, text: str, unpacked: Path) -> PeerTable:
        """Parse the table: package, mode, programs; ``#`` begins a comment."""
        rows = []
        for line in text.splitlines():
            words = line.partition("#")[0].split()
            if words:
                rows.append(Peer(words[0], words[1], tuple(words[2:])))
        return cls(rows, unpacked)

    def find(self, name: str) -> str | None:
        """The absolute path of a program, or None.

        Args:
            name: ``"tcpserver"``, from the first package of the table that has it; ``"ucspi-tcp/tcpserver"`` names one.
        """
        package, _, program = name.rpartition("/")
        for row in self.rows:
            if package in ("", row.package):
                for known in row.programs:
                    if known == program or known.rpartition("/")[2] == program:
                        found = self._in_package(row, known)
                        if found:
                            return found
        return None if package else _on_path(program)

    def package_root(self, package: str) -> Path:
        """Where a package's files are: its own root if it is unpacked, else ``/``."""
        own = self.unpacked / package
        return own if own.is_dir() else Path("/")

    def runnable(self, found: str, directory: Path) -> str:
        """A program that runs where it lies, though its package is unpacked and not installed.

        Debian's small clients are shell scripts that call the programs of their package by absolute paths, which would
        be those of an installed package or nobody's.

        Args:
            found: what `find` gave.
            directory: where a script that calls the unpacked programs is written.
        """
        path = Path(found)
        if not path.is_relative_to(self.unpacked) or not path.read_bytes().startswith(b"#!/bin/sh"):
            return found
        script = path.read_text()
        for program in path.parent.iterdir():
            script = re.sub(rf"/usr/bin/{re.escape(program.name)}(?![\w@-])", str(program), script)
        changed = directory / path.name
        changed.write_text(script)
        changed.chmod(0o755)
        return str(changed)

    def _in_package(self, row: Peer, program: str) -> str | None:
        root = self.unpacked / row.package
        directories = ("",) if program.startswith("/") else SYSTEM_DIRECTORIES
        for directory in directories:
            path = root / f"{directory}/{program}".lstrip("/")
            if _usable(path):
                return str(path)
        found = _on_path(program)
        return found if found and _owned_by(row.package, found) else None


def _usable(path: Path) -> bool:
    return os.access(path, os.R_OK if path.suffix in (".so", ".pm") else os.X_OK)


def _on_path(program: str) -> str | None:
    if program.startswith("/"):
        return program if _usable(Path(program)) else None
    return shutil.which(program) or shutil.which(program, path=":".join(SYSTEM_DIRECTORIES))


@functools.cache
def _owned_by(package: str, path: str) -> bool:
    """Whether the system's package manager knows the file as this package's; True where there is no such manager."""
    info = Path("/var/lib/dpkg/info")
    if not info.is_dir():
        return True
    names = {path, path.removeprefix("/usr"), f"/usr{path}"}
    lists = [*info.glob(f"{package}.list"), *info.glob(f"{package}:*.list")]
    return any(names & set(one.read_text().split("\n")) for one in lists)


@functools.cache
def peers() -> PeerTable:
    """The table of this checkout."""
    unpacked = Path(os.environ.get("UCSPI_PEERS") or ROOT / ".peers")
    return PeerTable.read((ROOT / ".ci" / "peers.txt").read_text(), unpacked)
