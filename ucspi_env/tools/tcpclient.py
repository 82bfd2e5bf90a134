"""tcpclient: connect to a TCP server and run a program that talks to it on descriptors 6 and 7.

Interface: ``tcpclient [ options ] host port program [ arg ... ]``. The program reads from the network on descriptor 6
    and writes to it on 7; both are the same socket. Its other descriptors are the caller's.

Options: ``-4`` IPv4 only; ``-6`` describe IPv4 connections as IPv6 ones; ``-i``, ``-p`` local address and port; ``-I``
    interface for link-local addresses; ``-T x+y`` patience with each address, in seconds (2+58); ``--serial`` one
    address after the other instead of happy eyeballs (RFC 8305), each for x seconds and, when all have kept silent,
    for y more; ``-h -H`` do or do not look up TCPREMOTEHOST; ``-l name`` TCPLOCALHOST instead of a look-up; ``-r
    -R``, ``-t`` do or do not ask for TCPREMOTEINFO, and for how long (26); ``-d -D`` delay small packets or not; ``-q
    -Q -v`` verbosity.

Environment: for the program, as described in tcp-environ(5), with a TCP6 twin of every variable. DNSCACHEIP,
    DNSREWRITEFILE and LOCALDOMAIN are what `_resolve` reads.

Exit codes: the program's; 100 for a usage error; 111 if there is no connection.

Notes: host ``0`` is this machine, first as ::1 and then as 127.0.0.1. IPv6 addresses may be in brackets and have a
    zone.
"""

from __future__ import annotations

import _socket
import errno
import os

from ucspi_env._address import djb_text, djb_text6, parse_ip
from ucspi_env._model import Endpoint
from ucspi_env.tools._connect import AllFailedError, SetupError, Source, connect
from ucspi_env.tools._dial import MAX_SCOPE, endpoint_of
from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._exec import default_signals, own_environ
from ucspi_env.tools._eyeballs import Race, Serial
from ucspi_env.tools._program import (
    EXIT_TROUBLE,
    Stop,
    fatal,
    leading_number,
    run_program,
    scan_options,
    tcp_port,
    usage,
    write_line,
)
from ucspi_env.tools._tasks import complete, gather

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from ucspi_env._build import EnvChange
    from ucspi_env.tools._eyeballs import Plan
    from ucspi_env.tools._resolve import Resolver
    from ucspi_env.tools._tasks import Task

PROGRAM = "tcpclient"
SYNOPSIS = (
    "tcpclient [ -46hHrRdDqQv ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] [ -l localname ] "
    "[ -t timeoutinfo ] [ -I interface ] host port program"
)
LETTERS = "46hHrRdDqQvi:p:T:l:t:I:"
WORDS = ("serial",)

READ_FD = 6
WRITE_FD = 7
MAX_PATIENCE = 86400
"""Seconds; longer timeouts are cut to a day. No kernel waits as long for a connection."""
LOOPBACK = (Endpoint("::1"), Endpoint("127.0.0.1"))


class Settings:
    """What the command line says.

    Attributes:
        ipv4_only: ``-4``.
        as_ipv6: ``-6``.
        local: ``-i``, with its zone if it has one.
        local_port: ``-p``, 0 for any.
        patience: ``-T``, two numbers of seconds.
        serial: ``--serial``.
        interface: ``-I``.
        local_name: ``-l``; None: look it up.
        look_up_host: ``-h``, ``-H``.
        ask_ident: ``-r``, ``-R``.
        ident_timeout: ``-t``, seconds.
        no_delay: ``-D``.
        verbosity: 0 silent, 1 errors, 2 everything.
        operands: host, port and program, as many as there are.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        """Read the command line.

        Raises:
            Stop: an option cannot be used.
        """
        self.ipv4_only: bool = False
        self.as_ipv6: bool = False
        self.local: Endpoint | None = None
        self.local_port: int = 0
        self.patience: tuple[int, int] = (2, 58)
        self.serial: bool = False
        self.interface: str | None = None
        self.local_name: str | None = None
        self.look_up_host: bool = True
        self.ask_ident: bool = True
        self.ident_timeout: int = 26
        self.no_delay: bool = False
        self.verbosity: int = 1
        self.operands: list[str]
        _, self.operands = scan_options(PROGRAM, SYNOPSIS, arguments, LETTERS, WORDS, take=self._take)

    def _take(self, option: str, value: str) -> None:
        match option:
            case "4":
                self.ipv4_only = True
            case "6":
                self.as_ipv6 = True
            case "h" | "H":
                self.look_up_host = option == "h"
            case "r" | "R":
                self.ask_ident = option == "r"
            case "d" | "D":
                self.no_delay = option == "D"
            case "q" | "Q" | "v":
                self.verbosity = "qQv".index(option)
            case "i":
                try:
                    self.local = Endpoint(value)
                except ValueError:
                    raise usage(PROGRAM, SYNOPSIS) from None
            case "p":
                self.local_port = leading_number(value)
                if self.local_port > 65535:
                    raise usage(PROGRAM, SYNOPSIS, f"-p {value} is not a port (0 to 65535)")
            case "T":
                self.patience = parse_patience(value)
            case "l":
                self.local_name = value
            case "t":
                self.ident_timeout = min(leading_number(value), MAX_PATIENCE)
            case "I":
                self.interface = value
            case _:
                self.serial = True


def parse_patience(text: str) -> tuple[int, int]:
    """The two numbers of ``-T x+y``, in seconds, by C's rules: what is missing is 0, and so is what is no number."""
    first = leading_number(text)
    rest = text.lstrip("0123456789")
    second = leading_number(rest[1:]) if rest.startswith("+") else 0
    return min(first, MAX_PATIENCE), min(second, MAX_PATIENCE)


