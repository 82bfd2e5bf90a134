"""remote(), local(), connection(): asked from real programs with real sockets on their descriptors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import ucspi_env
from ucspi_env import Descriptor, Endpoint, Facts

ROOT = Path(ucspi_env.__file__).parent.parent
ASK = """
import json, sys
import ucspi_env
fd = int(sys.argv[1])
try:
    found = ucspi_env.connection(fd=fd, strict="strict" in sys.argv)
    answer = [str(found.remote), str(found.local), found.dialect, found.evidence, [p.code for p in found.problems]]
    if found.unix:
        answer[0] = [found.unix.uid, found.unix.gid, found.unix.pid]
except ucspi_env.UCSPIError as error:
    answer = [type(error).__name__, str(error)]
print(json.dumps(answer), file=sys.stderr)
"""


def ask(
    stdin: socket.socket | int,
    environ: dict[str, str] | None = None,
    *arguments: str,
    fd: int = 0,
    keep: tuple[int, ...] = (),
) -> list[object]:
    """What connection() says in a program that has ``stdin`` as its descriptor 0."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(fd), *arguments],
        stdin=stdin if isinstance(stdin, int) else stdin.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=keep,
        env={"PYTHONPATH": str(ROOT)} | (environ or {}),
        check=True,
    )
    answer = json.loads(done.stderr)
    assert isinstance(answer, list)
    return answer


def call(family: socket.AddressFamily, host: str, *, dual: bool = False) -> tuple[socket.socket, socket.socket]:
    """A connection over loopback: the server's end and the client's."""
    listening_family = socket.AF_INET6 if dual else family
    with socket.socket(listening_family) as listener:
        if listening_family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        listener.bind(("::" if dual else host, 0))
        listener.listen()
        client = socket.create_connection((host, listener.getsockname()[1]))
        server, _ = listener.accept()
        return server, client


def name(address: tuple[object, ...]) -> str:
    return str(Endpoint(str(address[0]), int(str(address[1]))))


@pytest.mark.parametrize(
    ("family", "host", "dual"),
    [(socket.AF_INET, "127.0.0.1", False), (socket.AF_INET6, "::1", False), (socket.AF_INET, "127.0.0.1", True)],
    ids=["IPv4", "IPv6", "IPv4 on a dual-stack listener"],
)
def test_the_kernel_is_asked(family: socket.AddressFamily, host: str, dual: bool) -> None:
    server, client = call(family, host, dual=dual)
    with server, client:
        answer = ask(server, {"TCPREMOTEIP": "203.0.113.66", "TCPREMOTEPORT": "1"})

        assert answer == [
            name(client.getsockname()),
            name(client.getpeername()),
            "inetd",
            "kernel",
            ["stale-variables"],
        ]


def test_a_listening_socket_has_no_peer_yet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kind, message = ask(listener)

    assert kind == "NoPeerYetError"
    assert "accept" in str(message)


