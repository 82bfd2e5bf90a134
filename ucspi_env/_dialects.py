"""The table of dialects: what each super-server writes, read in one direction by `build` and in the other by people.

A row is a fact about a program, with its source. Every row was recorded from the program itself (``tests/captures``)
unless its note says otherwise. `ucspi_env._identify` names the dialect it found by these names.
"""

from __future__ import annotations

from ucspi_env._errors import DialectError
from ucspi_env._model import Value
from ucspi_env._variables import (
    ADDR,
    FAMILIES,
    HOST,
    IPC_NAMES,
    NCAT,
    PROXY_PEER,
    RULE_PEER,
    SOCAT,
    SSH,
    SSL,
    TCP,
    TCP6,
    TCPADDR,
    TRUST,
    UDPADDR,
    UNIX_NAMES,
    Family,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["DECISIVE", "PEER_VARIABLES", "Dialect", "Spelling", "dialect", "dialects", "without_socat"]


class Spelling(Value):
    """How one dialect writes an address into one family of variables.

    Attributes:
        v4: ``"dotted"``, or ``"mapped"`` for ``::ffff:192.0.2.1``.
        v6: ``"rfc5952"``; ``"djb"``, which also compresses a single zero group; ``"full"``, eight groups of four
            digits in brackets.
        zone: whether ``%zone`` is part of the text.
        brackets: whether IPv6 text is in brackets.
        dot: whether host names end in a dot.
    """

    __slots__ = ("brackets", "dot", "v4", "v6", "zone")
    v4: str
    v6: str
    zone: bool
    brackets: bool
    dot: bool

    def __init__(
        self, v4: str = "dotted", v6: str = "rfc5952", *, zone: bool = False, brackets: bool = False, dot: bool = False
    ) -> None:
        self._set(v4=v4, v6=v6, zone=zone, brackets=brackets, dot=dot)


class Dialect(Value):
    """One row of the table.

    Attributes:
        name: what `Connection.dialect` and ``tcpserver --dialect`` call it.
        aliases: other names for it.
        program: the program and version that speaks it.
        transports: what it carries: ``"tcp"``, ``"udp"``, ``"unix"``.
        ipv6: whether it carries IPv6 addresses.
        proto: PROTO for an IPv4 and for an IPv6 peer (for UNIX-domain callers the first); None where it is not set.
        writes: the families it writes, with their spelling.
        interface: whether TCP6INTERFACE has the zone of link-local peers.
        fixed: variables with a fixed value.
        unix_names: names for uid, gid, pid, remote path and local path, where it carries UNIX-domain callers.
        tls: whether the program gets the inside of a TLS connection.
        note: what a reader of it has to know, one sentence or two.
    """

    __slots__ = (
        "aliases",
        "fixed",
        "interface",
        "ipv6",
        "name",
        "note",
        "program",
        "proto",
        "tls",
        "transports",
        "unix_names",
        "writes",
    )
    name: str
    aliases: tuple[str, ...]
    program: str
    transports: tuple[str, ...]
    ipv6: bool
    proto: tuple[str, str] | None
    writes: tuple[tuple[Family, Spelling], ...]
    interface: bool
    fixed: tuple[tuple[str, str], ...]
    unix_names: tuple[str, ...]
    tls: bool
    note: str

    def __init__(
        self,
        name: str,
        program: str,
        note: str,
        *writes: tuple[Family, Spelling],
        aliases: tuple[str, ...] = (),
        transports: tuple[str, ...] = ("tcp",),
        ipv6: bool = True,
        proto: tuple[str, str] | None = None,
        interface: bool = False,
        fixed: tuple[tuple[str, str], ...] = (),
        unix_names: tuple[str, ...] = (),
        tls: bool = False,
    ) -> None:
        self._set(
            name=name,
            program=program,
            note=note,
            writes=writes,
            aliases=aliases,
            transports=transports,
            ipv6=ipv6,
            proto=proto,
            interface=interface,
            fixed=fixed,
            unix_names=unix_names,
            tls=tls,
        )

    def __repr__(self) -> str:
        return f"dialect({self.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # By its name: the row it becomes is the table's own, and so are the families it writes.
        return dialect, (self.name,)


_HOST_ONLY = Family("REMOTE_HOST", "REMOTE_HOST")  # xinetd's; stunnel writes both, and nothing else tells them apart
_PLAIN = Spelling()
_ZONED = Spelling(zone=True)
_DJB = Spelling(v6="djb")

_TABLE = (
    Dialect(
        "ucspi-tcp-ipv6",
        "tcpserver of ucspi-tcp 0.88 with Felix von Leitner's IPv6 patch (Debian ucspi-tcp-ipv6)",
        "Writes a TCP6 twin of every variable, for IPv4 peers too. With -6 an IPv4 peer is TCP6 and mapped. "
        "TCP6INTERFACE is "
        "set for link-local peers and never removed.",
        (TCP, _DJB),
        (TCP6, Spelling(v4="mapped", v6="djb")),
        proto=("TCP", "TCP6"),
        interface=True,
    ),
    Dialect(
        "ucspi-tcp",
        "tcpserver of ucspi-tcp 0.88 (D. J. Bernstein)",
        "The original, IPv4 only. A rule of tcprules can set any variable, TCPREMOTEIP too.",
        (TCP, _PLAIN),
        aliases=("djb",),
        ipv6=False,
        proto=("TCP", "TCP"),
    ),
    Dialect(
        "ucspi-tcp6",
        "tcpserver of ucspi-tcp6 1.11 (fehcom)",
        "The TCP6 twins exist for IPv6 peers only, and not after a DNS query went to an IPv4 server: read TCPREMOTEIP.",
        (TCP, _PLAIN),
        aliases=("fehcom",),
        proto=("TCP", "TCP6"),
    ),
    Dialect(
        "s6-networking",
        "s6-tcpserver, s6-tcpserver-access of s6-networking 2.8",
        "PROTO stays TCP for IPv6. TCPLOCALIP is the listener's address unless s6-tcpserver-access runs; host "
        "names end in a "
        "dot and are raw bytes. On a foreign dual-stack socket an IPv4 peer is hex: ::ffff:c000:201.",
        (TCP, Spelling(dot=True)),
        aliases=("s6", "s6-tcpserver"),
        proto=("TCP", "TCP"),
        fixed=(("TCPCONNNUM", "0"),),
    ),
    Dialect(
        "ipsvd",
        "tcpsvd of ipsvd 1.0 (G. Pape)",
        "IPv4 only. TCPREMOTEHOST with -h only. With -E it sets nothing and removes nothing.",
        (TCP, _PLAIN),
        aliases=("tcpsvd",),
        ipv6=False,
        proto=("TCP", "TCP"),
    ),
    Dialect(
        "busybox-tcpsvd",
        "tcpsvd of busybox 1.35",
        "Address and port in one variable, TCPREMOTEADDR, IPv6 in brackets; with -C the port is missing. PROTO "
        "stays TCP. "
        "Removes nothing: a TCPREMOTEIP beside it is somebody else's.",
        (TCPADDR, Spelling(zone=True, brackets=True)),
        aliases=("busybox",),
        proto=("TCP", "TCP"),
    ),
    Dialect(
        "busybox-udpsvd",
        "udpsvd of busybox 1.35",
        "As busybox-tcpsvd, UDPREMOTEADDR.",
        (UDPADDR, Spelling(zone=True, brackets=True)),
        transports=("udp",),
        proto=("UDP", "UDP"),
    ),
    Dialect(
        "sslserver",
        "sslserver of ucspi-ssl 0.70 and 0.95",
        "SSL* instead of TCP*; the program's descriptors 0 and 1 are pipes. With -e 0.70 adds TCP* twins.",
        (SSL, _PLAIN),
        aliases=("ucspi-ssl",),
        proto=("SSL", "SSL"),
        tls=True,
    ),
    Dialect(
        "sslserver-e",
        "sslserver -e of ucspi-ssl 0.95 (fehcom)",
        "SSL* with TCP* and TCP6* twins, and PROTO of TCP. Older versions leave PROTO=SSL with -e and write no TCP6*.",
        (SSL, _PLAIN),
        (TCP, _PLAIN),
        (TCP6, Spelling(v4="mapped")),
        proto=("TCP", "TCP6"),
        interface=True,
        tls=True,
    ),
    Dialect(
        "sslserver-ipv6",
        "sslserver of ucspi-ssl 0.84 with the IPv6 patch",
        "PROTO=SSL6 wherever the text has a colon, so for mapped IPv4 peers too; the names stay SSL*.",
        (SSL, _ZONED),
        proto=("SSL", "SSL6"),
        tls=True,
    ),
    Dialect(
        "nosh",
        "tcp-socket-accept of nosh 1.40",
        "PROTO stays TCP. --combine4and6 gives mapped text. Host and ident variables are removed.",
        (TCP, _PLAIN),
        proto=("TCP", "TCP"),
    ),
    Dialect(
        "ucspi-tools",
        "tcps of ucspi-tools 1.7 (younix)",
        "PROTO stays TCP, zone inside the text, mapped text for IPv4 peers; TCPREMOTEHOST is the address where "
        "there is no "
        "name. The local variables are the listener's.",
        (TCP, Spelling(v4="mapped", zone=True)),
        aliases=("tcps",),
        proto=("TCP", "TCP"),
    ),
    Dialect(
        "udplisten",
        "udplisten of tsi-ucspi-udp 0.88",
        "PROTO=UDP with variables named TCP*. IPv4 only.",
        (TCP, _PLAIN),
        transports=("udp",),
        ipv6=False,
        proto=("UDP", "UDP"),
    ),
    Dialect(
        "couriertcpd",
        "couriertcpd of Courier 1.0",
        "No PROTO. TCPREMOTEIP is ::ffff:192.0.2.1 for every IPv4 peer. TCPREMOTEHOST is softdnserr when DNS "
        "does not answer.",
        (TCP, Spelling(v4="mapped")),
        aliases=("courier",),
    ),
    Dialect(
        "inetutils-inetd",
        "inetd --environment --resolve of GNU inetutils 2.4",
        "PROTO stays TCP, zone inside the text; the host is the address where there is no name. Set in inetd "
        "itself: a wait "
        "service sees another service's caller.",
        (TCP, _ZONED),
        proto=("TCP", "TCP"),
    ),
    Dialect(
        "xinetd",
        "xinetd 2.3.15",
        "One variable, REMOTE_HOST, with the address. No port. Mapped for IPv4 peers of a dual-stack service.",
        (_HOST_ONLY, _ZONED),
    ),
    Dialect(
        "stunnel",
        "stunnel 5.68 with exec",
        "REMOTE_HOST is the address. The program's socket is a private loopback pair: the kernel's peer is 127.0.0.1.",
        (HOST, _ZONED),
        tls=True,
    ),
    Dialect(
        "systemd",
        "systemd 252, socket unit with Accept=yes",
        "REMOTE_ADDR and REMOTE_PORT, mapped addresses shown as IPv4. Newer versions write a path there for "
        "UNIX callers.",
        (ADDR, _ZONED),
    ),
    Dialect(
        "socat",
        "socat 1.7.4 EXEC, SYSTEM",
        "IPv6 in brackets and in full, mapped in hex. A socat that was called by another name writes that name "
        "instead of SOCAT: it counts with UCSPI_TRUST=socat:NAME. The relay's socket proves it.",
        (SOCAT, Spelling(v6="full", brackets=True)),
    ),
    Dialect(
        "ncat",
        "ncat 7.93 -e, --sh-exec",
        "A UNIX-domain listener writes NCAT_REMOTE_ADDR=localhost. The sockets leak into the program, which "
        "confirms the peer. With --ssl no variable says so.",
        (NCAT, _ZONED),
        transports=("tcp", "udp"),
    ),
    Dialect(
        "tlss",
        "tlss of ucspi-tools 1.7 (younix)",
        "Sets PROTO=SSL and leaves the TCP* of the super-server in front. The program's descriptors 0 and 1 are pipes; "
        "the relay's socket proves the peer.",
        (TCP, _ZONED),
        proto=("SSL", "SSL"),
        tls=True,
    ),
    Dialect(
        "cgi",
        "CGI/1.1 programs of web servers (Apache, lighttpd, busybox httpd, althttpd, websocketd, Net::Server::HTTP)",
        "REMOTE_ADDR of the HTTP client; busybox httpd writes brackets around IPv6. Descriptor 0 may be a named "
        "UNIX-domain socket of the web server's (Apache mod_cgid). REMOTE_HOST is a name and HTTP_* are the client's.",
        (ADDR, _ZONED),
        fixed=(("GATEWAY_INTERFACE", "CGI/1.1"),),
    ),
    Dialect(
        "git-daemon",
        "hooks of git daemon 2.39",
        "REMOTE_ADDR with brackets around IPv6, no zone.",
        (ADDR, Spelling(brackets=True)),
    ),
    Dialect(
        "sshd",
        "sshd of OpenSSH 9.2",
        "SSH_CONNECTION: the login's client. Inherited by everything that the login starts, so never a "
        "service's caller.",
        (SSH, _ZONED),
    ),
    Dialect(
        "tlswrapper",
        "tlswrapper",
        "TCP* without PROTO, but only if they are not set yet: an inherited set is believed.",
        (TCP, _PLAIN),
        fixed=(("LOG_ID", "ucspi-env"),),
        tls=True,
    ),
    Dialect(
        "proxy",
        "ucspi_env.tools.proxyserver and tcpserver --proxy",
        f"The caller that a PROXY header named, in the variables of ucspi-tcp-ipv6; {PROXY_PEER} is the balancer.",
        (TCP, _DJB),
        (TCP6, Spelling(v4="mapped", v6="djb")),
        proto=("TCP", "TCP6"),
        interface=True,
    ),
    Dialect(
        "inetd",
        "openbsd-inetd, busybox inetd, rlinetd, faucet, nc -e, socket activation",
        "No variables at all: the kernel is asked (getpeername), and every inherited variable is stale.",
        transports=("tcp", "udp"),
    ),
    Dialect(
        "socket-activation",
        "systemd-socket-activate -a, systemd units without StandardInput=socket",
        "The connection is descriptor 3, announced by LISTEN_PID and LISTEN_FDS; no peer variables.",
    ),
    Dialect(
        "ucspi-unix",
        "unixserver of ucspi-unix",
        "Credentials from the kernel. UNIXLOCALPID is the program's own id, which proves freshness.",
        transports=("unix",),
        proto=("UNIX", "UNIX"),
        unix_names=UNIX_NAMES,
    ),
    Dialect(
        "ucspi-ipc",
        "ipcserver of ucspi-ipc",
        "IPCREMOTEPATH is empty where the client bound no path.",
        transports=("unix",),
        proto=("IPC", "IPC"),
        unix_names=IPC_NAMES,
    ),
    Dialect(
        "s6-ipcserver",
        "s6-ipcserver of s6 2.11",
        "As ucspi-ipc, with IPCCONNNUM.",
        transports=("unix",),
        proto=("IPC", "IPC"),
        fixed=(("IPCCONNNUM", "0"),),
        unix_names=IPC_NAMES,
    ),
)

_BY_NAME = {name: row for row in _TABLE for name in (row.name, *row.aliases)}

_SOCAT_OWN = ("PID", "PPID", "VERSION")

PEER_VARIABLES = frozenset(
    [
        *(name for family in FAMILIES for name in family.names),
        *UNIX_NAMES,
        *IPC_NAMES,
        "PROTO",
        "TCPCONNNUM",
        "TCPCONCURRENCY",
        "TCPLOCALINFO",
        "TCPORIGDSTADDR",
        "TCPINTERFACE",
        "TCP6INTERFACE",
        "UDPREMOTEIP",
        "UDPREMOTEPORT",
        "UDPLOCALIP",
        "UDPLOCALPORT",
        "UNIXLOCALUID",
        "UNIXLOCALGID",
        "UNIXLOCALPID",
        "IPCCONNNUM",
        "NCAT_PROTO",
        *(f"SOCAT_{name}" for name in _SOCAT_OWN),
        "SOCAT_OPENSSL_CIPHER",
        "SOCAT_OPENSSL_PROTO_VERSION",
        "SOCAT_OPENSSL_X509_ISSUER",
        "SOCAT_OPENSSL_X509_SUBJECT",
        "SSH_CLIENT",
        "SSLCTLFD",
        "SSLREADFD",
        "SSLWRITEFD",
        "SSL_PROTOCOL",
        "SSL_CIPHER",
        "SSL_CLIENT_DN",
        "SSL_CLIENT_I_DN",
        "SSL_TLS_SNI_SERVERNAME",
        "REMOTE_IDENT",
        "REMOTE_USER",
        "REMOTEHOST",
        "SERVER_ADDR",
        "SERVER_PORT",
        "GATEWAY_INTERFACE",
        PROXY_PEER,
        RULE_PEER,
    ]
)
"""Every variable of every dialect that speaks of a connection: what must not be inherited by a program of another
one."""


DECISIVE = PEER_VARIABLES | {TRUST, "LISTEN_PID", "SYSTEMD_EXEC_PID", "LOG_ID", "GIT_DIR"}
"""The closed list: the names of all variables that can change an answer. Clients choose other names as well as values
(request headers of CGI, ``LC_*`` of sshd), so no variable of another name is ever looked at; only the operator can name
more, with ``UCSPI_TRUST=socat:PREFIX``."""


_SOCAT = ("PEERADDR", "PEERPORT", "SOCKADDR", "SOCKPORT", *_SOCAT_OWN)


def without_socat(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without the variables of any socat, whatever it was called by; for what is handed to a program.

    `PEER_VARIABLES` cannot list them, since the prefix is the name that socat was called by. This only takes away: it
    is not how a peer is found.
    """
    prefixes = [name.removesuffix("_PEERADDR") for name in environ if name.endswith("_PEERADDR")]
    gone = {f"{prefix}_{suffix}" for prefix in prefixes for suffix in _SOCAT}
    return {name: value for name, value in environ.items() if name not in gone}


def dialects() -> tuple[Dialect, ...]:
    """All rows of the table, the default of `build` first."""
    return _TABLE


def dialect(name: str) -> Dialect:
    """The row with this name or alias.

    Raises:
        DialectError: there is none; the message lists the names.
    """
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(row.name for row in _TABLE)
        msg = f"{name!r} is not a dialect; there are {known}"
        raise DialectError(msg) from None
