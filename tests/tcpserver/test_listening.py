"""Where it listens: both families on one port, names, zones, sockets of a service manager."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from tests.tcpserver.faults import injected

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Namespace

WHO = ("sh", "-c", "echo $PROTO $TCPREMOTEIP $TCP6REMOTEIP $TCP6INTERFACE")
FAMILY = (
    sys.executable, "-ISc",
    "import socket; s = socket.socket(fileno=0); print(s.family.name, s.getpeername()[0], flush=True); s.detach()",
)  # fmt: skip
ACTIVATE = """
import os, socket, sys
sockets = []
for number, text in enumerate(sys.argv[1].split(",")):
    host, _, kind = text.partition("/")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
    sock.bind((host, 0))
    if not kind:
        sock.listen()
    sockets.append(os.dup(sock.fileno()))
for number, fd in enumerate(sockets):
    os.dup2(os.dup(fd), 60 + number)
for number in range(len(sockets)):
    os.dup2(60 + number, 3 + number)
for fd in range(3 + len(sockets), 100):
    try:
        os.close(fd)
    except OSError:
        pass
environ = {**os.environ, "LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b"}
os.execve(sys.argv[2], sys.argv[2:], environ)
"""


@pytest.mark.parametrize("host", ["0", "", "::", "::0", "0:0:0:0:0:0:0:0", "[::]"])
def test_any_host_serves_both_families_on_one_port_with_true_sockets(
    tcpserver: Callable[..., Server], host: str
) -> None:
    server = tcpserver("-RHl0", host, "0", *FAMILY)
    assert call(server.port, "127.0.0.1").data == b"AF_INET 127.0.0.1\n"
    assert call(server.port, "::1").data == b"AF_INET6 ::1\n"


@pytest.mark.parametrize(
    ("options", "host", "served"),
    [
        (["-4"], "0", {"127.0.0.1"}),
        (["-4"], "::", {"127.0.0.1"}),
        ([], "0.0.0.0", {"127.0.0.1"}),
        ([], "127.0.0.1", {"127.0.0.1"}),
        ([], "127.000.000.001", {"127.0.0.1"}),
        ([], "::ffff:127.0.0.1", {"127.0.0.1"}),
        ([], "::ffff:7f00:1", {"127.0.0.1"}),
        ([], "::1", {"::1"}),
        ([], "[::1]", {"::1"}),
        ([], "0:0::0:1", {"::1"}),
        pytest.param([], "localhost", {"127.0.0.1", "::1"}, marks=pytest.mark.needs("/etc/hosts")),
        pytest.param(["-4"], "localhost", {"127.0.0.1"}, marks=pytest.mark.needs("/etc/hosts")),
    ],
)
def test_a_host_stands_for_these_addresses_and_no_others(
    tcpserver: Callable[..., Server], options: list[str], host: str, served: set[str]
) -> None:
    if host == "localhost":
        known = {str(info[4][0]) for info in socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)}
        served = served & known
    server = tcpserver("-RHl0", *options, host, "0", "cat")
    for address in ("127.0.0.1", "::1"):
        if address in served:
            assert call(server.port, address, b"x").data == b"x"
        else:
            with pytest.raises(ConnectionRefusedError):
                call(server.port, address)


@pytest.mark.netns
def test_a_link_local_host_takes_its_zone_from_itself_or_from_an_option(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns("fe80::1/64")
    for arguments in (["fe80::1%lo"], ["[fe80::1%lo]"], ["-I", "lo", "fe80::1"], ["0"]):
        server = tcpserver("-RHl0", *arguments, "0", *WHO, namespace=inside)
        assert call(server.port, "fe80::1%1", over=inside.socket()).data == b"TCP6 fe80::1 fe80::1 lo\n"


@pytest.mark.netns
def test_a_kernel_with_ipv6_switched_off_serves_ipv4(
    tcpserver: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    inside.set("net/ipv6/conf/all/disable_ipv6", "1")
    server = tcpserver("-RHl0", "0", "0", *WHO, namespace=inside)
    answer = call(server.port, over=inside.socket(socket.AF_INET))
    assert answer.data == b"TCP 127.0.0.1 ::ffff:127.0.0.1\n"


@pytest.mark.peer("strace")
def test_a_kernel_without_a_family_serves_the_other_and_says_so(tcpserver: Callable[..., Server]) -> None:
    # The first socket(2) of a server of host 0 is for the IPv6 listener.
    server = tcpserver("-RHl0", "0", "0", *WHO, command=injected("socket:error=EAFNOSUPPORT:when=1"))
    assert call(server.port).data == b"TCP 127.0.0.1 ::ffff:127.0.0.1\n"
    server.wait_for_line(
        "tcpserver: warning: not listening on IPv6, unable to create socket: address family not supported"
    )
    with pytest.raises(ConnectionRefusedError):
        call(server.port, "::1")


@pytest.mark.peer("strace")
def test_a_port_that_is_free_in_one_family_only_is_not_chosen(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", *WHO, command=injected("bind:error=EADDRINUSE:when=2"))
    for host in ("127.0.0.1", "::1"):
        assert call(server.port, host).data


def start_activated(sockets: str, *arguments: str, env: dict[str, str] | None = None) -> Server:
    command = [sys.executable, "-ISc", ACTIVATE, sockets, *tool("tcpserver"), "-1RHl0", "--listen-fds", *arguments]
    server = Server(command, env={**os.environ, **(env or {})})
    try:
        server.read_port()
    except BaseException:
        server.stop()
        raise
    return server


def test_sockets_of_a_service_manager_are_served_and_its_variables_removed() -> None:
    with start_activated("127.0.0.1,::1", "env") as server:
        environ = call(server.port).data.decode()
        assert "TCPREMOTEIP=127.0.0.1\n" in environ
        assert "LISTEN_" not in environ


def test_a_dual_stack_socket_of_a_service_manager_gives_ipv4_callers_their_address() -> None:
    with start_activated("::", *WHO) as server:
        assert call(server.port).data == b"TCP 127.0.0.1 ::ffff:127.0.0.1\n"
        assert call(server.port, "::1").data == b"TCP6 ::1 ::1\n"


@pytest.mark.parametrize(
    ("sockets", "why"),
    [
        ("127.0.0.1/udp", "unable to take listening socket 3: it is no listening TCP socket"),
        ("127.0.0.1,127.0.0.1/idle", "unable to take listening socket 4: it is no listening TCP socket"),
    ],
)
def test_what_is_no_listening_socket_is_refused(sockets: str, why: str) -> None:
    command = [sys.executable, "-ISc", ACTIVATE, sockets, *tool("tcpserver"), "-RHl0", "--listen-fds", "true"]
    with Server(command) as server:
        assert server.wait() == 111
        server.wait_for_line(f"tcpserver: fatal: {why}")


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, "$LISTEN_PID is '1', this is process"),
        ({"LISTEN_FDS": "1"}, "$LISTEN_PID is not set"),
        ({"LISTEN_FDS": "0", "LISTEN_PID": "1"}, "$LISTEN_FDS is '0'"),
        ({"LISTEN_FDS": "many", "LISTEN_PID": "1"}, "$LISTEN_FDS is 'many'"),
        ({"LISTEN_FDS": "9" * 5000, "LISTEN_PID": "1"}, "$LISTEN_FDS is '9999"),
    ],
)
def test_sockets_that_were_meant_for_somebody_else_are_left_alone(environ: dict[str, str], why: str) -> None:
    with Server([*tool("tcpserver"), "-RHl0", "--listen-fds", "true"], env={**os.environ, **environ}) as server:
        assert server.wait() == 111
        server.wait_for_line(f"tcpserver: fatal: unable to take listening sockets: {why}")


@pytest.mark.peer("systemd-socket-activate")
def test_it_runs_under_systemd_socket_activate(unused: Callable[[], int], peer: Callable[[str], str]) -> None:
    port = unused()
    activate = [peer("systemd-socket-activate"), "-l", f"127.0.0.1:{port}"]
    command = [*activate, *tool("tcpserver"), "-RHl0", "--listen-fds", *WHO]
    with Server(command) as server:
        server.wait_for_line("Listening on")
        assert call(port).data == b"TCP 127.0.0.1 ::ffff:127.0.0.1\n"
