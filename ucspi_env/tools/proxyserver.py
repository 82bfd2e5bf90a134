"""proxyserver: read the PROXY header that a load balancer put in front, then run a program that sees the true caller.

Interface:
    ucspi-proxyserver -n nets [ -qQvlu ] [ -t seconds ] program [ arg ... ]

    A chain program, for any super-server that hands the connection over on descriptor 0. The header (version 1 or 2) is
    taken from there without a byte of what follows; the connection's variables are set to the caller that it names, in
    the dialect of tcpserver; those of all other dialects are removed; then ``program`` replaces proxyserver.

Options:
    -n nets     The balancers to believe: addresses and networks, separated by commas (``127.0.0.1,::1,10.1.0.0/16``).
                A balancer that connects to a UNIX-domain socket: ``unix:`` any, ``unix:/run/mail.sock`` one that
                connects to the listener of this path, ``unix:uid=101`` one that runs as this user.
                May be given more than once. There is no default: who may send a header may pretend to be anybody.
    -t seconds  How long to wait for the header. Default: 5.
    -l          Run the program for LOCAL connections (the balancer's health checks) too, with the balancer as its peer.
                Default: close them, with exit code 0; to the balancer that is a server in good health. Nothing is left
                of other variables that name a peer.
    -u          Run the program also where the header does not name a caller over TCP (UNKNOWN, UNSPEC, UDP, a
                UNIX-domain socket), with the balancer as its peer. Default: drop them.
    -q, -Q, -v  Print nothing; errors (default); every caller and health check as well.

Environment:
    PROTO, TCP*, TCP6* as from tcpserver, without names and ident answers, which nobody has asked for yet.
    UCSPI_PROXY_PEER   the balancer as the kernel knows it, the proof that `ucspi_env.remote` asks for: ``ip:port``,
                       ``unix:PATH`` (the listener's path) or ``unix:uid=N``.
    SSL_PROTOCOL, SSL_CIPHER, SSL_TLS_SNI_SERVERNAME   as from s6-tlsserver, if the balancer tells of TLS (version 2).

Exit codes:
    0    a health check: answered by closing, or gone before it could be (a balancer may connect and reset at once)
    100  wrong usage, or a peer that is not a trusted balancer
    111  no header in time, not a header, one without a caller; the peer is not certain; the program cannot be run
    else that of the program
"""

from __future__ import annotations

import os

