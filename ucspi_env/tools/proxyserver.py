"""proxyserver: read the PROXY header that a load balancer put in front, then run a program that sees the true caller.

Interface:
    ucspi-proxyserver -n nets [ -qQvlu ] [ -t seconds ] program [ arg ... ]

    A chain program, for any super-server that hands the connection over on descriptor 0. The header (version 1 or 2) is
    taken from there without a byte of what follows; the connection's variables are set to the caller that it names, in
    the dialect of tcpserver; those of all other dialects are removed; then ``program`` replaces proxyserver.

Options:
    -n nets     The balancers to believe: addresses and networks, separated by commas (``127.0.0.1,::1,10.1.0.0/16``).
                May be given more than once. There is no default: who may send a header may pretend to be anybody.
    -t seconds  How long to wait for the header. Default: 5.
    -l          Run the program for LOCAL connections (the balancer's health checks) too, with the balancer as its peer.
                Default: close them, with exit code 0; to the balancer that is a server in good health.
    -u          Run the program also where the header does not name a caller over TCP (UNKNOWN, UNSPEC, UDP, a
                UNIX-domain socket), with the balancer as its peer. Default: drop them.
    -q, -Q, -v  Print nothing; errors (default); every caller and health check as well.

Environment:
    PROTO, TCP*, TCP6* as from tcpserver, without names and ident answers, which nobody has asked for yet.
    UCSPI_PROXY_PEER   the balancer as the kernel knows it, ``ip:port``, the proof that `ucspi_env.remote` asks for.
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
from ucspi_env._errors import NoPeerYetError, ProxyError, UCSPIError
from ucspi_env._facts import Facts
from ucspi_env._identify import identify
from ucspi_env._model import Endpoint
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


class Options:
    """The command line."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Read it.

        Raises:
            Stop: it cannot be used.
        """
        found, self.argv = scan_options(NAME, SYNOPSIS, arguments, "qQvlun:t:")
        letters = [letter for letter, _ in found]
        self.verbosity = next((at for letter in reversed(letters) if (at := "qQv".find(letter)) >= 0), 1)
        self.keep_local = "l" in letters
        self.keep_unknown = "u" in letters
        self.timeout = DEFAULT_TIMEOUT
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
        try:
            self.trusted: Networks = balancers(",".join(nets))
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


def _admit(options: Options, environ: Mapping[str, str]) -> dict[str, str]:
    """The program's environment, or a `Stop`."""
    caller, kernel = _direct_peer(options, environ)
    if caller not in options.trusted:
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
            return dict(environ)
        if header.command == "LOCAL":
            raise _done(options, f"closing {what} from {caller}")
        raise fatal(NAME, f"PROXY header from {caller} names no caller over TCP: {what}")
    _tell(options, f"ok {connection.remote} from {caller}")
    return build(connection, "proxy").apply(environ) | proxy_variables(header, kernel)


def _direct_peer(options: Options, environ: Mapping[str, str]) -> tuple[Endpoint, Endpoint]:
    """Who is to be trusted or not, and the peer that the kernel sees.

    They differ behind stunnel, whose child has a loopback pair for a socket, and behind another proxyserver: there the
    header comes from the machine that the outer one named.
    """
    facts = Facts.observe(CONNECTION)
    # The operator's word that variables outrank the kernel is for what runs behind the header, not in front of it.
    environ = {name: value for name, value in environ.items() if name != TRUST}
    try:
        direct = identify(environ, facts)
        if direct.evidence == "operator":
            # A rule that gives the caller another address does not make it another machine.
            direct = identify({}, facts)
    except NoPeerYetError as error:
        socket = facts.descriptor(CONNECTION)
        if socket is not None and socket.type == "stream" and not socket.listening:
            raise _done(options, "the caller has gone before anybody looked") from error
        raise fatal(NAME, f"unable to tell who is calling: {error}") from error
    except UCSPIError as error:
        raise fatal(NAME, f"unable to tell who is calling: {error}") from error
    if direct.remote is None:
        raise fatal(NAME, "unable to tell which balancer is calling: the connection is a UNIX-domain socket")
    if direct.evidence == "unconfirmed":
        raise fatal(
            NAME, f"unable to tell who is calling: only variables name {direct.remote}, and anybody may set them"
        )
    connected = facts.connected()
    kernel = connected.peername if connected is not None else None
    return direct.remote, kernel if isinstance(kernel, Endpoint) else direct.remote


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
