"""``ucspi-envcheck shim``: an IPv4-only server lives behind a dual-stack tcpserver."""

from __future__ import annotations

import socket
import subprocess
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envcheck.running import CLEAN, ENVCHECK, PYTHON, envcheck, said
from tests.support import call, listening
from ucspi_env import Endpoint
from ucspi_env.envcheck._shim import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Server

SHOW = "import os; print(os.getpid()); [print(f'{k}={v}') for k, v in sorted(os.environ.items())]"
PEER6 = {
    "PROTO": "TCP6",
    "TCPREMOTEIP": "2001:db8::1",
    "TCPREMOTEPORT": "4711",
    "TCPLOCALIP": "2001:db8::2",
    "TCPLOCALPORT": "25",
    "TCP6REMOTEIP": "2001:db8::1",
    "TCP6REMOTEPORT": "4711",
    "TCP6LOCALIP": "2001:db8::2",
    "TCP6LOCALPORT": "25",
}
PEER4 = {
    "PROTO": "TCP",
    "TCPREMOTEIP": "192.0.2.1",
    "TCPREMOTEPORT": "4711",
    "TCPLOCALIP": "198.51.100.1",
    "TCPLOCALPORT": "25",
}


def shimmed(variables: dict[str, str], *options: str) -> dict[str, str]:
    """The environment that a program gets."""
    done = envcheck("shim", *options, "--", *PYTHON, "-c", SHOW, env=variables)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in said(done).splitlines()[1:] if "=" in line)


def ucspi(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name not in CLEAN}


@pytest.mark.parametrize("text", ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201", "0:0:0:0:0:FFFF:192.0.2.1"])
def test_mapped_becomes_ipv4(text: str) -> None:
    mapped = {**PEER4, "PROTO": "TCP6", "TCPREMOTEIP": text, "TCPLOCALIP": "::ffff:198.51.100.1", "TCP6REMOTEIP": text}

    assert ucspi(shimmed(mapped)) == PEER4


def test_tcp6_variables_alone_become_tcp_ones() -> None:
    only6 = {name: value for name, value in PEER6.items() if not name.startswith("TCPREMOTE")}
    only6 |= {"TCP6REMOTEIP": "::ffff:192.0.2.1", "TCP6REMOTEPORT": "4711", "TCP6LOCALIP": "::ffff:198.51.100.1"}
    del only6["TCPLOCALIP"], only6["TCPLOCALPORT"]

    assert ucspi(shimmed(only6)) == PEER4


def test_ipv6_callers_are_refused_with_a_message() -> None:
    done = envcheck("shim", "--", "echo", "served", env=PEER6)

    assert done.returncode == 100
    assert done.stdout == b"421 this server cannot take IPv6 callers yet\r\n"
    assert done.stderr.decode().startswith("ucspi-envcheck: shim: pid ")
    assert done.stderr.decode().endswith(" refused [2001:db8::1]:4711\n")


def test_the_message_can_be_chosen_or_left_out() -> None:
    assert envcheck("shim", "--message", "-ERR no", "--", "true", env=PEER6).stdout == b"-ERR no\r\n"
    assert envcheck("shim", "--message", "", "--", "true", env=PEER6).stdout == b""


def test_ipv6_callers_can_be_passed() -> None:
    assert ucspi(shimmed(PEER6 | {"SSLREMOTEIP": "192.0.2.99"}, "--ipv6", "pass")) == PEER6


def test_ipv6_callers_can_be_shown_as_stand_ins() -> None:
    done = envcheck("shim", "--ipv6", "map", "--", *PYTHON, "-c", SHOW, env=PEER6)
    environ = dict(line.split("=", 1) for line in said(done).splitlines()[1:])

    assert ip_address(environ["TCPREMOTEIP"]) in ip_network("240.0.0.0/4")
    assert environ["PROTO"] == "TCP"
    assert environ["TCPREMOTEPORT"] == "4711"
    assert not any(name.startswith("TCP6") for name in environ)
    assert f"shows [2001:db8::1]:4711 as {environ['TCPREMOTEIP']}:4711" in done.stderr.decode()


def test_a_whole_network_has_one_stand_in_on_every_run() -> None:
    def shown(ip: str) -> str:
        return shimmed({**PEER6, "TCPREMOTEIP": ip, "TCP6REMOTEIP": ip}, "--ipv6", "map:10.0.0.0/8")["TCPREMOTEIP"]

    first = shown("2001:db8:0:1::1")
    assert first == shown("2001:db8:0:1:ffff::abcd")
    assert first != shown("2001:db8:0:2::1")
    assert ip_address(first) in ip_network("10.0.0.0/8")


@given(st.integers(0, 2**128 - 1), st.integers(3, 29), st.integers(1, 2**32 - 1))
def test_no_stand_in_is_an_address_that_means_something_else(caller: int, prefix: int, base: int) -> None:
    from ipaddress import IPv4Network, IPv6Address

    network = IPv4Network((base, prefix), strict=False)
    end = Endpoint(IPv6Address(caller), 25)
    if end.ip.version == 4:
        return

    shown = stand_in(end, network).ip

    assert shown in network
    assert shown not in (network.network_address, network.broadcast_address)
    assert not shown.is_unspecified


def test_names_are_sanitised_and_stale_families_removed() -> None:
    stale = {
        "TCPREMOTEHOST": "Client.Example.",
        "TCPREMOTEINFO": "a\nb",
        "SSLREMOTEIP": "192.0.2.99",
        "TCP6INTERFACE": "eth9",
        "REMOTE_ADDR": "192.0.2.98",
        "NCAT_REMOTE_ADDR": "192.0.2.97",
        "SOCAT_PEERADDR": "192.0.2.96",
        "FOO_PEERADDR": "192.0.2.95",
        "FOO_PEERPORT": "1",
        "UNIXREMOTEEUID": "0",
        "OTHER": "stays",
    }

    assert ucspi(shimmed(PEER4 | stale)) == PEER4 | {"TCPREMOTEHOST": "client.example", "OTHER": "stays"}
    assert "TCPREMOTEHOST" not in shimmed(PEER4 | {"TCPREMOTEHOST": "$(rm -rf x)"})
    assert "TCPREMOTEHOST" not in shimmed(PEER4 | {"TCPREMOTEHOST": "203.0.113.9"})


def test_it_becomes_the_program() -> None:
    with subprocess.Popen(
        [*ENVCHECK, "shim", "--", "sh", "-c", "echo $$; exit 7"],
        env=CLEAN | PEER4,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        said_pid = process.stdout.read()

    assert int(said_pid) == process.pid
    assert process.returncode == 7


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "no super-server speaks"),
        ({"PROTO": "TCP", "TCPREMOTEIP": "0.0.0.0"}, "stands for an unknown address"),
        ({"PROTO": "TCP", "TCPREMOTEIP": "\udcff\n"}, "is not an IP address"),
        ({"PROTO": "UNIX", "UNIXREMOTEEUID": "0"}, "UNIX-domain"),
    ],
)
def test_without_a_peer_nothing_is_run(variables: dict[str, str], reason: str) -> None:
    done = envcheck("shim", "--", "echo", "served", env=variables)

    assert (done.returncode, said(done)) == (111, "")
    assert done.stderr.decode().startswith("ucspi-envcheck: fatal: ")
    assert reason in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_a_program_that_cannot_be_run_is_111_in_the_words_of_c() -> None:
    done = envcheck("shim", "--", "no-such-program", env=PEER4)

    assert done.returncode == 111
    assert done.stderr == b"ucspi-envcheck: fatal: unable to run no-such-program: file does not exist\n"


