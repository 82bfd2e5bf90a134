"""What the program under tcpclient gets: descriptors, signals, environment."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest

import ucspi_env
from tests.support import PATIENCE, Program, listening
from tests.tcpclient.probing import BARE, OURS, PROBE, client, heard, probe, probed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Namespace

V4 = {
    "PROTO": "TCP",
    "TCPLOCALHOST": "0",
    "TCPLOCALIP": "127.0.0.1",
    "TCPLOCALPORT": "LOCALPORT",
    "TCPREMOTEIP": "127.0.0.1",
    "TCP6LOCALHOST": "0",
    "TCP6LOCALIP": "::ffff:127.0.0.1",
    "TCP6LOCALPORT": "LOCALPORT",
    "TCP6REMOTEIP": "::ffff:127.0.0.1",
}
MAPPED = V4 | {"PROTO": "TCP6", "TCPLOCALIP": "::ffff:127.0.0.1", "TCPREMOTEIP": "::ffff:127.0.0.1"}
V6 = dict.fromkeys(("TCPLOCALIP", "TCPREMOTEIP", "TCP6LOCALIP", "TCP6REMOTEIP"), "::1") | {
    "PROTO": "TCP6",
    "TCPLOCALHOST": "0",
    "TCPLOCALPORT": "LOCALPORT",
    "TCP6LOCALHOST": "0",
    "TCP6LOCALPORT": "LOCALPORT",
}
# What an outer tcpserver, tcpclient or anything else may have left behind.
STALE = {
    "PROTO": "TCP6",
    "TCPREMOTEHOST": "evil.example",
    "TCPREMOTEINFO": "root",
    "TCP6REMOTEHOST": "evil.example",
    "TCP6REMOTEINFO": "root",
    "TCP6REMOTEIP": "2001:db8::666",
    "TCP6REMOTEPORT": "666",
    "TCPINTERFACE": "eth9",
    "TCP6INTERFACE": "eth9",
    "UCSPI_PROXY_PEER": "192.0.2.66:666",
}


def with_port(variables: dict[str, str], port: int) -> dict[str, str]:
    return variables | {"TCPREMOTEPORT": str(port), "TCP6REMOTEPORT": str(port)}


@pytest.mark.parametrize(
    ("options", "host", "at", "variables", "family"),
    [
        (["-RHl0"], "127.0.0.1", "127.0.0.1", V4, "AF_INET"),
        (["-4RHl0"], "127.0.0.1", "127.0.0.1", V4, "AF_INET"),
        (["-RHl0"], "::ffff:127.0.0.1", "127.0.0.1", V4, "AF_INET"),
        (["-RHl0"], "127.000.000.001", "127.0.0.1", V4, "AF_INET"),
        (["-RHl0"], "[127.0.0.1]", "127.0.0.1", V4, "AF_INET"),
        (["-6RHl0"], "127.0.0.1", "127.0.0.1", MAPPED, "AF_INET6"),
        (["-46RHl0"], "127.0.0.1", "127.0.0.1", MAPPED, "AF_INET"),
        (["-RHl0"], "::1", "::1", V6, "AF_INET6"),
        (["-RHl0"], "[::1]", "::1", V6, "AF_INET6"),
        (["-6RHl0"], "0:0::1", "::1", V6, "AF_INET6"),
        (["-RHl0"], "0", "::1", V6, "AF_INET6"),
        (["-RHl0"], "", "::1", V6, "AF_INET6"),
        (["-RHl0"], "0", "127.0.0.1", V4, "AF_INET"),
        (["-4RHl0"], "0", "127.0.0.1", V4, "AF_INET"),
        (["-RHl0"], "::", "::1", V6, "AF_INET6"),
    ],
)
@pytest.mark.parametrize("stale", [{}, STALE], ids=["clean", "stale"])
def test_both_families_of_variables_are_set_and_nothing_older_is_left(
    options: list[str], host: str, at: str, variables: dict[str, str], family: str, stale: dict[str, str]
) -> None:
    found = probe(*options, host=host, at=at, env=BARE | stale)
    assert found.variables == with_port(variables, found.remote[1])
    assert found.family == family
    assert "UCSPI_PROXY_PEER" not in found.environ


def test_every_other_variable_passes_and_none_is_added() -> None:
    mine = BARE | {
        "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22",
        "REMOTE_ADDR": "192.0.2.1",
        "EMPTY": "",
        "ODD": "a=b\n\udcff",
    }
    found = probe("-RHl0", env=mine)
    shell = {"PWD", "OLDPWD", "SHLVL", "_"}  # the one that started it
    assert {k: v for k, v in found.environ.items() if k not in {*found.variables, *shell}} == mine


def test_an_environment_that_python_itself_would_not_make_is_no_trouble() -> None:
    # execve(2) takes any strings; C's tcpserver makes "=value" of a careless rule.
    code = """