def main(arguments: Sequence[str]) -> int:
    """Be tcpclient with these arguments; returns only by an exception."""
    default_signals(pipe=False)
    hold_descriptors()
    settings = Settings(arguments)
    try:
        call(settings)
    except Stop as stop:
        if settings.verbosity == 0:
            raise Stop(stop.status) from None
        raise


def hold_descriptors() -> None:
    """Close 6 and 7, and see to it that nothing which is opened from now on gets a number below 8.

    A socket that came to be number 2 would be sent our messages. What holds the places is closed when the program
    starts, so descriptors that were closed at our start are closed for it, too.
    """
    for fd in (READ_FD, WRITE_FD):
        try:
            os.close(fd)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise fatal(PROGRAM, f"unable to set up descriptor {fd}", error) from None
    held = 0
    while held <= WRITE_FD:
        try:
            # Always there, and of no use to those who read or write.
            held = os.open("/", getattr(os, "O_PATH", os.O_RDONLY))
        except OSError as error:
            raise fatal(PROGRAM, "unable to create socket", error) from None
    os.close(held)


def call(settings: Settings) -> NoReturn:
    """Everything after the options, in C's order."""
    host, port, program = _operands(settings.operands)
    found = LOOPBACK[settings.ipv4_only :] if host in ("", "0") else _literal(host)
    resolver = None
    if not found or settings.local_name is None or settings.look_up_host:
        resolver = _open_resolver(settings)
        if not found:
            from ucspi_env.tools._resolve import figure_out

            found = figure_out(PROGRAM, host, resolver, ipv4_only=settings.ipv4_only)
    sock = _connect(settings, [Endpoint(end.ip, port, end.zone or settings.interface) for end in found])
    try:
        local = endpoint_of(sock.getsockname())
    except OSError as error:
        raise fatal(PROGRAM, "unable to get local address", error) from None
    try:
        remote = endpoint_of(sock.getpeername())
    except OSError as error:
        raise fatal(PROGRAM, "unable to get remote address", error) from None
    if settings.verbosity > 1:
        spell = djb_text6 if settings.as_ipv6 else djb_text
        write_line(f"{PROGRAM}: connected to {spell(remote.ip)} port {remote.port}")
    environ = describe(*look_up(settings, resolver, remote, local), as_ipv6=settings.as_ipv6).apply(own_environ())
    for fd in (READ_FD, WRITE_FD):
        try:
            os.dup2(sock.fileno(), fd)
        except OSError as error:
            raise fatal(PROGRAM, f"unable to set up descriptor {fd}", error) from None
    default_signals()
    try:
        run_program(program, environ, lambda path, argv, environment: os.execve(path, list(argv), environment))
    except OSError as error:
        raise fatal(PROGRAM, f"unable to run {program[0]}", error) from None
    raise AssertionError("unreachable: execve(2) does not return")


def _operands(operands: Sequence[str]) -> tuple[str, int, Sequence[str]]:
    if len(operands) < 2:
        raise usage(PROGRAM, SYNOPSIS)
    port = tcp_port(PROGRAM, operands[1])
    if len(operands) < 3:
        raise usage(PROGRAM, SYNOPSIS)
    return operands[0], port, operands[2:]


def _literal(host: str) -> Sequence[Endpoint]:
    """The address that a host operand spells, so that `_resolve` need not even be imported; empty if it is a name."""
    if "DNSCACHEIP" in os.environ:  # it brings DJB's rewriting rules, which apply to addresses as well
        return []
    try:
        ip, zone = parse_ip(host)
    except ValueError:
        return []
    return [Endpoint(ip, zone=zone)]


