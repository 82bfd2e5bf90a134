"""The servers that are tried: one for each way of starting programs."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING, NamedTuple

from tests.soak.callers import BALANCERS, DENIED, WORD
from tests.support import Server, tool
from ucspi_env.tools.tcpserver import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.soak.ledger import Ledger

SLOTS = 24
SHARE = 6
LIFETIME = 2

_SHELL = ("sh", "-c", 'echo "$ONE$TWO"; exec cat')
_SCRIPT = """\
import os, sys

sys.stdout.buffer.write(f"{os.environ['ONE']}{os.environ['TWO']}\\n".encode())
sys.stdout.buffer.flush()
while chunk := sys.stdin.buffer.read1(65536):
    sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()
"""
_HANDLER = """\
import os


def echo(session):
    session.writer.write(f"{os.environ['ONE']}{os.environ['TWO']}\\n".encode())
    session.writer.flush()
    while chunk := session.reader.read1(65536):
        session.writer.write(chunk)
        session.writer.flush()
"""


class Setup(NamedTuple):
    """A server's command line.

    Attributes:
        name: what it is called in the report.
        options: beside those that all have.
        program: what it runs.
        proxied: whether it takes PROXY headers.
        looks_up: whether it looks up who calls.
    """

    name: str
    options: tuple[str, ...]
    program: tuple[str, ...]
    proxied: bool = False
    looks_up: bool = False


SETUPS = (
    Setup("spawn", (f"--lifetime={LIFETIME}",), _SHELL),
    Setup(
        "confined",
        (f"--lifetime={LIFETIME}", "--rlimit=nofile=64", "--no-new-privs", f"--proxy={BALANCERS}"),
        _SHELL,
        proxied=True,
        looks_up=True,
    ),
    Setup("preload", ("--preload", f"--handler-timeout={LIFETIME}"), ("./script.py",)),
    Setup("reuse", ("--handler", "--reuse=50", "--pool=12", f"--handler-timeout={LIFETIME}"), ("echo:echo",)),
    *((Setup("workers", ("--workers=2", f"--lifetime={LIFETIME}"), _SHELL),) if "workers=" in WORDS else ()),
)


def write_files(directory: Path) -> tuple[bytes, bytes]:
    """Write the programs, and compile both versions of the rules; their bytes."""
    (directory / "script.py").write_text(_SCRIPT)
    (directory / "echo.py").write_text(_HANDLER)
    compiled = []
    network = DENIED.partition(".0.0/")[0]
    for letter in ("a", "b"):
        rules = f'{network}.:deny\n:allow,ONE="{letter * WORD}",TWO="{letter}"\n'
        command = [*tool("tcprules"), str(directory / letter), str(directory / "tmp")]
        subprocess.run(command, input=rules.encode(), check=True)
        compiled.append((directory / letter).read_bytes())
    (directory / "cdb").write_bytes(compiled[0])
    return compiled[0], compiled[1]


class Logged(Server):
    """A tcpserver whose log goes to a ledger line by line, and is not kept."""

    def __init__(self, setup: Setup, directory: Path, ledger: Ledger, lock: threading.Lock, environ: dict[str, str]):
        self._ledger = ledger
        self._lock = lock
        self._rest = b""
        self.other: list[str] = []
        """What the programs say, who have the same stderr."""
        super().__init__(
            [
                *tool("tcpserver"),
                *("-1v", "-Rl0" if setup.looks_up else "-RHl0", f"-c{SLOTS}", f"-C{SHARE}", "-b512"),
                *("-x", str(directory / "cdb"), "--log-format=json", "--drain=60"),
                *("--metrics", str(directory / f"{setup.name}.sock"), *setup.options),
                *("0", "0", *setup.program),
            ],
            env=environ,
            cwd=directory,
        )

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        with self._lock:
            for line in lines:
                # What a program is saying in several pieces may stand before it.
                other, mark, ours = line.partition(b'{"time":')
                if other:
                    self.other.append(other.decode(errors="replace"))
                if mark:
                    self._ledger.line((mark + ours).decode())
        if not chunk:
            super()._take(chunk)
