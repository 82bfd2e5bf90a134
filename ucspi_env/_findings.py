"""What `ucspi_env._identify` and `ucspi_env._variables` have to report: every problem and error in its wording.

Imported only when there is something to report: an environment in order does not pay for this. Host names stay with
the reading of them, since ``tcpserver -l0``, which is usual, is one of theirs.
"""

from __future__ import annotations

from ucspi_env._address import shown
from ucspi_env._errors import (
    BadVariableError,
    MissingVariableError,
    NoPeerYetError,
    NotUnderSuperServerError,
    UnconfirmedPeerError,
)
from ucspi_env._model import Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._errors import UCSPIError
    from ucspi_env._facts import Descriptor
    from ucspi_env._model import Connection, Endpoint, Severity
    from ucspi_env._relay import Relay

    Environ = Mapping[str, str]


def _problem(environ: Environ, code: str, severity: Severity, name: str, message: str, hint: str) -> Problem:
    return Problem(code, severity, name, environ.get(name), message, hint)


# -- one variable --


def unusable(environ: Environ, name: str, why: str) -> BadVariableError:
    """The peer's address cannot be read."""
    return BadVariableError(name, environ[name], why, f"have the super-server set {name} to the caller's address")


def unknown_address(environ: Environ, name: str) -> BadVariableError:
    """The peer's address is 0.0.0.0 or ::."""
    return BadVariableError(
        name,
        environ[name],
        "stands for an unknown address",
        "an adapter that cannot read IPv6 addresses writes this (qmail's tcp-env does): take it out of the chain",
    )


def bad_login(environ: Environ, name: str, why: str) -> BadVariableError:
    """SSH_CONNECTION is not what sshd writes."""
    return BadVariableError(name, environ[name], why, "only sshd should set it")


def missing_port(environ: Environ, name: str) -> Problem:
    """An address without its port."""
    empty = "empty" if name in environ else "not set"
    message = f"{name} is {empty}: the peer's port is unknown"
    return _problem(environ, "missing-port", "warning", name, message, f"have the super-server set {name}")


def missing_address(environ: Environ, name: str, address: str) -> Problem:
    """A port without its address."""
    return _problem(
        environ,
        "missing-address",
        "warning",
        name,
        f"{name} is set and {address} is not",
        "left over from another server, or lost on the way: have the super-server set both or neither",
    )


def bad_port(name: str, text: str, why: str) -> Problem:
    """A port that is none; ``text`` is the part of variable ``name`` that should be one."""
    hint = f"have the super-server set {name} to a decimal number"
    return Problem("bad-port", "error", name, text, f"{name}={shown(text)} {why}", hint)


def bad_info(environ: Environ, name: str) -> Problem:
    """An ident answer that is not printable."""
    message = f"{name}={shown(environ[name])} is not printable text and is ignored"
    hint = "ident answers are the caller's to choose: switch the look-up off (tcpserver -R)"
    return _problem(environ, "bad-info", "warning", name, message, hint)


def bad_local(environ: Environ, name: str, why: str) -> Problem:
    """A called address, or its port, that cannot be read."""
    message = f"{name}={shown(environ[name])}, or its port, {why}"
    hint = "have the super-server set it to the address that was called"
    return _problem(environ, "bad-local", "warning", name, message, hint)


def bad_id(environ: Environ, name: str) -> Problem:
    """A user, group or process id that is no number."""
    message = f"{name}={shown(environ[name])} is not a number"
    return _problem(environ, "bad-id", "error", name, message, "have the super-server set it")


# -- one claim against another --


def bad_address(environ: Environ, error: BadVariableError) -> Problem:
    """An address that cannot be read, beside an answer that does without it."""
    message = f"{error.name}={shown(error.value)} {error.why}"
    return _problem(environ, "bad-address", "warning", error.name, message, error.remedy)


def stale(environ: Environ, name: str, by: str) -> Problem:
    """A claim that the answer contradicts."""
    return _problem(
        environ,
        "stale-variables",
        "warning",
        name,
        f"{name}={shown(environ.get(name, ''))} names another peer: {by}",
        "left over from another server, or rewritten by a PROXY wrapper; for the latter set UCSPI_TRUST=proxy",
    )


