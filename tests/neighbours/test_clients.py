"""Clients of Debian that want descriptors 6 and 7, under our tcpclient."""

from __future__ import annotations

import pytest

from tests.neighbours.scene import HERE, Scene

FAMILIES = pytest.mark.parametrize("family", HERE)


def echo(scene: Scene, *program: str) -> None:
    server = scene.start("ucspi-tcpserver", "-RHl0", "0", "7000", *program)
    scene.wait_until_it_listens(7000, server)


@pytest.mark.peer("mconnect-io")
@FAMILIES
def test_mconnect_io_talks_through_tcpclient(scene: Scene, family: str) -> None:
    echo(scene, "head", "-n", "2")  # one that hangs up: mconnect-io does not
    theirs = f"{scene.peer_directories[0]}/mconnect-io"
    done = scene.run("ucspi-tcpclient", "-RHl0", HERE[family], "7000", theirs, input=b"one\ntwo\n")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"one\r\ntwo\r\n"


@pytest.mark.peer("ucspi-proxy")
@FAMILIES
def test_ucspi_proxy_joins_our_server_to_our_client(scene: Scene, family: str) -> None:
    echo(scene, "cat")
    scene.wait_until_it_listens(7001, scene.script("proxy-run"))
    with scene.connect(HERE[family], 7001) as connection:
        for line in (b"one\n", b"two\n", b"x" * 100_000 + b"\n"):
            connection.sendall(line)
            received = b""
            while len(received) < len(line):
                received += connection.recv(65536)
            assert received == line
