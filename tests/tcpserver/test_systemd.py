"""Readiness, reload, stop and watchdog, as systemd hears them."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(str(tmp_path / "notify") if request.param == "path" else f"\0{tmp_path}/notify")
        yield listener


def environ(manager: socket.socket, **more: str) -> dict[str, str]:
    name = manager.getsockname()
    text = name if isinstance(name, str) else "@" + name[1:].decode()
    return {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": text, **more}


def test_it_says_ready_reloading_and_stopping(tcpserver: Callable[..., Server], manager: socket.socket) -> None:
    server = tcpserver("-RHl0", "127.0.0.1", "0", "env", env=environ(manager))
    assert manager.recv(1000) == b"READY=1"
    server.signal(signal.SIGHUP)
    reloading, usec = manager.recv(1000).split(b"\n")
    assert reloading == b"RELOADING=1"
    assert usec.startswith(b"MONOTONIC_USEC=")
    assert manager.recv(1000) == b"READY=1"
    server.signal(signal.SIGTERM)
    assert manager.recv(1000) == b"STOPPING=1"
    assert server.wait() == 0


def test_the_loop_shows_signs_of_life_while_nobody_calls(
    tcpserver: Callable[..., Server], manager: socket.socket
) -> None:
    tcpserver("-RHl0", "127.0.0.1", "0", "env", env=environ(manager, WATCHDOG_USEC="20000"))
    assert [manager.recv(1000) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]


def test_a_watchdog_of_somebody_else_is_not_fed(tcpserver: Callable[..., Server], manager: socket.socket) -> None:
    server = tcpserver("-RHl0", "127.0.0.1", "0", "env", env=environ(manager, WATCHDOG_USEC="20000", WATCHDOG_PID="1"))
    assert manager.recv(1000) == b"READY=1"
    server.signal(signal.SIGTERM)
    assert manager.recv(1000) == b"STOPPING=1"


def test_programs_cannot_speak_for_the_server(tcpserver: Callable[..., Server], manager: socket.socket) -> None:
    given = environ(manager, WATCHDOG_USEC="60000000", WATCHDOG_PID="1")
    server = tcpserver("-RHl0", "127.0.0.1", "0", "env", env=given)
    names = {line.partition("=")[0] for line in call(server.port).data.decode().splitlines()}
    assert not names & {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
    assert "PATH" in names


@pytest.mark.parametrize("where", ["/nosuch/socket", "relative", "", "vsock:2:1234"])
def test_a_manager_that_cannot_be_reached_is_no_reason_not_to_serve(
    tcpserver: Callable[..., Server], where: str
) -> None:
    given = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": where, "WATCHDOG_USEC": "soon"}
    server = tcpserver("-RHl0", "127.0.0.1", "0", "cat", env=given)
    assert call(server.port, send=b"x").data == b"x"
