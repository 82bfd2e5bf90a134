"""--proxy: the caller is who the balancer says, and only balancers may say."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from ucspi_env import Endpoint
from ucspi_env.proxy import ProxyHeader, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHOW = (
    "sh",
    "-c",
    'echo "$PROTO $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT ${UCSPI_PROXY_PEER-direct}"; cat',
)
V1 = b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::9 2001:db8::1 4711 25\r\n"
V2 = encode(
    ProxyHeader(
        family="inet", transport="stream", source=Endpoint("192.0.2.9", 4711), destination=Endpoint("192.0.2.1", 25)
    )
)
LOCAL = encode(ProxyHeader(command="LOCAL"))
TRUSTED = "127.0.0.1/32, ::1"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (V1, "TCP 192.0.2.9 4711 192.0.2.1 25"),
        (V2, "TCP 192.0.2.9 4711 192.0.2.1 25"),
        (V1_SIX, "TCP6 2001:db8::9 4711 2001:db8::1 25"),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_balancers_header_is_the_caller_and_the_rest_is_the_programs(
    tcpserver: Callable[..., Server], header: bytes, said: str, host: str
) -> None:
    server = tcpserver("-vRHl0", "--proxy", TRUSTED, "0", "0", *SHOW)
    answer = call(server.port, host, header + b"payload")
    assert answer.data.decode() == f"{said} {Endpoint(answer.ip, answer.port)}\npayload"
    shown = "[2001:db8::9]" if "TCP6" in said else "192.0.2.9"
    assert server.wait_for_line(" ok ").endswith(f":{shown}::4711")


def test_remote_takes_the_proxied_caller_as_proven(tcpserver: Callable[..., Server]) -> None:
    program = "import ucspi_env; c = ucspi_env.connection(); print(c.remote, c.evidence)"
    server = tcpserver("-RHl0", "--proxy", TRUSTED, "0", "0", tool("x")[0], "-c", program)
    assert call(server.port, send=V1).data == b"192.0.2.9:4711 proxy\n"


def test_a_header_may_come_byte_by_byte(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "--proxy", TRUSTED, "127.0.0.1", "0", *SHOW)
    with socket.create_connection(("127.0.0.1", server.port)) as balancer:
        balancer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(V1)):
            balancer.sendall(V1[at : at + 1])
        with balancer.makefile() as lines:
            assert lines.readline().startswith("TCP 192.0.2.9 4711 ")


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", ""),
        (b"PROXY TCP4 192.0.2.9 192.0.2.1 1_0 25\r\n", ""),
        (b"PROXY TCP4 192.0.2.9 192.0.2.1 +10 25\r\n", ""),
        (b"P" * 5000, ""),
        (b"", "connection ended without a byte"),
        (V1[:20], "connection ended after 20 bytes"),
        (b"PROXY TCP4 0.0.0.0 192.0.2.1 4711 25\r\n", "0.0.0.0 cannot be a caller"),
    ],
)
def test_a_balancer_without_a_good_header_is_dropped_with_one_line(
    tcpserver: Callable[..., Server], sent: bytes, why: str
) -> None:
    server = tcpserver("-RHl0", "--proxy", TRUSTED, "127.0.0.1", "0", *SHOW)
    answer = call(server.port, send=sent)
    assert answer.data == b""
    server.wait_for_line(
        f"tcpserver: warning: dropping connection, unable to read PROXY header from 127.0.0.1:{answer.port}: {why}"
    )
    assert len(server.lines) == 1
    assert call(server.port, send=V1).data


def test_unknown_is_dropped_and_local_is_closed(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "--proxy", TRUSTED, "127.0.0.1", "0", *SHOW)
    assert call(server.port, send=LOCAL).data == b""
    answer = call(server.port, send=b"PROXY UNKNOWN\r\n")
    assert answer.data == b""
    server.wait_for_line(f"PROXY header from 127.0.0.1:{answer.port} names no caller but UNKNOWN")
    assert len(server.lines) == 1


def test_a_header_that_never_comes_is_waited_for_so_long_and_holds_nobody_up(
    tcpserver: Callable[..., Server],
) -> None:
    server = tcpserver("-RHl0", "-c1", "--proxy", TRUSTED, "--proxy-timeout", "1", "127.0.0.1", "0", *SHOW)
    with socket.create_connection(("127.0.0.1", server.port)) as silent:
        assert call(server.port, send=V1).data
        port = silent.getsockname()[1]
        assert silent.recv(1) == b""
    server.wait_for_line(f"unable to read PROXY header from 127.0.0.1:{port}: timed out")


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_header_from_anybody_else_never_wins(tcpserver: Callable[..., Server], header: bytes) -> None:
    server = tcpserver("-RHl0", "--proxy", "10.0.0.0/8", "0", "0", *SHOW)
    for host in ("127.0.0.1", "::1"):
        answer = call(server.port, host, header)
        assert answer.data == b""
        peer = Endpoint(answer.ip, answer.port)
        server.wait_for_line(f"dropping connection, PROXY header from {peer}, which is no trusted balancer")


def test_anybody_else_is_served_directly(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "--proxy", "10.0.0.0/8", "127.0.0.1", "0", *SHOW)
    for said in (b"EHLO a\r\n", b"", b"PROX", b"PROXIMITY"):
        answer = call(server.port, send=said)
        assert answer.data.endswith(b" direct\n" + said)
    # A caller of a protocol in which the server speaks first.
    with socket.create_connection(("127.0.0.1", server.port)) as caller, caller.makefile() as lines:
        assert lines.readline().endswith(" direct\n")


def test_rules_and_limits_see_the_proxied_caller(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    command = [*tool("tcprules"), str(tmp_path / "r.cdb"), str(tmp_path / "r.tmp")]
    subprocess.run(command, input=b"192.0.2.66:deny\n", check=True)
    rules = str(tmp_path / "r.cdb")
    server = tcpserver("-vRHl0", "-C1", "-x", rules, "--proxy", TRUSTED, "127.0.0.1", "0", *SHOW)
    denied = V1.replace(b"192.0.2.9", b"192.0.2.66")
    assert call(server.port, send=denied).data == b""
    assert server.wait_for_line(" deny ").endswith(":192.0.2.66::4711")
    with socket.create_connection(("127.0.0.1", server.port)) as first:
        first.sendall(V1)
        server.wait_for_line(" ok ")
        assert call(server.port, send=V1).data == b""
        assert server.wait_for_line(" limit ").endswith(":192.0.2.9::4711")
        assert call(server.port, send=V1.replace(b"192.0.2.9", b"192.0.2.8")).data


def test_an_inherited_proof_is_removed(tcpserver: Callable[..., Server]) -> None:
    environ = {"PATH": os.environ["PATH"], "UCSPI_PROXY_PEER": "127.0.0.1:1", "SSL_PROTOCOL": "TLSv1.3"}
    server = tcpserver("-RHl0", "127.0.0.1", "0", "env", env=environ)
    data = call(server.port).data
    assert b"UCSPI_PROXY_PEER" not in data
    assert b"SSL_PROTOCOL" not in data
