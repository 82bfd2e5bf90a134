"""What a program is told: the same as Debian's tells it, and nothing that is left over from elsewhere."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call
from ucspi_env import Endpoint, dialects
from ucspi_env.tools._environments import Environments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DECOYS = {
    "TCP6INTERFACE": "old0", "TCPREMOTEHOST": "old.example", "TCP6REMOTEHOST": "old.example", "TCPREMOTEINFO": "old",
    "TCP6REMOTEINFO": "old", "TCPLOCALHOST": "old.example", "TCP6REMOTEIP": "2001:db8::bad", "PROTO": "OLD",
    "SSLREMOTEIP": "2001:db8::bad", "REMOTE_ADDR": "2001:db8::bad", "SOCAT_PEERADDR": "[2001:db8::bad]",
    "UCSPI_PROXY_PEER": "127.0.0.1:1", "SSH_CONNECTION": "2001:db8::bad 1 2001:db8::1 2",
}  # fmt: skip
REMOTE = (
    sys.executable, "-c",
    "import ucspi_env; c = ucspi_env.connection(); bad = [p.code for p in c.problems if p.severity != 'notice'];"
    "print(c.remote, c.dialect, c.evidence, bad)",
)  # fmt: skip


def environ(data: bytes) -> dict[str, str]:
    return dict(line.split("=", 1) for line in data.decode().split("\0") if line)


@pytest.mark.peer("tcpserver")
@pytest.mark.parametrize(
    ("options", "host", "caller"),
    [
        (["-RHl0"], "127.0.0.1", "127.0.0.1"),
        (["-RHl0"], "0", "127.0.0.1"),
        (["-RHl0"], "0", "::1"),
        (["-RHl0"], "::1", "::1"),
        (["-6RHl0"], "0", "127.0.0.1"),
        (["-6RHl0"], "0", "::1"),
        (["-4RHl0"], "0", "127.0.0.1"),
        (["-RHl", ""], "127.0.0.1", "127.0.0.1"),
        (["-RHl", "a b"], "::1", "::1"),
    ],
)
def test_the_variables_are_those_of_debians_tcpserver(
    tcpserver: Callable[..., Server], peer: Callable[[str], str], options: list[str], host: str, caller: str
) -> None:
    seen = []
    # Without decoys for what C forgets to remove (A19).
    base = {name: value for name, value in DECOYS.items() if name.startswith("TCP") and "INTERFACE" not in name}
    for command in ([peer("tcpserver")], None):
        server = tcpserver(
            *options, host, "0", "cat", "/proc/self/environ", command=command,
            env={"PATH": "/bin:/usr/bin", "OTHER": "kept", **base},
        )  # fmt: skip
        answer = call(server.port, caller)
        ports = {str(server.port): "LOCAL", str(answer.port): "REMOTE"}
        seen.append({name: ports.get(value, value) for name, value in environ(answer.data).items()})
    assert seen[0] == seen[1]


def test_nothing_of_another_connection_reaches_the_program(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(
        "-RHl0", "0", "0", "cat", "/proc/self/environ", env={"PATH": "/bin:/usr/bin", "KEPT": "1", **DECOYS}
    )
    for caller in ("127.0.0.1", "::1"):
        found = environ(call(server.port, caller).data)
        assert not [value for value in found.values() if "old" in value or "bad" in value]
        assert not {"SSH_CONNECTION", "REMOTE_ADDR", "UCSPI_PROXY_PEER", "TCP6INTERFACE"} & set(found)
        assert found["KEPT"] == "1"


def test_remote_is_right_and_confirmed_under_it(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", *REMOTE, env={"PATH": os.environ["PATH"], **DECOYS})
    for host in ("127.0.0.1", "::1"):
        answer = call(server.port, host)
        assert answer.data.decode() == f"{Endpoint(answer.ip, answer.port)} ucspi-tcp-ipv6 confirmed []\n"


def test_each_caller_has_their_own_port_in_the_environment(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", "sh", "-c", "echo $TCPREMOTEPORT $TCP6REMOTEPORT $TCPREMOTEIP")
    for source in ("127.0.0.1", "127.0.0.2", "::1") * 3:
        answer = call(server.port, "::1" if ":" in source else "127.0.0.1", source=source)
        assert answer.data.decode().split() == [str(answer.port), str(answer.port), source]


@pytest.mark.parametrize(
    ("name", "wanted", "gone"),
    [
        ("ucspi-tcp", {"PROTO": "TCP", "TCPREMOTEIP": "127.0.0.1"}, "TCP6REMOTEIP"),
        ("s6", {"PROTO": "TCP", "TCPREMOTEIP": "127.0.0.1"}, "TCP6REMOTEIP"),
        ("couriertcpd", {"TCPREMOTEIP": "::ffff:127.0.0.1"}, "PROTO"),
        ("socat", {"SOCAT_PEERADDR": "127.0.0.1"}, "TCPREMOTEIP"),
    ],
)
def test_the_environment_can_be_in_another_dialect_with_nothing_left_behind(
    tcpserver: Callable[..., Server], name: str, wanted: Mapping[str, str], gone: str
) -> None:
    server = tcpserver(
        "-RHl0", "--dialect", name, "127.0.0.1", "0", "cat", "/proc/self/environ",
        env={"PATH": "/bin:/usr/bin", **DECOYS},
    )  # fmt: skip
    found = environ(call(server.port).data)
    assert {key: found.get(key) for key in wanted} == wanted
    assert gone not in found
    assert not [value for value in found.values() if "old" in value or "bad" in value]


def test_what_other_dialects_left_may_be_kept(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(
        "-RHl0", "--keep-env", "--dialect", "ucspi-tcp", "127.0.0.1", "0", "cat", "/proc/self/environ",
        env={"PATH": "/bin:/usr/bin", **DECOYS},
    )  # fmt: skip
    found = environ(call(server.port).data)
    assert found["REMOTE_ADDR"] == "2001:db8::bad"
    assert found["TCPREMOTEIP"] == "127.0.0.1"
    assert "TCPREMOTEHOST" not in found
    assert "UCSPI_PROXY_PEER" not in found


def test_an_ipv6_caller_whom_a_dialect_cannot_carry_is_dropped_with_a_line(tcpserver: Callable[..., Server]) -> None:
    narrow = next(row.name for row in dialects() if not row.ipv6 and "tcp" in row.transports)
    server = tcpserver("-RHl0", "--dialect", narrow, "0", "0", "echo", "served")
    assert call(server.port, "::1").data == b""
    server.wait_for_line(f"tcpserver: warning: dropping connection, dialect {narrow} is IPv4 only and cannot carry ::1")
    assert call(server.port).data == b"served\n"


@pytest.mark.parametrize("name", [row.name for row in dialects() if "tcp" in row.transports])
def test_remembered_environments_are_the_same_as_made_ones(name: str) -> None:
    environments = Environments({"PATH": "/bin", **DECOYS}, name)
    local = Endpoint("192.0.2.1", 25, host="0")
    environments.remember("key", environments.make(Endpoint("192.0.2.9", 1111), local))
    recalled = environments.recall("key", 2222)
    assert recalled is None or recalled == environments.make(Endpoint("192.0.2.9", 2222), local)
    assert environments.recall("other", 2222) is None


def test_environments_are_made_of_the_bytes_that_the_server_was_started_with() -> None:
    environments = Environments({"NAME": os.fsdecode(b"caf\xe9"), "WIDE": "\u20ac"})
    made = environments.make(Endpoint("192.0.2.9", 1), Endpoint("192.0.2.1", 25))
    assert (made[b"NAME"], made[b"WIDE"]) == (b"caf\xe9", "\u20ac".encode())
    assert made[b"TCPREMOTEIP"] == b"192.0.2.9"


def test_the_usual_dialect_is_remembered() -> None:
    environments = Environments({})
    environments.remember("key", environments.make(Endpoint("::1", 1), Endpoint("::1", 2)))
    assert environments.recall("key", 3) is not None
