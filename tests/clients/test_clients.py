"""mconnect, tcpcat, who@, date@, finger@ and http@ against servers on the ports that they are for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE, peers
from ucspi_env.tools import http
from ucspi_env.tools._catalogue import command
from ucspi_env.tools._lines import HttpBody
from ucspi_env.tools._program import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support import Namespace

pytestmark = pytest.mark.netns

PORTS = {"who@": 11, "date@": 13, "tcpcat": 17, "mconnect": 25, "finger@": 79, "http@": 80}


class Server:
    """Serves one caller: reads a question (all, a line, or a header), answers, and closes."""

    def __init__(self, listener: socket.socket, answer: bytes, until: bytes | None) -> None:
        self.heard = b""
        self._listener = listener
        self._answer = answer
        self._until = until
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(PATIENCE)
            while self._until is None or not self.heard.endswith(self._until):
                chunk = connection.recv(65536)
                if not chunk:
                    break
                self.heard += chunk
            connection.sendall(self._answer)

    def finish(self) -> bytes:
        """Wait for the end: what the caller said."""
        self._thread.join(PATIENCE)
        self._listener.close()
        return self.heard


@pytest.fixture
def inside(netns: Callable[..., Namespace]) -> Namespace:
    """A namespace with loopback only."""
    return netns()


@pytest.fixture
def serve(inside: Namespace) -> Iterator[Callable[..., Server]]:
    """Start a server inside, on a port below 1024 if need be."""
    started: list[Server] = []

    def start(port: int, answer: bytes, *, host: str = "127.0.0.1", until: bytes | None = b"") -> Server:
        listener = inside.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a test may serve the same port twice
        listener.bind((host, port))
        listener.listen()
        server = Server(listener, answer, until)
        started.append(server)
        return server

    yield start
    for server in started:
        server.finish()


Outcome = tuple[int, bytes, bytes]


def run(inside: Namespace, argv: Sequence[str], stdin: bytes = b"") -> Outcome:
    """Run a client inside to its end."""
    done = inside.run(argv, input=stdin, env=os.environ | {"DNSCACHEIP": "127.0.0.1"})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0"])
@pytest.mark.parametrize("name", ["who@", "date@"])
def test_replies_are_made_visible(inside: Namespace, serve: Callable[..., Server], name: str, host: str) -> None:
    serve(PORTS[name], b"a\r\nb\t\x1b[1m\xff\r", host="::1" if host == "0" else host)
    assert run(inside, [*command(name), host]) == (0, b"a\nb\t^[[1mM-^?^M", b"")


def test_host_0_finds_a_server_on_ipv4_only_too(inside: Namespace, serve: Callable[..., Server]) -> None:
    serve(PORTS["date@"], b"now\r\n")
    status, stdout, _ = run(inside, command("date@"))
    assert (status, stdout) == (0, b"now\n")


def test_tcpcat_prints_raw_bytes(inside: Namespace, serve: Callable[..., Server]) -> None:
    everything = bytes(range(256)) * 300
    serve(PORTS["tcpcat"], everything)
    assert run(inside, [*command("tcpcat"), "127.0.0.1"]) == (0, everything, b"")
    serve(4000, b"x\r\n")
    assert run(inside, [*command("tcpcat"), "127.0.0.1", "4000"]) == (0, b"x\r\n", b"")


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ([], b"\r\n"),
        ([""], b"\r\n"),
        (["joe"], b"joe\r\n"),
        (["-n"], b"-n\r\n"),
        (["a\\tb\\c"], b"a\\tb\\c\r\n"),
        (["$HOME 'x'"], b"$HOME 'x'\r\n"),
        (["\udcff"], b"\xff\r\n"),
    ],
)
def test_finger_sends_the_user_as_typed_and_half_closes(
    inside: Namespace, serve: Callable[..., Server], user: list[str], said: bytes
) -> None:
    server = serve(PORTS["finger@"], b"Login: x\r\n", until=None)  # reads to the end of what is sent
    assert run(inside, [*command("finger@"), "127.0.0.1", *user]) == (0, b"Login: x\n", b"")
    assert server.finish() == said


def test_mconnect_half_closes_and_prints_raw(inside: Namespace, serve: Callable[..., Server]) -> None:
    server = serve(PORTS["mconnect"], b"220\r\n\xff", until=None)
    assert run(inside, [*command("mconnect"), "127.0.0.1"], b"helo\nquit\n") == (0, b"220\r\n\xff", b"")
    assert server.finish() == b"helo\r\nquit\r\n"


REPLY = b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n"


@pytest.mark.parametrize("body", [b"one\n\ntwo\r\n\r\n\0\xff\nno end", b"", b"\n\n", b"x" * 500_000])
def test_http_bodies_are_intact(inside: Namespace, serve: Callable[..., Server], body: bytes) -> None:
    serve(PORTS["http@"], REPLY + body, until=b"\r\n\r\n")
    assert run(inside, [*command("http@"), "127.0.0.1"]) == (0, body, b"")


@pytest.mark.parametrize(
    ("arguments", "listen", "said"),
    [
        (["127.0.0.1"], ("127.0.0.1", 80), "GET / HTTP/1.0|Host: 127.0.0.1:80||"),
        (["::1", "a/b?c"], ("::1", 80), "GET /a/b?c HTTP/1.0|Host: [::1]:80||"),
        (["[::1]", "", "8080"], ("::1", 8080), "GET / HTTP/1.0|Host: [::1]:8080||"),
        (["127.0.0.1", "\\n%-n", "8080"], ("127.0.0.1", 8080), "GET /\\n%-n HTTP/1.0|Host: 127.0.0.1:8080||"),
    ],
)
def test_http_requests(
    inside: Namespace, serve: Callable[..., Server], arguments: list[str], listen: tuple[str, int], said: str
) -> None:
    server = serve(listen[1], REPLY, host=listen[0], until=b"\r\n\r\n")
    assert run(inside, [*command("http@"), *arguments]) == (0, b"", b"")
    assert server.finish() == said.replace("|", "\r\n").encode()


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\nsorry\n", (100, b"sorry\n", b"http@: 127.0.0.1 says 404 Not Found\n")),
        (b"HTTP/1.0 503 Later\x1b\r\n\r\n", (111, b"", b"http@: 127.0.0.1 says 503 Later?\n")),
        (
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            (111, b"abc", b"http@: fatal: unable to read the reply of 127.0.0.1: it ends after 3 of 5 bytes\n"),
        ),
        (
            b"HTTP/1.0 200 OK\r\n",
            (
                111,
                b"",
                b"http@: fatal: unable to read the reply of 127.0.0.1:"
                b" it ends before the empty line behind its header\n",
            ),
        ),
        (
            b"x" * 70000,
            (
                111,
                b"",
                b"http@: fatal: unable to read the reply of 127.0.0.1: no empty line in its first 65536 bytes\n",
            ),
        ),
        (b"old server\n\nbody", (0, b"body", b"")),
    ],
)
def test_http_failures_are_failures(
    inside: Namespace, serve: Callable[..., Server], reply: bytes, outcome: Outcome
) -> None:
    serve(PORTS["http@"], reply, until=b"\r\n\r\n")
    assert run(inside, [*command("http@"), "127.0.0.1"]) == outcome


@pytest.mark.parametrize("name", PORTS)
def test_a_server_that_is_not_there_is_a_failure_with_tcpclients_message(inside: Namespace, name: str) -> None:
    message = f"tcpclient: unable to connect to 127.0.0.1 port {PORTS[name]}: connection refused\n"
    assert run(inside, [*command(name), "127.0.0.1"]) == (111, b"", message.encode())


def test_closed_descriptors_do_not_confuse_a_client(inside: Namespace, serve: Callable[..., Server]) -> None:
    serve(PORTS["finger@"], b"x\r\n", until=None)
    status, _, stderr = run(inside, ["sh", "-c", '"$@" <&- >&-', "sh", *command("finger@"), "127.0.0.1"])
    assert (status, stderr) == (111, b"")  # reached, and nowhere to show the reply


@pytest.mark.parametrize("name", ["who@", "http@"])
def test_a_reader_that_leaves_ends_the_client_though_the_server_goes_on(
    inside: Namespace, serve: Callable[..., Server], name: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    listener = inside.socket(socket.AF_INET)
    listener.bind(("127.0.0.1", PORTS[name]))
    listener.listen()
    client = subprocess.Popen(
        inside.command([*command(name), "127.0.0.1"]), stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    with listener, client:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(REPLY + b"hello\r\n")
            assert client.wait(PATIENCE) == 111
            assert client.stderr
            assert client.stderr.read() == b""


def test_an_interrupt_ends_a_client_without_a_word(inside: Namespace) -> None:
    listener = inside.socket(socket.AF_INET)
    listener.bind(("127.0.0.1", PORTS["who@"]))
    listener.listen()
    client = subprocess.Popen(
        inside.command([*command("who@"), "127.0.0.1"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    with listener, client:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"hello\r\n")
            assert client.stdout
            assert client.stdout.readline() == b"hello\n"
            os.killpg(client.pid, signal.SIGINT)
            assert client.wait(PATIENCE) == -signal.SIGINT
            assert client.stderr
            assert client.stderr.read() == b""


@pytest.mark.peer("who@", "date@", "finger@", "tcpcat", "mconnect")
@pytest.mark.parametrize(
    ("name", "arguments", "until"),
    [
        ("who@", ["127.0.0.1"], b""),
        ("date@", ["::1"], b""),
        ("finger@", ["127.0.0.1", "joe"], b"\r\n"),
        ("finger@", ["::1"], b"\r\n"),
        ("tcpcat", ["127.0.0.1"], b""),
        ("mconnect", ["::1"], b"quit\r\n"),
    ],
)
def test_on_success_clients_do_what_theirs_do(
    inside: Namespace,
    serve: Callable[..., Server],
    peer: Callable[[str], str],
    tmp_path: Path,
    name: str,
    arguments: list[str],
    until: bytes,
) -> None:
    def outcome(argv: list[str]) -> tuple[Outcome, bytes]:
        server = serve(PORTS[name], b"one\r\n\r\ntwo\x80\x01\r\nend", host=arguments[0], until=until)
        return run(inside, [*argv, *arguments], b"noop\nquit\n"), server.finish()

    assert outcome(command(name)) == outcome([peers().runnable(peer(name), tmp_path)])


@pytest.mark.parametrize(
    ("host", "field"),
    [
        ("example.org", "example.org"),
        ("0", "0"),
        ("", ""),
        ("::1", "[::1]"),
        ("[::1]", "[::1]"),
        ("fe80::1%eth0", "[fe80::1]"),
        ("[fe80::1%eth0]", "[fe80::1]"),
    ],
)
def test_the_host_field_brackets_ipv6(host: str, field: str) -> None:
    assert http.request(host, "", "80").split(b"\n")[1] == f"Host: {field}:80".encode()


@pytest.mark.parametrize("arguments", [("a\nb", "", "80"), ("a", "x HTTP/1.0\r\nEvil: yes", "80"), ("a", "", "80\r")])
def test_line_breaks_cannot_smuggle_header_fields(arguments: tuple[str, str, str]) -> None:
    with pytest.raises(Stop) as stop:
        http.request(*arguments)
    assert stop.value.status == 100
    assert "line break" in stop.value.lines[0]


def test_a_redirection_is_no_failure() -> None:
    body = HttpBody()
    body.feed(b"HTTP/1.0 302 Found\r\n\r\n")
    assert http.verdict(body, "h") == 0