import ctypes, sys
argv = [word.encode() for word in sys.argv[1:]]
strings = [b"PATH=/usr/bin:/bin", b"=value", b"NO-EQUALS-SIGN", b"TCPREMOTEIP", b"KEPT=yes"]
pointers = ctypes.c_char_p * (len(argv) + 1), ctypes.c_char_p * (len(strings) + 1)
ctypes.CDLL(None).execve(argv[0], pointers[0](*argv, None), pointers[1](*strings, None))
"""
    found = probe("-RHl0", command=[sys.executable, "-I", "-S", "-c", code, *OURS])
    assert found.environ["KEPT"] == "yes"
    assert found.environ["TCPREMOTEIP"] == "127.0.0.1"


@pytest.mark.parametrize("name", ["", "mail.example.org", "a b\t%"])
def test_the_local_name_is_what_the_option_says(name: str) -> None:
    found = probe("-RHl", name)
    assert (found.variables["TCPLOCALHOST"], found.variables["TCP6LOCALHOST"]) == (name, name)


def test_descriptors_six_and_seven_are_the_same_blocking_socket_and_the_rest_is_untouched() -> None:
    found = probe("-RHl0")
    assert found.fds == {0: "/dev/null", 1: "pipe", 2: "pipe", 6: "socket", 7: "socket"}
    assert found.same
    assert not found.nonblocking


def test_losing_attempts_are_not_left_open_in_the_program() -> None:
    found = probe("-RHl0", host="0", at="127.0.0.1")
    assert [fd for fd, kind in found.fds.items() if kind == "socket"] == [6, 7]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_descriptors_closed_at_the_start_stay_closed_and_no_message_goes_to_the_server(closed: str) -> None:
    # The IPv6 loopback refuses first, so there are two lines that could go astray; the JSON would not parse.
    found = probe("-vRHl0", host="0", at="127.0.0.1", shell=f'exec "$@" {closed}')
    kept = {0: "/dev/null", 1: "pipe", 2: "pipe"}
    for word in closed.split():
        del kept[{"<": 0, ">": 1, "2": 2}[word[0]]]
    assert found.fds == kept | {6: "socket", 7: "socket"}


def test_descriptors_of_the_caller_pass_except_six_and_seven() -> None:
    found = probe("-RHl0", shell='exec "$@" 3</dev/zero 5</dev/zero 6</dev/zero 7</dev/zero 9</dev/zero')
    assert found.fds == {
        0: "/dev/null",
        1: "pipe",
        2: "pipe",
        3: "/dev/zero",
        5: "/dev/zero",
        6: "socket",
        7: "socket",
        9: "/dev/zero",
    }


def test_no_descriptor_to_spare_is_said_and_not_a_traceback() -> None:
    with listening() as (_, port):
        run = client("-RHl0", "127.0.0.1", str(port), "true", shell='ulimit -n 8; exec "$@"')
    assert run == (111, "", "tcpclient: fatal: unable to create socket: process cannot open more files\n")


@pytest.mark.parametrize("inherited", ["", 'trap "" PIPE; '])
def test_the_program_does_not_ignore_signals_that_only_an_interpreter_ignores(inherited: str) -> None:
    with listening() as (_, port):
        run = client(
            "-RHl0", "127.0.0.1", str(port), "grep", "^SigIgn", "/proc/self/status", shell=f'{inherited}exec "$@"'
        )
    ignored = int(run.stdout.split()[1], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        assert not ignored >> (number - 1) & 1, signal.Signals(number).name


def test_the_program_takes_the_place_of_the_client_with_its_process_id_and_exit_code() -> None:
    with listening() as (listener, port):
        argv = [*OURS, "-RHl0", "127.0.0.1", str(port), "sh", "-c", "echo $$ >&7; exit 7"]
        with Program(argv, env=BARE) as program:
            assert program.wait() == 7
            assert heard(listener) == f"{program.pid}\n".encode()


def test_reading_and_writing() -> None:
    with (
        listening() as (listener, port),
        Program(
            [*OURS, "-RHl0", "127.0.0.1", str(port), "sh", "-c", "read line <&6; echo got $line >&7"], env=BARE
        ) as program,
    ):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            connection.sendall(b"hello\n")
            assert connection.recv(100) == b"got hello\n"
        assert program.wait() == 0


@pytest.mark.parametrize(("options", "expected"), [("-RHl0", False), ("-DRHl0", True), ("-DdRHl0", False)])
def test_tcp_nodelay(options: str, expected: bool) -> None:
    assert probe(options).nodelay is expected


def test_options_end_at_the_host_so_those_behind_it_are_the_programs() -> None:
    with listening() as (_, port):
        run = client("-RHl0", "--", "127.0.0.1", str(port), "echo", "-v", "--serial", "-x")
    assert (run.status, run.stdout, run.stderr) == (0, "-v --serial -x\n", "")


@pytest.mark.parametrize(("local", "host"), [("127.0.0.2", "127.0.0.1"), ("::1", "::1"), ("0.0.0.0", "127.0.0.1")])
def test_local_address(local: str, host: str) -> None:
    found = probe("-RHl0", "-i", local, host=host)
    assert found.local[0] == (host if local == "0.0.0.0" else local)
    assert found.variables["TCPLOCALIP"] == found.local[0]


def test_local_port() -> None:
    own = f"127.10.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # nobody else binds here
    with socket.socket() as holder:
        holder.bind((own, 0))
        port = holder.getsockname()[1]
    found = probe("-RHl0", "-i", own, "-p", str(port))
    assert found.local == (own, port)
    assert found.environ["TCPLOCALPORT"] == found.environ["TCP6LOCALPORT"] == str(port)


@pytest.mark.netns
@pytest.mark.parametrize(
    "arguments",
    [
        ["fe80::1%lo"],
        ["[fe80::1%lo]"],
        ["-I", "lo", "fe80::1"],
        ["-i", "fe80::2%lo", "fe80::1%lo"],
        ["-Ilo", "-ife80::2", "fe80::1"],
    ],
    ids=" ".join,
)
def test_link_local_addresses_take_their_interface_from_the_operand_or_the_option_and_tell_it(
    arguments: list[str], netns: Callable[..., Namespace]
) -> None:
    namespace = netns("fe80::1/64", "fe80::2/64")
    with namespace.socket(socket.AF_INET6) as listener:
        listener.bind(("::", 0))
        listener.listen()
        port = listener.getsockname()[1]
        run = client("-RHl0", *arguments, str(port), *PROBE, namespace=namespace, env=BARE | STALE)
        found = probed(listener, run)
    assert found.environ["TCP6INTERFACE"] == "lo"
    assert found.environ["TCPREMOTEIP"] == found.environ["TCP6REMOTEIP"] == "fe80::1"
    if any("fe80::2" in word for word in arguments):
        assert found.environ["TCPLOCALIP"] == "fe80::2"


@pytest.mark.netns
def test_a_kernel_without_ipv6_still_reaches_ipv4_hosts_under_option_six(netns: Callable[..., Namespace]) -> None:
    namespace = netns()
    namespace.set("net/ipv6/conf/all/disable_ipv6", "1")
    with namespace.socket(socket.AF_INET) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = probed(listener, client("-RHl0", "0", str(port), *PROBE, namespace=namespace))
    assert found.variables == with_port(V4, port)
    assert "unable to connect to ::1" in found.stderr


def test_start_up_imports_nothing_heavy() -> None:
    root = os.path.dirname(os.path.dirname(ucspi_env.__file__))
    code = (
        f"import sys; sys.path.insert(0, {root!r}); before = set(sys.modules); "
        "import ucspi_env.tools.tcpclient; print(*(set(sys.modules) - before))"
    )
    loaded = set(client(command=[sys.executable, "-I", "-S", "-c", code]).stdout.split())
    assert "ucspi_env.tools.tcpclient" in loaded
    heavy = {"contextlib", "dataclasses", "enum", "logging", "re", "selectors", "signal", "socket", "typing"}
    assert not loaded & heavy
    assert not loaded & {f"ucspi_env.tools.{name}" for name in ("_dnswire", "_ident", "_resolve")}