def stale_user(environ: Environ, name: str, uid: int) -> Problem:
    """Credentials that the kernel contradicts."""
    return _problem(
        environ,
        "stale-variables",
        "warning",
        name,
        f"the variables name user {shown(environ[name])}, the kernel says {uid}",
        "the kernel's word is used; have the super-server remove variables that it did not set",
    )


def duplicate(environ: Environ, name: str, times: int, used: str) -> Problem:
    """One name, several values."""
    return _problem(
        environ,
        "duplicate-variable",
        "warning",
        name,
        f"{name} stands {times} times in the environment: the {used} is used; a shell keeps the last",
        "do not put a shell between the super-server and the program",
    )


def operator_rule(environ: Environ, peer: Endpoint, instead: Endpoint, *, vouched: bool) -> Problem:
    """A rule set TCPREMOTEIP; ``vouched``: its mark, or the operator, says so."""
    hint = "nothing to do if that rule is meant"
    if not vouched:
        hint += "; stale variables look the same, so for strict=True use ucspi-tcpserver or set UCSPI_TRUST=rules"
    return _problem(
        environ,
        "operator-rule",
        "notice",
        "TCPREMOTEIP",
        f"a rule of the super-server replaced the caller's address {peer.ip} by {instead.ip}",
        hint,
    )


def bad_trust(environ: Environ, word: str) -> Problem:
    """A word in UCSPI_TRUST without a meaning."""
    return _problem(
        environ,
        "bad-trust",
        "warning",
        "UCSPI_TRUST",
        f"UCSPI_TRUST={shown(environ['UCSPI_TRUST'])}: {shown(word)} is not a word of it and is ignored",
        "use proxy, rules, stunnel or socat:PREFIX, separated by commas",
    )


def tls_unconfirmed(environ: Environ, name: str, dialect: str) -> Problem:
    """A variable says that TLS was taken off, and nothing else does."""
    return _problem(
        environ,
        "tls-unconfirmed",
        "notice",
        name,
        f"{name}={shown(environ[name])} says that TLS was taken off; neither {dialect} nor the relay says so",
        "nothing to do behind s6-tlsd and the like; elsewhere start the super-server with a clean environment (env -i)",
    )


def relay_unproved(relay: Relay) -> Problem:
    """The process at the other end of the pipe could not be a witness."""
    name = shown(relay.name)[1:-1]
    who = f"process {relay.pid} ({name})"
    what, hint = {
        "not-found": (
            "no process in reach holds the other end of descriptor 0",
            "use a relay that is the program's child, one of its ancestors or a child of these, and mount /proc",
        ),
        "unreadable": (
            f"{who} may be the relay, but runs as user {relay.user}: user {relay.asker} cannot look at its descriptors",
            f"start the relay as user {relay.asker} too, for example: setuidgid USER {name} PROGRAM",
        ),
        "protected": (
            f"{who} may be the relay, but its descriptors cannot be read: it has changed its user, or is protected",
            "start the relay as the program's user (setuidgid USER RELAY PROGRAM), without its own option for that",
        ),
        "no-socket": (
            f"{who} holds the other end of descriptor 0 and has no network connection",
            "have the relay alone hold that end (close it in other processes), with the connection on its descriptor 0",
        ),
        "several-peers": (
            f"{who} has several network connections, and which of them is this one cannot be told",
            "use a relay with a process for each connection",
        ),
        "disagreement": (
            "several processes hold the other end of descriptor 0, with connections to different peers",
            "have the relay alone hold that end (close it in other processes)",
        ),
        None: (
            f"{who} has a connection, but not with this peer, and may have dialled it",
            "have the super-server set the variables of this connection, or start it with a clean environment (env -i)",
        ),
        "too-many": (
            "there are more processes, descriptors or sockets than this is willing to look at",
            "use a relay that is the program's parent or child, with few descriptors",
        ),
        "no-kernel": (
            "the kernel does not tell what the sockets of other processes are connected to",
            "let the program use netlink (systemd: RestrictAddressFamilies=AF_NETLINK) or mount /proc",
        ),
    }[relay.obstacle]
    return Problem("relay-unproved", "notice", None, None, what, hint)


def missing_caller(environ: Environ, balancer: Endpoint) -> Problem:
    """A PROXY wrapper that did not say who called."""
    return _problem(
        environ,
        "missing-caller",
        "warning",
        "TCPREMOTEIP",
        f"a PROXY wrapper is said to have run, but TCPREMOTEIP names no caller: {balancer} is the balancer",
        "have the wrapper set it, or do without UCSPI_TRUST=proxy",
    )


