"""What a program is told: the same as Debian's tells it, and nothing that is left over from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from ucspi_env import Endpoint, dialects
from ucspi_env.tools._environments import REMEMBERED, Environments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DECOYS = {
    "TCP6INTERFACE": "old0", "TCPREMOTEHOST": "old.example", "TCP6REMOTEHOST": "old.example", "TCPREMOTEINFO": "old",
    "TCP6REMOTEINFO": "old", "TCPLOCALHOST": "old.example", "TCP6REMOTEIP": "2001:db8::bad", "PROTO": "OLD",
    "SSLREMOTEIP": "2001:db8::bad", "REMOTE_ADDR": "2001:db8::bad", "SOCAT_PEERADDR": "[2001:db8::bad]",
    "RELAY_PEERADDR": "[2001:db8::bad]", "RELAY_SOCKADDR": "[2001:db8::bad]", "RELAY_PEERPORT": "old",
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
    kept = environments.remember("key", environments.make(Endpoint("192.0.2.9", 1111), local))
    assert environments.recall("key") is kept
    assert kept is None or kept.make(2222) == environments.make(Endpoint("192.0.2.9", 2222), local)
    assert environments.recall("other") is None


def test_environments_are_made_of_the_bytes_that_the_server_was_started_with() -> None:
    environments = Environments({"NAME": os.fsdecode(b"caf\xe9"), "WIDE": "\u20ac"})
    made = environments.make(Endpoint("192.0.2.9", 1), Endpoint("192.0.2.1", 25))
    assert (made[b"NAME"], made[b"WIDE"]) == (b"caf\xe9", "\u20ac".encode())
    assert made[b"TCPREMOTEIP"] == b"192.0.2.9"


def test_the_usual_dialect_is_remembered() -> None:
    environments = Environments({})
    kept = environments.remember("key", environments.make(Endpoint("::1", 1), Endpoint("::1", 2)))
    assert kept is not None
    assert kept.ports == (b"TCP6REMOTEPORT", b"TCPREMOTEPORT")


def test_environments_with_what_others_wrote_are_made_anew_for_each_caller() -> None:
    environments = Environments({"REMOTE_PORT": "1"}, keep=True)
    assert environments.remember("key", environments.make(Endpoint("::1", 1), Endpoint("::1", 2))) is None


def test_no_two_templates_have_one_number() -> None:
    environments = Environments({})
    made = environments.make(Endpoint("::1", 1), Endpoint("::1", 2))
    kept = [environments.remember(key, made) for key in (*range(REMEMBERED + 1), 0)]
    assert len({template.number for template in kept if template is not None}) == REMEMBERED + 2


TWICE = """
import ctypes, sys
def array(words):
    return (ctypes.c_char_p * (len(words) + 1))(*words, None)
words = [word.encode() for word in sys.argv[1:]]
given = [b"PATH=/bin:/usr/bin", b"PROTO=SSL", b"PROTO", b"=TCPREMOTEIP=203.0.113.3"]
given += [b"TCPREMOTEIP=203.0.113.1", b"TCPREMOTEIP=203.0.113.2"] + [b"TCP6REMOTEIP=2001:db8::bad"] * 2
given += [b"X\\nTCPREMOTEIP=203.0.113.4", b"Y=1\\nTCPREMOTEIP=203.0.113.5"]
given += [b"L" * 100_000 + b"=1", b"TCPREMOTEIP" + b"X" * 100_000 + b"=203.0.113.6", b"TCPREMOTEHOST="]
ctypes.CDLL(None).execve(words[0], array(words), array(given))
"""


@pytest.mark.parametrize("options", [[], ["--rlimit=core=0"]])
def test_an_environment_that_nobody_would_write_poses_as_nothing(
    tcpserver: Callable[..., Server], options: list[str]
) -> None:
    """Names twice, without a value or with no name at all; with line ends in them; of 100 KiB."""
    prepare = [sys.executable, "-I", "-c", TWICE]
    server = tcpserver(
        "-RHl0", *options, "127.0.0.1", "0", "cat", "/proc/self/environ", command=[*prepare, *tool("tcpserver")]
    )
    answer = call(server.port)
    given = answer.data.split(b"\0")
    for name, value in ((b"TCPREMOTEIP", b"127.0.0.1"), (b"TCP6REMOTEIP", b"::ffff:127.0.0.1"), (b"PROTO", b"TCP")):
        assert [one for one in given if one.partition(b"=")[0] == name] == [name + b"=" + value]
    # What is no variable of a connection stays as it came: a line end does not end a variable.
    assert b"Y=1\nTCPREMOTEIP=203.0.113.5" in given
    assert not [one for one in given if one.startswith((b"TCPREMOTEHOST=", b"="))]


@pytest.mark.parametrize("options", [[], ["--rlimit=core=0"]])
def test_a_variable_that_the_system_does_not_take_costs_its_caller_only(
    tcpserver: Callable[..., Server], tmp_path: Path, options: list[str]
) -> None:
    """Linux takes no string of more than 128 KiB."""
    compile_rules = [*tool("tcprules"), str(tmp_path / "cdb"), str(tmp_path / "tmp")]
    rules = b'127.0.0.9:allow,LONG="' + b"x" * 131072 + b'"\n:allow\n'
    subprocess.run(compile_rules, input=rules, check=True)
    server = tcpserver("-RHl0", "-x", str(tmp_path / "cdb"), *options, "127.0.0.1", "0", "cat")
    assert call(server.port, send=b"x", source="127.0.0.9").data == b""
    assert call(server.port, send=b"x").data == b"x"
    assert server.stop() == ["tcpserver: warning: dropping connection, unable to run cat: argument list too long"]
