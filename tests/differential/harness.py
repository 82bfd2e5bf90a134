"""Run one row of the table in a private network namespace and note everything that a caller or a script could see.

What differs from run to run (process ids, ports chosen by the kernel, the working directory) is replaced by a name, so
that what is left must be equal.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import shlex
import shutil
import signal
import socket
import stat
import struct
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import Namespace, Program, Server, call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.peers import PeerTable

PROGRAMS = (
    "tcpserver", "tcpclient", "tcprules", "tcprulescheck", "addcr", "delcr", "fixcrio", "recordio", "argv0", "rblsmtpd",
    "mconnect", "mconnect-io", "tcpcat", "who@", "date@", "finger@", "http@",
)  # fmt: skip
ENVIRON = "cat /proc/self/environ"  # as the program received it: exec's own bytes, not a shell's idea of them


@dataclass(frozen=True)
class Call:
    """One call of a server row."""

    host: str = "127.0.0.1"
    send: str = ""
    source: str | None = None
    ip_options: bytes = b""  # of the caller's packets, RFC 791


@dataclass(frozen=True)
class Row:
    """One command line.

    Attributes:
        name: unique; also the test's name.
        command: for sh(1). ``{port}`` is the harness's own listener, ``{refused}`` a port that refuses, ``{busy}`` one
            that is taken.
        calls: makes the row a server row: the command is a tcpserver told ``-1``, called in this order and then ended.
        end: the signal that ends a server. Where another than TERM does not, as one more call shows, TERM does.
        listen: the address of the harness's own listener, which greets each caller and notes what it hears.
        greeting: what the listener says, before it ends its side.
        until: the listener greets only after it has heard this.
        files: made in the working directory before.
        stdin: for the command.
        env: beside the base environment; None removes.
        logged: the server is verbose, so its log shows when a call is over.
        root: only the superuser can see the difference.
        needs: files of the machine without which programs do something else.
        unordered: lines of stderr that several processes write come in any order.
    """

    name: str
    command: str
    calls: tuple[Call, ...] = ()
    end: str = "TERM"
    listen: str = ""
    greeting: str = "hello\r\n"
    until: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    env: Mapping[str, str | None] = field(default_factory=dict)
    logged: bool = False
    root: bool = False
    needs: tuple[str, ...] = ()
    unordered: bool = False

    @property
    def programs(self) -> set[str]:
        """Those of ours that the command names."""
        return set(re.findall(r"[\w@-]+", self.command)) & set(PROGRAMS)


Observation = dict[str, object]


def text(data: bytes) -> str:
    """Bytes as something that JSON and a diff can show, without loss."""
    return data.decode("utf-8", "backslashreplace")


class World:
    """The namespace that all rows run in, with a name server and ident servers for them.

    Loopback only, so that whatever a program tries stays inside: 127/8, ::1, fe80::1 on lo, 192.0.2.1, 2001:db8::1.
    """

    RESOLVER = "127.0.0.53"
    IDENT = {  # noqa: RUF012 - a constant table
        "127.0.0.9": b"%d , %d : USERID : UNIX : joe\r\n",
        "127.0.0.10": b"%d , %d : ERROR : NO-USER\r\n",
        "127.0.0.11": b"%d , %d : USERID : UNIX : a:b  c%%\x07\r\n",
    }
    NAMES: Mapping[tuple[str, str], tuple[str, ...]] = {
        ("A", "v4.example"): ("127.0.0.1",),
        ("A", "two.example"): ("127.0.0.1", "127.0.0.1"),
        ("AAAA", "v6.example"): ("::1",),
        ("PTR", "9.0.0.127.in-addr.arpa"): ("Joe.Example",),
        ("A", "joe.example"): ("127.0.0.9",),
        ("PTR", "10.0.0.127.in-addr.arpa"): ("liar.example",),
        ("A", "liar.example"): ("127.0.0.99",),
        ("PTR", "1.0.0.127.in-addr.arpa"): ("home.example",),
        ("PTR", "4.0.0.127.in-addr.arpa"): ("127.0.0.4",),
        ("PTR", "1." + "0." * 31 + "ip6.arpa"): ("home6.example",),
        ("TXT", "2.0.0.127.rbl.example"): ("listed, see example",),
        ("TXT", "4.0.0.127.rbl.example"): ("",),
        ("TXT", "5.0.0.127.rbl.example"): ("one ", "two"),
        ("TXT", "6.0.0.127.rbl.example"): ("long " * 50,),
        ("TXT", "1." + "0." * 23 + "8.b.d.0.1.0.0.2.rbl.example"): ("listed over IPv6",),
        ("TXT", "2.0.0.127.two.example"): ("second list",),
        ("A", "3.0.0.127.anti.example"): ("127.0.0.2",),
        ("A", "2.0.0.127.anti.example"): ("127.0.0.2",),
        ("A", "9.0.0.127.onlya.example"): ("127.0.0.2",),
    }

    def __init__(self) -> None:
        self.namespace = Namespace("192.0.2.1/32", "2001:db8::1/128", "fe80::1/64")
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        resolver = self.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind((self.RESOLVER, 53))
        self._serve(resolver, self._answer)
        for address, reply in self.IDENT.items():
            listener = self.namespace.socket(socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, 113))
            listener.listen()
            self._serve(listener, functools.partial(self._identify, reply))

    def close(self) -> None:
        """End the servers and let the namespace go."""
        for one in self._sockets:
            with contextlib.suppress(
                OSError
            ):  # a datagram socket without a peer says ENOTCONN, and wakes up all the same
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()
        self.namespace.close()

    def _serve(self, one: socket.socket, step: Callable[[socket.socket], bool]) -> None:
        one.settimeout(None)

        def loop() -> None:
            while step(one):
                pass

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        self._sockets.append(one)
        self._threads.append(thread)

    def _answer(self, resolver: socket.socket) -> bool:
        query, caller = resolver.recvfrom(512)
        if not query:
            return False
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("latin-1"))
            at += 1 + query[at]
        kind = {1: "A", 12: "PTR", 16: "TXT", 28: "AAAA"}.get(struct.unpack_from(">H", query, at + 1)[0], "")
        name = ".".join(labels).lower()
        found = self.NAMES.get((kind, name), ())
        known = found or any(name == other for _, other in self.NAMES)
        answers = b"".join(b"\xc0\x0c" + query[at + 1 : at + 5] + struct.pack(">IH", 60, len(data)) + data for data in (
            _rdata(kind, value) for value in found))  # fmt: skip
        header = query[:2] + struct.pack(">HHHHH", 0x8180 | (0 if known else 3), 1, len(found), 0, 0)
        resolver.sendto(header + query[12 : at + 5] + answers, caller)
        return True

    @staticmethod
    def _identify(reply: bytes, listener: socket.socket) -> bool:
        try:
            connection, _ = listener.accept()
        except OSError:  # the listener was shut down
            return False
        with connection, contextlib.suppress(ConnectionError):  # the asker may be gone, which is its right
            ports = connection.recv(100).split(b",")
            connection.sendall(reply % (int(ports[0]), int(ports[1])))
        return True


def _rdata(kind: str, value: str) -> bytes:
    if kind == "A":
        return socket.inet_pton(socket.AF_INET, value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == "TXT":
        return bytes([len(value)]) + value.encode()
    return b"".join(bytes([len(label)]) + label.encode() for label in value.split(".")) + b"\0"


def install_ours(directory: Path) -> None:
    """Make launchers with DJB's names for our programs."""
    for name in PROGRAMS:
        module = name.rstrip("@").replace("-", "_")
        launcher = directory / name
        launcher.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -m ucspi_env.tools.{module} "$@"\n')
        launcher.chmod(0o755)


