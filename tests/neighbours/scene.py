"""A machine of its own for each test: every port free, a directory that any user may read, our programs on PATH.

What runs there comes from docs/deployment.md, to the letter, with the low ports that it names.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import ucspi_env
from tests.support import PATIENCE, Program, peers
from ucspi_env.tools._catalogue import ADDITIONS, SUITE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from tests.support import Namespace

DOC = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
NOBODY = 65534
HERE = {"IPv4": "127.0.0.1", "IPv6": "::1"}


def snippet(name: str) -> str:
    """A marked block of the documentation."""
    found = re.search(rf"<!-- tested: {re.escape(name)} -->\n```\w*\n(.*?)```", DOC, re.DOTALL)
    assert found, f"docs/deployment.md has no block {name}"
    return found[1]


def documented(command: str) -> list[str]:
    """The words of a command line, which must be in the documentation."""
    assert re.search(rf"^{re.escape(command)}( *#.*)?$|`{re.escape(command)}`", DOC, re.MULTILINE), command
    return command.split()


class Suite(NamedTuple):
    """Our programs, as users have them.

    Attributes:
        djb: the directory that `link` made.
        installed: a directory with the names of the installed scripts, and the ``python3`` that has the package.
    """

    djb: Path
    installed: Path


def make_suite(folder: Path, *, for_everybody: bool) -> Suite:
    """Link the programs.

    Args:
        folder: where.
        for_everybody: with an interpreter and a copy of the package that other users may read, too.

    Raises:
        LookupError: no such interpreter is here.
    """
    folder.chmod(0o755)
    python, package = sys.executable, Path(ucspi_env.__file__).parent
    prelude = ""
    command = [python, "-I", "-m", "ucspi_env.tools.link"]
    if for_everybody:
        python = _everybodys_python()
        copy = folder / "lib" / "ucspi_env"
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        subprocess.run(["chmod", "-R", "go=u,go-w", folder / "lib"], check=True)
        prelude = f"PYTHONPATH={copy.parent} "
        command = ["env", f"PYTHONPATH={copy.parent}", python, "-m", "ucspi_env.tools.link"]
    djb, installed = folder / "djb", folder / "installed"
    subprocess.run([*command, djb], check=True, capture_output=True)
    installed.mkdir()
    for name, module in (SUITE | ADDITIONS).items():
        script = installed / f"ucspi-{name.removesuffix('@')}"
        if name in SUITE:
            script.symlink_to(djb / name)
        else:
            script.write_text(f'#!/bin/sh\n{prelude}exec {python} -m ucspi_env.tools.{module} "$@"\n')
            script.chmod(0o755)
    (installed / "python3").write_text(f'#!/bin/sh\n{prelude}exec {python} "$@"\n')
    (installed / "python3").chmod(0o755)
    return Suite(djb, installed)


def _everybodys_python() -> str:
    check = ["-IS", "-c", "import sys, socket; sys.exit(sys.version_info < (3, 11))"]
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        with contextlib.suppress(OSError):  # not there, or not for others
            if not subprocess.run(
                [candidate, *check], cwd="/", user=NOBODY, group=NOBODY, extra_groups=[], check=False
            ).returncode:
                return candidate
    raise LookupError("no Python here that other users may run")


def until(condition: Callable[[], object], what: Callable[[], object]) -> None:
    """Wait for something that nobody reports, by looking again.

    Raises:
        AssertionError: it did not come; it shows ``what()``.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class Scene:
    """One test's machine.

    Attributes:
        folder: everybody may read it; the test's files go here.
        env: the environment of what is started; PATH leads to ``installed`` and to the peers.
    """

    def __init__(self, folder: Path, namespace: Namespace, suite: Suite, needs: tuple[str, ...]) -> None:
        self.folder = folder
        self.namespace = namespace
        self.suite = suite
        found = [peers().find(name) for name in needs]
        self.peer_directories = list(dict.fromkeys(str(Path(one).parent) for one in found if one))
        self.env = {"PATH": self.path(str(suite.installed)), "HOME": str(folder)}
        self._running: list[Program] = []

    def path(self, *first: str) -> str:
        """A PATH: these directories, the peers', the system's."""
        return ":".join([*first, *self.peer_directories, "/usr/sbin", "/usr/bin", "/sbin", "/bin"])

    def file(self, name: str, text: str, mode: int = 0o755) -> Path:
        """Write a file below ``folder``, an executable one by default."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def start(self, *argv: str, cwd: str = ".") -> Program:
        """Run a program inside until the test is over, in a directory below ``folder``."""
        program = Program(argv, env=self.env, cwd=self.folder / cwd, namespace=self.namespace)
        self._running.append(program)
        return program

    def script(self, name: str, text: str = "") -> Program:
        """Start a run script of the documentation (``text``: as changed by the test); its log becomes the lines."""
        self.file("run", text or snippet(name))
        return self.start("sh", "-c", "exec ./run >&2")

    def run(self, *argv: str, input: bytes = b"", cwd: str = ".") -> subprocess.CompletedProcess[bytes]:
        """Run a program inside to its end."""
        return subprocess.run(
            self.namespace.command(argv), env=self.env, cwd=self.folder / cwd, input=input,
            capture_output=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    def connect(self, host: str, port: int, source: str | None = None) -> socket.socket:
        """A connection inside the namespace."""
        import socket

        made = self.namespace.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            if source is not None:
                made.bind((source, 0))
            made.connect((host, port))
        except OSError:
            made.close()
            raise
        return made

    def ask(self, host: str, port: int, send: bytes = b"", source: str | None = None) -> tuple[bytes, str]:
        """Call, send, read to the end: what came back, and the caller's name for its own end."""
        import socket

        with self.connect(host, port, source) as connection:
            ip, own = connection.getsockname()[:2]
            connection.sendall(send)
            connection.shutdown(socket.SHUT_WR)
            received = bytearray()
            while chunk := connection.recv(65536):
                received += chunk
        return bytes(received), f"[{ip}]:{own}" if ":" in ip else f"{ip}:{own}"

    def listens(self, port: int) -> bool:
        """Whether somebody listens on a TCP port, by the kernel's table: a trial call would be a caller."""
        table = self.run("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout.decode().splitlines()
        return any(fields[1].endswith(f":{port:04X}") and fields[3] == "0A" for fields in map(str.split, table))

    def wait_until_it_listens(self, port: int, server: Program) -> None:
        """Wait for a server that does not say so."""
        until(lambda: self.listens(port) or server.process.poll() is not None, lambda: server.lines)
        assert server.process.poll() is None, server.lines

    def close(self) -> None:
        """End everything, the last one first."""
        for program in reversed(self._running):
            program.stop()


def compile_rules(scene: Scene, where: str, rules: str, name: str = "rules") -> None:
    """Compile rules with our tcprules, to ``name.cdb`` in a directory of the scene."""
    (scene.folder / where).mkdir(parents=True, exist_ok=True)
    done = scene.run("ucspi-tcprules", f"{name}.cdb", f"{name}.tmp", input=rules.encode(), cwd=where)
    assert (done.returncode, done.stderr) == (0, b"")


def stop_supervisor(program: Program) -> None:
    """End a supervisor whose services are down."""
    program.signal(signal.SIGTERM)
    program.wait()
