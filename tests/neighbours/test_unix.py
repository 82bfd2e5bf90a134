"""UNIX-domain servers: who the caller is comes from the kernel and from the super-server's variables."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.neighbours.scene import Scene, documented, snippet, until
from tests.support import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Program


def ask(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(path))
        received = b""
        while chunk := connection.recv(100):
            received += chunk
    return received.decode()


def wait_until_it_listens(scene: Scene, path: Path, server: Program) -> None:
    """A socket has its name before it listens, so the name is not enough."""

    def listening() -> bool:
        table = (line.split() for line in scene.run("cat", "/proc/net/unix").stdout.decode().splitlines()[1:])
        # __SO_ACCEPTCON
        return any(int(fields[3], 16) & 0x10000 and os.path.basename(fields[-1]) == path.name for fields in table)

    until(lambda: listening() or server.process.poll() is not None, lambda: server.lines)
    assert server.process.poll() is None, server.lines


def ids_inside(scene: Scene) -> tuple[str, str]:
    """User and group of the test, as a program in the namespace sees them."""
    return scene.run("id", "-u").stdout.decode().strip(), scene.run("id", "-g").stdout.decode().strip()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("unixserver ./who.socket ./who", marks=pytest.mark.peer("unixserver")),
        pytest.param(
            "s6-ipcserver ./who.socket ./who", marks=pytest.mark.peer("s6-ipcserver-socketbinder", "s6-ipcserverd")
        ),
    ],
    ids=["unixserver", "s6-ipcserver"],
)
def test_a_program_knows_which_user_calls(scene: Scene, command: str) -> None:
    scene.file("who", snippet("who"))
    words = documented(command)
    if words[0] == "s6-ipcserver":
        # Which is these two; it finds them only where its package installs them.
        words = ["s6-ipcserver-socketbinder", words[1], "s6-ipcserverd", *words[2:]]
    server = scene.start(*words)
    path = scene.folder / "who.socket"
    wait_until_it_listens(scene, path, server)
    uid, gid, pid = ask(path).split()
    assert (uid, gid) == ids_inside(scene)
    if words[0] == "unixserver":
        assert int(pid) == os.getpid()


@pytest.mark.peer("unixserver", "bcron-spool", "bcrontab")
def test_a_gate_in_front_of_bcron_lets_one_user_in(scene: Scene) -> None:
    for part in ("crontabs", "tmp"):
        (scene.folder / "spool" / part).mkdir(parents=True)
    scene.env |= {"BCRON_SPOOL": str(scene.folder / "spool"), "BCRON_SOCKET": "./bcron.socket", "USER": "root"}
    scene.file("only", snippet("only"))
    scene.file("crontab", "* * * * * true\n", 0o644)
    server = scene.script("bcron-run")
    wait_until_it_listens(scene, scene.folder / "bcron.socket", server)
    assert ids_inside(scene)[0] == "0"

    stored = scene.run("bcrontab", "crontab")
    assert not stored.returncode, stored.stderr
    assert scene.run("bcrontab", "-l").stdout == b"* * * * * true\n"


@pytest.mark.peer("unixserver", "bcron-spool", "bcrontab")
def test_the_gate_refuses_everybody_else(scene: Scene) -> None:
    scene.env |= {"BCRON_SOCKET": "./bcron.socket", "USER": "root"}
    scene.file("only", snippet("only"))
    script = snippet("bcron-run").replace(" 0 bcron-spool", " 12345 bcron-spool")
    assert script != snippet("bcron-run")
    server = scene.script("bcron-run", script)
    wait_until_it_listens(scene, scene.folder / "bcron.socket", server)
    assert scene.run("bcrontab", "-l").returncode
    server.wait_for_line(f"only: user {ids_inside(scene)[0]} is refused")