def install_theirs(directory: Path, table: PeerTable) -> None:
    """Link Debian's programs; scripts that name others are made to name those that are tested.

    Raises:
        LookupError: one is missing.
    """
    for name in PROGRAMS:
        path = table.find(f"ucspi-tcp-ipv6/{name}")
        if path is None:
            raise LookupError(name)
        if table.runnable(path, directory) == path:
            (directory / name).symlink_to(path)


def observe(row: Row, world: World, programs: Path, directory: Path) -> Observation:
    """Run a row.

    Args:
        row: the row.
        world: where.
        programs: a directory with the programs under test, first on PATH.
        directory: a new one to run in; another beside it is used for a while.
    """
    directory.mkdir()
    for name, content in row.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1"))
    env = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "DNSCACHEIP": World.RESOLVER,
        "LOCALDOMAIN": "",  # else the machine's own search list would be tried
    }
    for name, value in row.env.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    names = {str(programs): "{bin}", str(directory): "{cwd}"}
    if row.calls:
        return _observe_server(row, world, directory, env, names)
    return _observe_command(row, world, directory, env, names)


def _observe_command(
    row: Row, world: World, directory: Path, env: Mapping[str, str], names: dict[str, str]
) -> Observation:
    with contextlib.ExitStack() as stack:
        places: dict[str, str] = {}
        finish: Callable[[], None] | None = None
        heard: list[bytes] = []
        callers: list[int] = []
        host = row.listen or "127.0.0.1"
        for place in ("refused", "busy", "port"):
            if "{" + place + "}" in row.command:
                port, wait = stack.enter_context(_place(world, place, host, row, heard, callers))
                places[place] = str(port)
                if place == "port":
                    finish = wait
        command = row.command
        for place, value in places.items():
            command = command.replace("{" + place + "}", value)
        program = stack.enter_context(_Collected(["sh", "-c", command], world, env, directory, row.stdin))
        status = program.finish()
        if finish:
            finish()
        numbers = {value: "{" + place + "}" for place, value in places.items()}
        numbers |= {str(port): "{caller}" for port in callers}
        seen: Observation = {
            "status": status,
            "stdout": _normal(program.stdout, numbers, names, program.pid),
            "stderr": _lines(_normal(program.stderr, numbers, names, program.pid), row),
        }
        if "port" in places:
            seen["heard"] = [_normal(one, numbers, names, 0) for one in heard]
    files = _files(directory, row)
    if files:
        seen["files"] = files
    return seen