@pytest.mark.parametrize(
    "options",
    [["--ipv6", "drop"], ["--ipv6", "map:nonsense"], ["--ipv6", "map:0.0.0.0/0"], ["--ipv6", "map:192.0.2.0/30"],
     ["--ipv6", "map:2001:db8::/32"], ["--ipv6", "pass:x"], ["--trust", "me"], ["--nonsense"], ["--ipv6"]],
)  # fmt: skip
def test_wrong_use_is_2(options: list[str]) -> None:
    done = envcheck("shim", *options, *(["--", "true"] if options != ["--ipv6"] else []), env=PEER4)

    assert (done.returncode, said(done)) == (2, "")
    assert b"usage: ucspi-envcheck shim" in done.stderr


# -- on real sockets --

SERVER = (
    "import os; print(*(os.environ.get(n, '-') for n in ('PROTO', 'TCPREMOTEIP', 'TCPREMOTEPORT', 'TCP6REMOTEIP')))"
)


def behind(tcpserver: Callable[..., Server], command: list[str] | None, host: str, *options: str) -> Server:
    flags = ["-RHl0"]
    return tcpserver(*flags, host, "0", *ENVCHECK, "shim", *options, "--", *PYTHON, "-c", SERVER, command=command)


@pytest.mark.parametrize(
    "whose", ["ours", pytest.param("Debian's", marks=pytest.mark.peer("ucspi-tcp-ipv6/tcpserver"))]
)
def test_live_behind_a_dual_stack_tcpserver(
    tcpserver: Callable[..., Server], peer: Callable[[str], str], whose: str
) -> None:
    command = None if whose == "ours" else [peer("ucspi-tcp-ipv6/tcpserver")]
    refusing = behind(tcpserver, command, "::0")
    mapping = behind(tcpserver, command, "::0", "--ipv6", "map")

    answer = call(refusing.port, "127.0.0.1")
    assert answer.data.decode().split() == ["TCP", "127.0.0.1", str(answer.port), "-"]
    assert call(refusing.port, "::1").data == b"421 this server cannot take IPv6 callers yet\r\n"
    refusing.wait_for_line("refused [::1]:")
    answer = call(mapping.port, "::1")
    proto, ip, port, twin = answer.data.decode().split()
    assert (proto, port, twin) == ("TCP", str(answer.port), "-")
    assert ip_address(ip) in ip_network("240.0.0.0/4")
    mapping.wait_for_line(f"shows [::1]:{answer.port} as {ip}:{port}")


@pytest.mark.peer("ucspi-tcp-ipv6/tcpserver")
def test_live_under_tcpserver_with_mapped_text(tcpserver: Callable[..., Server], peer: Callable[[str], str]) -> None:
    server = tcpserver(
        "-6RHl0", "::0", "0", *ENVCHECK, "shim", "--", *PYTHON, "-c", SERVER,
        command=[peer("ucspi-tcp-ipv6/tcpserver")],
    )  # fmt: skip

    answer = call(server.port, "127.0.0.1")

    assert answer.data.decode().split() == ["TCP", "127.0.0.1", str(answer.port), "-"]


def test_a_proxied_caller_keeps_its_proof() -> None:
    with listening() as (listener, port), socket.create_connection(("127.0.0.1", port)) as balancer:
        connection, (ip, balancer_port) = listener.accept()
        with connection:
            proof = {"UCSPI_PROXY_PEER": f"{ip}:{balancer_port}"}
            done = envcheck("shim", "--", *PYTHON, "-c", SHOW, env=PEER4 | proof, stdin=connection.fileno())
        assert balancer.getsockname()[1] == balancer_port

    assert ucspi(dict(line.split("=", 1) for line in said(done).splitlines()[1:])) == PEER4 | proof