def _open_resolver(settings: Settings) -> Resolver:
    from ucspi_env.tools._resolve import Resolver

    resolver = Resolver()
    if resolver.warning and settings.verbosity:
        write_line(f"{PROGRAM}: warning: {resolver.warning}")
    return resolver


def _connect(settings: Settings, targets: Sequence[Endpoint]) -> _socket.socket:
    local = settings.local
    if local is not None:
        local = Endpoint(local.ip, zone=local.zone or settings.interface)
    for endpoint in targets if local is None else (local, *targets):
        _check_zone(endpoint)
    first, second = settings.patience
    plan: Plan = Serial(targets, first, second) if settings.serial else Race(targets, first + second)
    source = Source(
        local, settings.local_port, "ipv4" if settings.ipv4_only else "ipv6" if settings.as_ipv6 else "native"
    )

    def report(endpoint: Endpoint, number: int) -> None:
        if settings.verbosity:
            reason = error_text(number)
            write_line(f"{PROGRAM}: unable to connect to {djb_text(endpoint.ip)} port {endpoint.port}: {reason}")
            if number == errno.EINVAL and _lacks_zone(endpoint):
                write_line(f"{PROGRAM}: {_which_interface(endpoint)}")

    try:
        sock = complete(connect(plan, source, report))
    except AllFailedError:
        raise Stop(EXIT_TROUBLE) from None
    except SetupError as error:
        stop = fatal(PROGRAM, f"unable to {error.step}", error)
        if error.errno == errno.EINVAL and local is not None and _lacks_zone(local):
            stop = Stop(stop.status, *stop.lines, f"{PROGRAM}: {_which_interface(local)}")
        raise stop from None
    if settings.no_delay:
        try:  # noqa: SIM105 - contextlib costs a millisecond
            sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError:
            pass  # BSD says so of a connection that is gone already, which is for the program to find out
    return sock


def _check_zone(endpoint: Endpoint) -> None:
    zone = endpoint.zone
    if zone is None or (zone.isascii() and zone.isdigit() and leading_number(zone) <= MAX_SCOPE):
        return
    try:
        _socket.if_nametoindex(zone)
    except OSError:
        raise fatal(PROGRAM, f"unable to reach {djb_text(endpoint.ip)}: no interface is called {zone}") from None


def _lacks_zone(endpoint: Endpoint) -> bool:
    return endpoint.ip.version == 6 and endpoint.ip.is_link_local and endpoint.zone is None


def _which_interface(endpoint: Endpoint) -> str:
    return f"{endpoint.ip} exists on every link: name the interface, as in -I eth0 or {endpoint.ip}%eth0"


def look_up(
    settings: Settings, resolver: Resolver | None, remote: Endpoint, local: Endpoint
) -> tuple[Endpoint, Endpoint]:
    """Both endpoints, with the names and the ident answer that the settings ask for; all look-ups run at once.

    What nobody knows is None. That takes at most as long as the slowest: `_resolve.PATIENCE` or ``-t``.
    """
    tasks: dict[str, Task[str | None]] = {}
    if resolver is not None and settings.local_name is None:
        tasks["local"] = resolver.ptr(local.ip)
    if resolver is not None and settings.look_up_host:
        tasks["remote"] = resolver.ptr(remote.ip)
    if settings.ask_ident:
        from ucspi_env.tools._ident import ident

        tasks["info"] = ident(remote, local, settings.ident_timeout)
    answers: dict[str, str | None] = {}
    for name, outcome in zip(tasks, complete(gather(*tasks.values())), strict=True):
        if outcome.error is not None and not isinstance(outcome.error, OSError):
            raise outcome.error
        answers[name] = outcome.value
    return (
        Endpoint(remote.ip, remote.port, remote.zone, answers.get("remote"), answers.get("info")),
        Endpoint(local.ip, local.port, local.zone, answers.get("local", settings.local_name)),
    )


def describe(remote: Endpoint, local: Endpoint, *, as_ipv6: bool = False) -> EnvChange:
    """The change to the environment for a connection.

    Of what older connections have left only the TCP variables go: unlike a server, a client is run by people and
    programs whose other variables (SSH_CONNECTION, REMOTE_ADDR) describe who they are, not what they connect to.
    """
    from ucspi_env._build import EnvChange, build
    from ucspi_env._model import Connection
    from ucspi_env._variables import PROXY_PEER

    change = build(Connection(remote=remote, local=local, evidence="kernel"), as_ipv6=as_ipv6)
    stale = frozenset(name for name in change.unset if name.startswith("TCP") or name == PROXY_PEER)
    return EnvChange(change.pairs, stale)


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