class _Collected:
    """A command with input and output in files, so that what it leaves running cannot hold us up."""

    def __init__(self, argv: list[str], world: World, env: Mapping[str, str], directory: Path, stdin: str) -> None:
        self._scratch = directory.with_name(directory.name + ".io")
        self._scratch.mkdir()
        (self._scratch / "in").write_bytes(stdin.encode("latin-1"))
        with (self._scratch / "in").open("rb") as given, (self._scratch / "out").open("wb") as out:
            self._program = Program(
                argv, env=env, cwd=directory, namespace=world.namespace, stdin=given.fileno(), stdout=out.fileno()
            )
        self.pid = self._program.pid

    def __enter__(self) -> _Collected:
        return self

    def __exit__(self, *_: object) -> None:
        self._program.stop()
        shutil.rmtree(self._scratch)

    def finish(self) -> int:
        """Wait for the end: the exit status, as a shell counts it."""
        status = self._program.wait(30)
        self._program.wait_for_silence(30)
        self._program.stop()
        return status if status >= 0 else 128 - status

    @property
    def stdout(self) -> bytes:
        return (self._scratch / "out").read_bytes()

    @property
    def stderr(self) -> bytes:
        return "".join(line + "\n" for line in self._program.lines).encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _place(
    world: World, kind: str, host: str, row: Row, heard: list[bytes], callers: list[int]
) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port of the namespace: one that refuses, one that is taken, or a listener that greets and listens.

    The listener's callers are all heard when the callable returns: it calls last, and the queue keeps the order.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with world.namespace.socket(family) as one, world.namespace.socket(family) as last:
        address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][4]  # a zone is lost in bind()
        one.bind(address)
        if kind == "refused":
            yield one.getsockname()[1], lambda: None
            return
        last.bind(address)
        one.listen()
        one.settimeout(None)
        end = last.getsockname()[1]

        def serve() -> None:
            while True:
                connection, address = one.accept()
                with connection:
                    if address[1] == end:
                        return
                    callers.append(address[1])
                    heard.append(_converse(connection, row.greeting.encode("latin-1"), row.until.encode("latin-1")))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def finish() -> None:
            if thread.is_alive() and last.fileno() >= 0:
                with contextlib.suppress(OSError):  # it was called before
                    last.connect(one.getsockname())
            thread.join()

        try:
            yield one.getsockname()[1], finish
        finally:
            finish()


def _converse(connection: socket.socket, greeting: bytes, until: bytes) -> bytes:
    """Listen, greet, listen to the end: what was heard."""
    received = bytearray()
    with contextlib.suppress(OSError):  # the caller may be gone, which is its right
        while not received.endswith(until) and (chunk := connection.recv(65536)):
            received += chunk
        connection.sendall(greeting)
        connection.shutdown(socket.SHUT_WR)
        while chunk := connection.recv(65536):
            received += chunk
    return bytes(received)