def test_a_listening_unix_socket_has_no_peer_yet(tmp_path: Path) -> None:
    """Although it has credentials: those of the process that listens."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        kind, message = ask(listener, {"PROTO": "UNIX"})
        assert Facts.observe(listener.fileno()).descriptor(listener.fileno()) == Descriptor(
            "socket", family="unix", type="stream", sockname=str(tmp_path / "socket"), listening=True
        )

    assert kind == "NoPeerYetError"
    assert "accept" in str(message)


def test_an_unconnected_udp_socket_has_no_peer_yet() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        kind, message = ask(sock)

    assert kind == "NoPeerYetError"
    assert "recvfrom" in str(message)


def test_a_unix_caller_has_credentials(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        listener.listen()
        client.connect(path)
        server, _ = listener.accept()
        with server:
            peer, *_ = ask(server)

    if sys.platform == "linux":
        assert peer == [os.geteuid(), os.getegid(), os.getpid()]


def test_an_inherited_socket_proves_variables() -> None:
    server, client = call(socket.AF_INET6, "::1")
    ours = name(client.getsockname())
    environ = {"PROTO": "TCP6", "TCPREMOTEIP": "::1", "TCPREMOTEPORT": str(client.getsockname()[1])}
    with server, client:
        proved = ask(subprocess.DEVNULL, environ, "strict", keep=(server.fileno(),))
        refused = ask(subprocess.DEVNULL, environ, "strict")

    assert (proved[0], proved[3]) == (ours, "confirmed")
    assert refused[0] == "UnconfirmedPeerError"
    assert ours in str(refused[1])


def test_a_program_under_tcpclient_asks_for_descriptor_6() -> None:
    server, client = call(socket.AF_INET, "127.0.0.1")
    with server, client:
        low = os.dup2(server.fileno(), 66)
        try:
            answer = ask(subprocess.DEVNULL, None, fd=low, keep=(low,))
        finally:
            os.close(low)

        assert answer[:2] == [name(client.getsockname()), name(client.getpeername())]


@pytest.mark.parametrize("number", [-1, 999_999, 2**40])
def test_a_descriptor_that_is_not_open_is_no_crash(number: int) -> None:
    assert ask(subprocess.DEVNULL, None, fd=number)[0] == "NotUnderSuperServerError"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_the_usual_case_reads_nothing_but_the_socket(host: str) -> None:
    """No look into /proc on every connection's path."""
    code = (
        "import builtins, os, sys, ucspi_env\n"
        "def refuse(*a, **k): raise AssertionError(a)\n"
        "builtins.open = os.open = os.listdir = os.getppid = refuse\n"
        "found = ucspi_env.Facts.observe(0)\n"
        "assert found.pid is None and len(found.descriptors) == 1\n"
    )
    server, client = call(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    with server, client:
        subprocess.run([sys.executable, "-c", code], stdin=server.fileno(), env={"PYTHONPATH": str(ROOT)}, check=True)


def test_stunnels_habit_is_looked_up_only_where_it_can_matter() -> None:
    server, client = call(socket.AF_INET, "127.0.0.1")
    stale = {"REMOTE_HOST": "192.0.2.1", "REMOTE_PORT": "5"}
    with server, client:
        assert ask(server, stale)[2:] == ["stunnel", "proof", ["stunnel-or-stale"]]


@pytest.mark.parametrize(
    ("question", "environ", "error"),
    [
        ("remote", {"PROTO": "UNIX"}, "WrongKindError"),
        ("local", {"PROTO": "UNIX"}, "WrongKindError"),
        ("local", {"REMOTE_HOST": "192.0.2.1"}, "MissingVariableError"),
        ("remote", {}, "NotUnderSuperServerError"),
    ],
)
def test_every_error_can_be_raised_first(question: str, environ: dict[str, str], error: str) -> None:
    """The errors are imported when there is one; a test that has them already would not notice a forgotten import."""
    code = f"import ucspi_env\ntry: ucspi_env.{question}({environ!r})\nexcept Exception as e: print(type(e).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == error


# A program with an environment that holds a name twice, which no Python dictionary can say.
RAW_EXEC = """
import ctypes, sys
entries = [word.encode() for word in sys.argv[2:]]
argv = (ctypes.c_char_p * 4)(sys.executable.encode(), b"-c", sys.argv[1].encode(), None)
ctypes.CDLL(None).execve(argv[0], argv, (ctypes.c_char_p * (len(entries) + 1))(*entries, None))
"""


def raw_exec(code: str, stdin: int, *entries: str) -> str:
    if not Path("/proc/self/environ").exists():
        pytest.skip("needs /proc")
    return subprocess.run(
        [sys.executable, "-c", RAW_EXEC, code, *entries, f"PYTHONPATH={ROOT}"],
        stdin=stdin,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_duplicate_names_are_observed() -> None:
    code = "import ucspi_env; print(dict(ucspi_env.Facts.observe().duplicates))"

    assert raw_exec(code, subprocess.DEVNULL, "X=1", "X=2") == "{'X': ('1', '2')}\n"


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_proxy_wrapper_that_appends(by: str) -> None:
    """ucspi-pp under tcpserver: the balancer's variables first, the caller's behind them."""
    code = f"import ucspi_env; print(ucspi_env.remote({'trust=' + repr('proxy') if by == 'argument' else ''}))"
    server, client = call(socket.AF_INET, "127.0.0.1")
    with server, client:
        port = client.getsockname()[1]
        entries = ["PROTO=TCP", "TCPREMOTEIP=127.0.0.1", f"TCPREMOTEPORT={port}"]
        entries += ["TCPREMOTEIP=2001:db8::7", "TCPREMOTEPORT=4711"]
        trusted = raw_exec(code, server.fileno(), *entries, *(["UCSPI_TRUST=proxy"] if by == "environment" else []))
        kernels = raw_exec("import ucspi_env; print(ucspi_env.remote())", server.fileno(), *entries)

    assert (trusted, kernels) == ("[2001:db8::7]:4711\n", f"127.0.0.1:{port}\n")


def test_an_explicit_environment_is_judged_alone() -> None:
    environ = {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "1", "TCPLOCALIP": "192.0.2.2"}

    assert ucspi_env.remote(environ) == Endpoint("192.0.2.1", 1)
    assert ucspi_env.local(environ) == Endpoint("192.0.2.2")
    assert ucspi_env.connection(environ).evidence == "unconfirmed"
    with pytest.raises(ucspi_env.UnconfirmedPeerError) as caught:
        ucspi_env.remote(environ, strict=True)
    assert caught.value.endpoint == Endpoint("192.0.2.1", 1)


def test_an_explicit_environment_with_a_descriptor_is_judged_against_it() -> None:
    server, client = call(socket.AF_INET, "127.0.0.1")
    with closing(server), closing(client):
        environ = {"TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": str(client.getsockname()[1])}

        assert ucspi_env.connection(environ, fd=server.fileno()).evidence == "confirmed"
        assert ucspi_env.remote(environ, fd=server.fileno(), strict=True).port == client.getsockname()[1]


def test_unix_callers_have_no_address() -> None:
    environ = {"PROTO": "UNIX", "UNIXREMOTEEUID": "0", "UNIXREMOTEEGID": "0"}

    for question in (ucspi_env.remote, ucspi_env.local):
        with pytest.raises(ucspi_env.WrongKindError, match="unix"):
            question(environ)
    with pytest.raises(ucspi_env.UnconfirmedPeerError) as caught:
        ucspi_env.connection(environ, strict=True)
    assert caught.value.endpoint is None
    assert "UNIX" in str(caught.value)


def test_a_local_address_that_nobody_knows() -> None:
    with pytest.raises(ucspi_env.MissingVariableError, match="xinetd"):
        ucspi_env.local({"REMOTE_HOST": "192.0.2.1"})
    with pytest.raises(ucspi_env.MissingVariableError, match="TCPLOCALIP is of no use: s6"):
        ucspi_env.local({"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPLOCALIP": "::", "TCPCONNNUM": "0"})


def test_observing_does_not_close_or_change_the_descriptor() -> None:
    with socket.socket() as sock:
        for _ in range(3):
            assert Facts.observe(sock.fileno()).descriptor(sock.fileno()) == Descriptor(
                "socket", family="inet", type="stream", sockname=Endpoint("0.0.0.0", 0)
            )
        assert sock.fileno() >= 0
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