from ucspi_env._build import build
from ucspi_env._dialects import PEER_VARIABLES
from ucspi_env._errors import NoPeerYetError, ProxyError, UCSPIError
from ucspi_env._facts import Facts
from ucspi_env._findings import unconfirmed
from ucspi_env._identify import identify
from ucspi_env._model import Connection, Endpoint
from ucspi_env._trust import trusted_words
from ucspi_env._variables import TRUST
from ucspi_env.tools._exec import default_signals, own_environ
from ucspi_env.tools._program import (
    EXIT_USAGE,
    Stop,
    fatal,
    leading_number,
    run_program,
    scan_options,
    start,
    usage,
    write_line,
)
from ucspi_env.tools._proxyread import (
    DEFAULT_TIMEOUT,
    BalancerGone,
    balancers,
    nameless,
    proxied,
    proxy_variables,
    read_header,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from ucspi_env._networks import Networks

NAME = "proxyserver"
SYNOPSIS = "proxyserver -n nets [ -qQvlu ] [ -t seconds ] program [ arg ... ]"
CONNECTION = 0
_UNIX = "unix:"


class Options:
    """The command line."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Read it.

        Raises:
            Stop: it cannot be used.
        """
        self.argv: list[str]
        found, self.argv = scan_options(NAME, SYNOPSIS, arguments, "qQvlun:t:")
        letters = [letter for letter, _ in found]
        self.verbosity: int = next((at for letter in reversed(letters) if (at := "qQv".find(letter)) >= 0), 1)
        self.keep_local: bool = "l" in letters
        self.keep_unknown: bool = "u" in letters
        self.timeout: int = DEFAULT_TIMEOUT
        nets: list[str] = []
        for letter, value in found:
            if letter == "t":
                self.timeout = leading_number(value)
            elif letter == "n":
                nets.append(value)
        if not self.argv:
            raise usage(NAME, SYNOPSIS)
        if not nets:
            raise usage(
                NAME, SYNOPSIS, "-n is missing: say which balancers may name callers, for example -n 127.0.0.1,::1"
            )
        words = ",".join(nets).replace(",", " ").split()
        self.trusted_unix: list[str] = [word.removeprefix(_UNIX) for word in words if word.startswith(_UNIX)]
        networks = ",".join(word for word in words if not word.startswith(_UNIX))
        try:
            self.trusted: Networks | None = balancers(networks) if networks or not self.trusted_unix else None
            for word in self.trusted_unix:
                _check_unix(word)
        except ValueError as error:
            raise usage(NAME, SYNOPSIS, f"unable to use -n: {error}") from error


def main(arguments: Sequence[str]) -> int:
    """The program."""
    options = Options(arguments)
    try:
        environ = _admit(options, own_environ())
    except Stop as stop:
        raise Stop(stop.status, *(stop.lines if options.verbosity else ())) from None
    default_signals()
    try:
        return run_program(options.argv, environ, _replace)
    except OSError as error:
        raise fatal(NAME, f"unable to run {options.argv[0]}", error) from error


def _replace(path: str, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    os.execve(path, list(argv), environ)


def _check_unix(what: str) -> None:
    """Check what follows ``unix:``.

    Raises:
        ValueError: it is neither empty nor a path nor a user id.
    """
    user = what.removeprefix("uid=")
    if user == what:
        usable = not what or what.startswith(("/", "@", "./"))
    else:
        usable = user.isascii() and user.isdigit() and len(user) <= 10
    if not usable:
        msg = f"unix:{what} is not unix:, unix:/PATH or unix:uid=NUMBER"
        raise ValueError(msg)


class Balancer:
    """Who sent the header, as the kernel knows it.

    Attributes:
        name: for log lines.
        mark: what ``UCSPI_PROXY_PEER`` says.
        connection: its connection to us, None where it came over a UNIX-domain socket.
        trusted: whether ``-n`` names it.
    """

    def __init__(self, name: str, mark: str, connection: Connection | None, *, trusted: bool) -> None:
        self.name = name
        self.mark = mark
        self.connection = connection
        self.trusted = trusted


def _admit(options: Options, environ: Mapping[str, str]) -> dict[str, str]:
    """The program's environment, or a `Stop`."""
    balancer = _balancer(options, environ)
    caller = balancer.name
    if not balancer.trusted:
        raise Stop(EXIT_USAGE, f"{NAME}: fatal: {caller} is not a trusted balancer (-n): its connection is dropped")
    try:
        header = read_header(CONNECTION, options.timeout)
        connection = proxied(header)
    except BalancerGone as error:
        raise _done(options, f"{caller} has gone before it sent a header") from error
    except ProxyError as error:
        raise fatal(NAME, f"unable to read PROXY header from {caller}: {error}") from error
    if connection is None:
        what = nameless(header)
        if options.keep_local if header.command == "LOCAL" else options.keep_unknown:
            _tell(options, f"ok {what} from {caller}")
            return _own_environment(balancer, environ)
        if header.command == "LOCAL":
            raise _done(options, f"closing {what} from {caller}")
        raise fatal(NAME, f"PROXY header from {caller} names no caller over TCP: {what}")
    _tell(options, f"ok {connection.remote} from {caller}")
    return build(connection, "proxy").apply(environ) | proxy_variables(header, balancer.mark)


def _own_environment(balancer: Balancer, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the balancer itself is the peer; stale variables would name somebody else."""
    if balancer.connection is None:
        return {name: value for name, value in environ.items() if name not in PEER_VARIABLES}
    return build(balancer.connection).apply(environ)


def _balancer(options: Options, environ: Mapping[str, str]) -> Balancer:
    """Who is to be trusted or not.

    It is not the kernel's peer behind stunnel, whose child has a loopback pair for a socket, and behind another
    proxyserver: there the header comes from the machine that the outer one named.
    """
    facts = Facts.observe(CONNECTION, environ=environ)
    socket = facts.descriptor(CONNECTION)
    if socket is not None and socket.family == "unix" and not socket.listening and isinstance(socket.sockname, str):
        path, user = socket.sockname, socket.peercred[1] if socket.peercred else None
        if path:
            named = {path} if path.startswith(("/", "@", "./")) else set[str]()
            trusted = ({"", f"uid={user}"} | named).intersection(options.trusted_unix)
            name = f"the UNIX-domain peer at {path!a}" + ("" if user is None else f" (user {user})")
            what = path if trusted - {f"uid={user}"} or not trusted else f"uid={user}"
            return Balancer(name, f"{_UNIX}{what}", None, trusted=bool(trusted))
    # The operator's word that variables outrank the kernel is for what runs behind the header, not in front of it.
    words, _ = trusted_words(environ.get(TRUST, ""))
    try:
        direct = identify(environ, facts, trust=",".join(sorted(words - {"proxy"})) or "kernel")
    except NoPeerYetError as error:
        if socket is not None and socket.type == "stream" and not socket.listening:
            raise _done(options, "the caller has gone before anybody looked") from error
        raise fatal(NAME, f"unable to tell who is calling: {error}") from error
    except UCSPIError as error:
        raise fatal(NAME, f"unable to tell who is calling: {error}") from error
    seen = facts.connected() or (direct.relay.sockets[0] if direct.relay is not None else None)
    kernel = seen.peername if seen is not None else None
    remote = direct.remote
    if remote is None:
        raise fatal(
            NAME, "unable to tell which balancer is calling: the connection is a UNIX-domain socket without a name"
        )
    if direct.evidence == "operator" and direct.dialect not in ("stunnel", "socat") and isinstance(kernel, Endpoint):
        # A rule that gives the caller another address does not make it another machine.
        remote = kernel
    elif not direct.vouched:
        raise fatal(NAME, f"unable to tell who is calling: {unconfirmed(direct, asked=True)}")
    return Balancer(
        str(remote),
        str(kernel if isinstance(kernel, Endpoint) else remote),
        Connection(remote=remote, local=direct.local),
        trusted=options.trusted is not None and remote in options.trusted,
    )


def _done(options: Options, what: str) -> Stop:
    """The end of a connection that nothing was wrong with, and that nobody waits on."""
    return Stop(0, *([f"{NAME}: {what}"] if options.verbosity > 1 else ()))


def _tell(options: Options, what: str) -> None:
    if options.verbosity > 1:
        write_line(f"{NAME}: {what}")


def run() -> NoReturn:
    """Be the program."""
    start(main)


if __name__ == "__main__":
    run()