def _observe_server(
    row: Row, world: World, directory: Path, env: Mapping[str, str], names: dict[str, str]
) -> Observation:
    numbers: dict[str, str] = {}
    answers: list[bytes | str] = []
    # A shell in between would get the signals.
    command = row.command if "exec " in row.command else f"exec {row.command}"
    server = Server(["sh", "-c", command], env=env, cwd=directory, namespace=world.namespace)
    with server:
        try:
            server.read_port()
        except AssertionError:
            status = server.wait()
            refusal = "".join(line + "\n" for line in server.lines).encode("utf-8", "surrogateescape")
            return {"status": status, "answers": "not started", "stderr": _lines(_normal(refusal, {}, names, 0), row)}
        numbers[str(server.port)] = "{port}"
        for number, one in enumerate(row.calls, 1):
            family = socket.AF_INET6 if ":" in one.host else socket.AF_INET
            caller = world.namespace.socket(family)
            if one.ip_options:
                caller.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, one.ip_options)
            try:
                answer = call(
                    server.port,
                    one.host,
                    one.send.encode("latin-1"),
                    source=one.source,
                    over=caller,
                )
            except ConnectionRefusedError:
                answers.append(b"")  # no answer, as where it is reset: which of the two is a matter of moments
                continue
            numbers[str(answer.port)] = "{caller}"
            answers.append(answer.data)
            if row.logged:
                server.wait_for_line("tcpserver: status: 0/", count=number + 1)
        server.signal(getattr(signal, f"SIG{row.end}"))
        if row.end == "USR1" and row.logged:
            with contextlib.suppress(AssertionError):  # it ended instead
                server.wait_for_line("tcpserver: status: 0/", count=len(row.calls) + 2)
        if row.end != "TERM" and _still_serves(server, world, numbers):
            answers.append(f"serves on after {row.end}")
            if row.logged:
                server.wait_for_line("tcpserver: end ", count=len(row.calls) + 1)
            server.signal(signal.SIGTERM)
        status = server.wait()
        log = "".join(line + "\n" for line in server.stop()).encode("utf-8", "surrogateescape")
    seen: Observation = {
        "status": status if status >= 0 else 128 - status,
        "answers": [one if isinstance(one, str) else _answer(one, numbers, names) for one in answers],
        "stderr": _lines(_normal(log, numbers, names, server.pid), row),
    }
    files = _files(directory, row)
    if files:
        seen["files"] = files
    return seen


def _still_serves(server: Server, world: World, numbers: dict[str, str]) -> bool:
    """Whether a signal left the server alive: one more call is answered."""
    try:
        answer = call(server.port, over=world.namespace.socket(socket.AF_INET))
    except ConnectionError:
        return False
    numbers[str(answer.port)] = "{caller}"
    return bool(answer.data)


def _answer(data: bytes, numbers: Mapping[str, str], names: Mapping[str, str]) -> object:
    """An environment as sorted lines, anything else as it came."""
    if b"\0" not in data:
        return _normal(data, numbers, names, 0)
    before, *rest = data.split(b"\0")
    ignored = (b"PATH=", b"DNSCACHEIP=", b"LOCALDOMAIN=", b"PWD=", b"OLDPWD=", b"_=")
    variables = [one for one in (before, *rest) if one and not one.startswith(ignored)]
    return sorted(_normal(one, numbers, names, 0) for one in variables)


_PIDS = (
    re.compile(r"(?m)^(tcpserver: (?:pid|ok|deny|end) )(\d+)"),
    re.compile(r"(?m)^()(\d+)(?= [<>] )"),
    re.compile(r"(?m)(rblsmtpd: \S* ?pid )(\d+)"),
)


def _normal(data: bytes, numbers: Mapping[str, str], names: Mapping[str, str], pid: int) -> str:
    shown = text(data)
    for pattern in _PIDS:
        shown = pattern.sub(lambda found: found[1] + ("{pid}" if found[2] != "0" else "0"), shown)
    if pid:
        shown = re.sub(rf"\b{pid}\b", "{pid}", shown)
    for value, name in names.items():
        shown = shown.replace(value, name)
    for value, name in numbers.items():
        shown = re.sub(rf"(?<![\d.]){value}(?![\d.])", name, shown)
    return shown


def _lines(shown: str, row: Row) -> list[str]:
    lines = shown.split("\n")
    if not lines[-1]:
        lines.pop()  # every line was complete
    return sorted(lines) if row.unordered else lines


def _files(directory: Path, row: Row) -> dict[str, str]:
    """What the command wrote: new and changed files, those that are no text by their digest."""
    seen = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if not path.is_file():
            continue
        data = path.read_bytes()
        if name in row.files and data == row.files[name].encode("latin-1"):
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        plain = data.isascii() and data.replace(b"\n", b"").decode().isprintable()
        content = data.decode() if plain else f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:32]}"
        seen[name] = f"{mode:04o} {content}"
    return seen
