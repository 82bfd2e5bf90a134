"""Who is calling? The true peer of a UCSPI server, whichever super-server started it.

    >>> import ucspi_env
    >>> peer = ucspi_env.remote({"PROTO": "TCP6", "TCPREMOTEIP": "::ffff:192.0.2.1", "TCPREMOTEPORT": "4711"})
    >>> str(peer), peer.ip.version
    ('192.0.2.1:4711', 4)

`remote`, `local` and `connection` are the questions a server asks; they are also the only functions here that look at
`os.environ` and at descriptors. Everything behind them is values and pure functions: `identify` decides, `build` is
the way back, from a connection to an environment. What a server does not need at its start is imported when it is
first used.
"""

# Everything is imported when it is first used: a program of the suite that is in this package pays for no more than it
# uses itself. The modules that remote() needs quote their annotations instead of importing `__future__`, which costs
# twice what another of them would: benchmarks/bench_import.py counts.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._build import EnvChange, build
    from ucspi_env._dialects import Dialect, dialect, dialects
    from ucspi_env._errors import (
        BadVariableError,
        DialectError,
        MissingVariableError,
        NoPeerYetError,
        NotUnderSuperServerError,
        PeerError,
        ProxyError,
        UCSPIError,
        UnconfirmedPeerError,
        VariableError,
        WrongKindError,
    )
    from ucspi_env._facts import Descriptor, Facts
    from ucspi_env._identify import identify
    from ucspi_env._model import Connection, Endpoint, Problem
    from ucspi_env._networks import Networks
    from ucspi_env._relay import Relay
    from ucspi_env._session import Session, client_session, serve
    from ucspi_env._unix import UnixPeer
    from ucspi_env._version import __version__

__all__ = [
    "BadVariableError",
    "Connection",
    "Descriptor",
    "Dialect",
    "DialectError",
    "Endpoint",
    "EnvChange",
    "Facts",
    "MissingVariableError",
    "Networks",
    "NoPeerYetError",
    "NotUnderSuperServerError",
    "PeerError",
    "Problem",
    "ProxyError",
    "Relay",
    "Session",
    "UCSPIError",
    "UnconfirmedPeerError",
    "UnixPeer",
    "VariableError",
    "WrongKindError",
    "__version__",
    "build",
    "client_session",
    "connection",
    "dialect",
    "dialects",
    "identify",
    "local",
    "remote",
    "serve",
]

_LAZY = {
    "BadVariableError": "_errors",
    "DialectError": "_errors",
    "MissingVariableError": "_errors",
    "NoPeerYetError": "_errors",
    "NotUnderSuperServerError": "_errors",
    "PeerError": "_errors",
    "ProxyError": "_errors",
    "UCSPIError": "_errors",
    "UnconfirmedPeerError": "_errors",
    "VariableError": "_errors",
    "WrongKindError": "_errors",
    "Connection": "_model",
    "Descriptor": "_facts",
    "Dialect": "_dialects",
    "Endpoint": "_model",
    "EnvChange": "_build",
    "Facts": "_facts",
    "Networks": "_networks",
    "Problem": "_model",
    "Relay": "_relay",
    "Session": "_session",
    "UnixPeer": "_unix",
    "__version__": "_version",
    "build": "_build",
    "client_session": "_session",
    "dialect": "_dialects",
    "dialects": "_dialects",
    "identify": "_identify",
    "serve": "_session",
}


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    # importlib.import_module would do, and cost as much as two of our own modules.
    value: object = getattr(__import__(f"{__name__}.{module}", None, None, (name,)), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})


def connection(
    environ: "Mapping[str, str] | None" = None,
    *,
    fd: "int | None" = None,
    trust: "str | None" = None,
    strict: bool = False,
) -> "Connection":
    """All that is known about the connection this program was started for.

    Args:
        environ: the environment to judge. None: this process's own, and the kernel is asked about descriptor ``fd``.
            An explicit one is judged alone, unless ``fd`` is given too.
        fd: the descriptor that is the connection: 0 for servers (the default), 6 for programs under tcpclient.
        trust: what to believe beside the kernel, words separated by commas; None takes the operator's, ``UCSPI_TRUST``
            in the environment, which any other value replaces. ``"kernel"``: nothing. ``"proxy"``: a PROXY wrapper that
            leaves no proof. ``"rules"``: rules that replace TCPREMOTEIP. ``"stunnel"``: stunnel's loopback pair.
            ``"socat:PREFIX"``: a socat that was called by that name.
        strict: for access control. An answer is accepted only if a connected socket that the kernel shows, the
            program's own or its relay's, has this peer, or if the operator has vouched for who named another one.

    Raises:
        UnconfirmedPeerError: ``strict``, and the answer is not ``vouched`` for; the message has the remedy.
        NoPeerYetError: the descriptor is a listening or an unconnected socket.
        MissingVariableError: the environment announces a connection but does not name the peer.
        BadVariableError: the only variables there are cannot be used.
        NotUnderSuperServerError: nothing speaks of a connection.
    """
    from ucspi_env._facts import Facts
    from ucspi_env._identify import identify

    if environ is None:
        import os

        environ = dict(os.environ)  # which takes its time over each variable that is not there
        fd = 0 if fd is None else fd
    found = identify(environ, Facts() if fd is None else Facts.observe(fd, trust=trust, environ=environ), trust=trust)
    if strict and not found.vouched:
        from ucspi_env import _findings

        raise _findings.unconfirmed(found, asked=fd is not None)
    return found


def remote(
    environ: "Mapping[str, str] | None" = None,
    *,
    fd: "int | None" = None,
    trust: "str | None" = None,
    strict: bool = False,
) -> "Endpoint":
    """The caller: its true address, normalised, and port. The arguments are those of `connection`.

    Raises:
        WrongKindError: the caller came over a UNIX-domain socket; ``connection().unix`` has its credentials.
        UCSPIError: as `connection`.
    """
    found = connection(environ, fd=fd, trust=trust, strict=strict)
    if found.remote is None:
        from ucspi_env._errors import WrongKindError

        raise WrongKindError("the caller came over a UNIX-domain socket and has no IP address; see connection().unix")
    return found.remote


def local(
    environ: "Mapping[str, str] | None" = None,
    *,
    fd: "int | None" = None,
    trust: "str | None" = None,
    strict: bool = False,
) -> "Endpoint":
    """The address that was called. The arguments are those of `connection`.

    Raises:
        WrongKindError: the caller came over a UNIX-domain socket.
        MissingVariableError: the super-server does not tell, and the kernel does not know (a listener's 0.0.0.0 is no
            answer).
        UCSPIError: as `connection`.
    """
    found = connection(environ, fd=fd, trust=trust, strict=strict)
    if found.local is None:
        import os

        from ucspi_env._errors import MissingVariableError, WrongKindError

        if found.remote is None:
            raise WrongKindError(
                "the caller came over a UNIX-domain socket and called no IP address; see connection().unix"
            )
        raise MissingVariableError(
            "TCPLOCALIP",
            f"{found.dialect} does not tell which address was called",
            "is of no use" if (os.environ if environ is None else environ).get("TCPLOCALIP") else "is not set",
        )
    return found.local