def stunnel_or_stale(environ: Environ, fd: int, claimed: Endpoint, *, contradicted: bool) -> Problem:
    """What looks like stunnel's pair and cannot be told from a genuine local caller."""
    return _problem(
        environ,
        "stunnel-or-stale",
        "warning" if contradicted else "notice",
        "REMOTE_HOST",
        f"descriptor {fd} is a loopback pair and REMOTE_HOST names {claimed}: "
        "stunnel's doing, or a stale variable beside a genuine local caller",
        "start the super-server with a clean environment (env -i); behind stunnel set UCSPI_TRUST=stunnel",
    )


def web_server(environ: Environ, claimed: Endpoint) -> Problem:
    """CGI by GATEWAY_INTERFACE."""
    return _problem(
        environ,
        "web-server",
        "notice",
        "GATEWAY_INTERFACE",
        f"GATEWAY_INTERFACE is set, so REMOTE_ADDR is taken for a web server's word: {claimed}",
        "nothing to do in a CGI program, where strict=True has no use; elsewhere start the super-server with a clean "
        "environment (env -i)",
    )


def ssh_session(environ: Environ, login: Endpoint) -> Problem:
    """An ssh login is all there is."""
    return _problem(
        environ,
        "ssh-session",
        "warning",
        "SSH_CONNECTION",
        f"only SSH_CONNECTION names a peer: {login}, who logged in by ssh",
        "a service needs a super-server; a login's own variables say nothing about a service's callers",
    )


def proto_mismatch(environ: Environ, remote: Endpoint) -> Problem:
    """PROTO of a UNIX-domain caller, and an IP one."""
    return _problem(
        environ,
        "proto-mismatch",
        "warning",
        "PROTO",
        f"PROTO={environ.get('PROTO')} announces a UNIX-domain caller, and {remote} is none",
        "left over from another server, or a PROXY wrapper could not say it better: then this is the balancer",
    )


# -- no answer --


def no_peer_yet(fd: int, socket: Descriptor) -> NoPeerYetError:
    """A socket that is not connected."""
    if socket.listening:
        return NoPeerYetError(
            f"descriptor {fd} is a listening socket: there is no peer before accept(); "
            "ask with fd= the accepted one, or have the super-server accept (inetd: nowait, systemd: Accept=yes)"
        )
    if socket.type == "dgram":
        return NoPeerYetError(
            f"descriptor {fd} is an unconnected datagram socket: the peer comes with each datagram (recvfrom)"
        )
    return NoPeerYetError(f"descriptor {fd} is an unconnected socket: the caller has gone already, or never was there")


def unconfirmed(found: Connection, *, asked: bool) -> UnconfirmedPeerError:
    """What ``strict=True`` does not accept; ``asked``: whether a descriptor was looked at."""
    for problem in found.problems:
        if problem.code in _DECIDING:
            return UnconfirmedPeerError(found.remote, str(problem))
    if found.dialect == "stunnel":
        return UnconfirmedPeerError(found.remote, "only REMOTE_HOST names it; behind stunnel set UCSPI_TRUST=stunnel")
    why = f"only variables ({found.dialect}) name it, and anything may have set them; "
    return UnconfirmedPeerError(
        found.remote,
        why
        + (
            "give the program the socket itself, or run it behind a relay that the kernel can be asked about"
            if asked
            else "ask about the descriptor as well (fd=0)"
        ),
    )


_DECIDING = ("relay-unproved", "operator-rule", "stunnel-or-stale", "web-server")


def nothing(environ: Environ, fd: int, *, asked: bool) -> UCSPIError:
    """No variable names a peer, and no descriptor has one; ``asked``: whether one was looked at."""
    proto = environ.get("PROTO")
    if proto in ("TCP", "TCP6", "UDP", "SSL", "SSL6"):
        name = "SSLREMOTEIP" if proto.startswith("SSL") else "TCPREMOTEIP"
        return MissingVariableError(
            name, f"PROTO={shown(proto)} announces a connection that nothing names; have the super-server set it"
        )
    where = f"descriptor {fd} is no connected socket, " if asked else ""
    return NotUnderSuperServerError(
        f"no super-server speaks: {where}no variable names a peer; "
        "start the program under one, for example: ucspi-tcpserver ::0 7777 PROGRAM"
    )
