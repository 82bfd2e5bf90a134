"""The families of variables in which super-servers write down a connection, and how one family is read.

A family is a set of names that belong together: ``TCPREMOTEIP`` with ``TCPREMOTEPORT``, never with ``SSLREMOTEPORT``.
Several programs share a family; which program it was is a question for `ucspi_env._dialects`.
"""

from ucspi_env._address import is_unspecified, parse_ip, parse_port, plausible_host, plausible_info, shown, split_port
from ucspi_env._model import Endpoint, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._address import IPAddress
    from ucspi_env._errors import BadVariableError


class Family:
    """The names of one family; None where it has no such variable.

    A family without a port variable does not tell the port, unless it is ``glued``: address and port in one text then.
    The families of this table are told apart by identity, and nobody changes one. They are no `Value`, since a dozen of
    those, made at each start, cost as much as a module.
    """

    __slots__ = (
        "glued",
        "local_host",
        "local_ip",
        "local_port",
        "name",
        "remote_host",
        "remote_info",
        "remote_ip",
        "remote_port",
    )

    def __init__(
        self,
        name: str,
        remote_ip: str,
        remote_port: "str | None" = None,
        remote_host: "str | None" = None,
        remote_info: "str | None" = None,
        local_ip: "str | None" = None,
        local_port: "str | None" = None,
        local_host: "str | None" = None,
        *,
        glued: bool = False,
    ) -> None:
        self.name = name
        self.remote_ip = remote_ip
        self.remote_port = remote_port
        self.remote_host = remote_host
        self.remote_info = remote_info
        self.local_ip = local_ip
        self.local_port = local_port
        self.local_host = local_host
        self.glued = glued

    @property
    def names(self) -> "tuple[str, ...]":
        """All variables of the family."""
        return tuple(
            value for slot in self.__slots__ if slot not in ("name", "glued") and (value := getattr(self, slot))
        )


def _ucspi(prefix: str) -> "Family":
    remote, local = f"{prefix}REMOTE", f"{prefix}LOCAL"
    return Family(
        prefix,
        f"{remote}IP",
        f"{remote}PORT",
        f"{remote}HOST",
        f"{remote}INFO",
        f"{local}IP",
        f"{local}PORT",
        f"{local}HOST",
    )


def prefixed(prefix: str) -> "Family":
    """The family of a socat that was called by another name: its prefix is that name in upper case.

    Only the operator can say that there is such a socat (``UCSPI_TRUST=socat:PREFIX``): clients choose names as well as
    values of some variables (``HTTP_X_PEERADDR``, ``LC_A_PEERADDR``). The family is called by its variable, since the
    prefix can be the name of another family (``TCP``).
    """
    return Family(
        f"{prefix}_PEERADDR",
        f"{prefix}_PEERADDR",
        f"{prefix}_PEERPORT",
        local_ip=f"{prefix}_SOCKADDR",
        local_port=f"{prefix}_SOCKPORT",
    )


TCP = _ucspi("TCP")
TCP6 = _ucspi("TCP6")
SSL = _ucspi("SSL")
TCPADDR = Family(
    "TCPADDR", "TCPREMOTEADDR", None, "TCPREMOTEHOST", local_ip="TCPLOCALADDR", local_host="TCPLOCALHOST", glued=True
)
UDPADDR = Family(
    "UDPADDR", "UDPREMOTEADDR", None, "UDPREMOTEHOST", local_ip="UDPLOCALADDR", local_host="UDPLOCALHOST", glued=True
)
ADDR = Family("REMOTE_ADDR", "REMOTE_ADDR", "REMOTE_PORT")
HOST = Family("REMOTE_HOST", "REMOTE_HOST", "REMOTE_PORT")
SOCAT = prefixed("SOCAT")
NCAT = Family("NCAT", "NCAT_REMOTE_ADDR", "NCAT_REMOTE_PORT", local_ip="NCAT_LOCAL_ADDR", local_port="NCAT_LOCAL_PORT")
# One variable of four words: "client-ip client-port server-ip server-port".
SSH = Family("SSH", "SSH_CONNECTION")
FAMILIES = (TCP, TCP6, TCPADDR, UDPADDR, SSL, ADDR, HOST, NCAT, SOCAT, SSH)
"""All of them, but for those of socats that the operator names."""

UNIX_NAMES = ("UNIXREMOTEEUID", "UNIXREMOTEEGID", "UNIXREMOTEPID", "UNIXREMOTEPATH", "UNIXLOCALPATH")
IPC_NAMES = ("IPCREMOTEEUID", "IPCREMOTEEGID", "IPCREMOTEPID", "IPCREMOTEPATH", "IPCLOCALPATH")

PROXY_PEER = "UCSPI_PROXY_PEER"
"""The balancer that a PROXY header came from, set by `ucspi_env.tools.proxyserver` and ``tcpserver --proxy``:
``ip:port``, or for a UNIX-domain balancer ``unix:`` and the listener's path, or ``unix:uid=N``."""
RULE_PEER = "UCSPI_RULE_PEER"
"""The caller's true ``ip:port``, set by our tcpserver where a rule replaces TCPREMOTEIP."""
TRUST = "UCSPI_TRUST"
"""The operator's word about what else to believe: words of `ucspi_env._trust`, separated by commas."""


class Claim:
    """What one family of variables says, right or not.

    Attributes:
        family: the names it was read from.
        remote: the peer, or None where the variables cannot be used.
        local: the called address, or None.
        error: why ``remote`` is None.
        problems: what is odd but did not keep the peer from being read.
    """

    __slots__ = ("error", "family", "local", "problems", "remote")

    def __init__(self, family: "Family") -> None:
        self.family = family
        self.remote: Endpoint | None = None
        self.local: Endpoint | None = None
        self.error: BadVariableError | None = None
        self.problems: list[Problem] = []

    def agrees_with(self, peer: "Endpoint") -> bool:
        """Whether this is the same peer: same address, and the same port where both have one."""
        remote = self.remote
        if remote is None or (remote.port not in (None, peer.port) and peer.port is not None):
            return False
        # The same text is parsed once, so that the same address is mostly the same object.
        return remote.ip is peer.ip or remote.ip == peer.ip


def read_claim(family: "Family", environ: "Mapping[str, str]") -> "Claim | None":
    """Read one family; None where its address variable is not set or empty."""
    text = environ.get(family.remote_ip)
    if not text:
        return None
    claim = Claim(family)
    if family is SSH:
        _read_ssh(claim, text, environ)
        return claim
    address, port = _split(family, text, family.remote_port, environ)
    found = _read_ip(claim, address, environ)
    if found is None:
        return claim
    ip, zone = found
    zone = zone or _interface(family, ip, environ)
    number = _read_port(claim, family.remote_port or family.remote_ip, port, environ)
    claim.remote = Endpoint(ip, number, zone, _read_host(claim, environ), _read_info(claim, environ))
    claim.local = _read_local(claim, environ)
    return claim


def _split(
    family: "Family", text: str, port_name: "str | None", environ: "Mapping[str, str]"
) -> "tuple[str, str | None]":
    if family.glued:
        return split_port(text)
    return text, environ.get(port_name) if port_name else None


def _read_ip(claim: "Claim", text: str, environ: "Mapping[str, str]") -> "tuple[IPAddress, str | None] | None":
    try:
        ip, zone = parse_ip(text)
    except ValueError as error:
        from ucspi_env import _findings

        claim.error = _findings.unusable(environ, claim.family.remote_ip, str(error))
        return None
    if is_unspecified(ip):
        from ucspi_env import _findings

        claim.error = _findings.unknown_address(environ, claim.family.remote_ip)
        return None
    return ip, zone


def _interface(family: "Family", ip: "IPAddress", environ: "Mapping[str, str]") -> "str | None":
    """The zone of a link-local peer whose family keeps it in TCP6INTERFACE.

    No server removes a TCP6INTERFACE that it did not set, so it counts only beside a TCP6REMOTEIP of the same address.
    """
    if ip.version == 6 and ip.is_link_local and family in (TCP, TCP6):
        try:
            if parse_ip(environ.get("TCP6REMOTEIP", ""))[0] == ip:
                zone = environ.get("TCP6INTERFACE", "")
                return parse_ip(f"fe80::1%{zone}")[1] if zone else None
        except ValueError:
            return None
    return None


def _read_port(claim: "Claim", name: str, text: "str | None", environ: "Mapping[str, str]") -> "int | None":
    if text is None or text == "":
        if claim.family.remote_port is not None and claim.family is not HOST:
            from ucspi_env import _findings

            claim.problems.append(_findings.missing_port(environ, name))
        return None
    try:
        return parse_port(text)
    except ValueError as error:
        from ucspi_env import _findings

        claim.problems.append(_findings.bad_port(name, text, str(error)))
        return None


def _read_host(claim: "Claim", environ: "Mapping[str, str]") -> "str | None":
    return _host(claim, claim.family.remote_host, environ, by_operator=False)


def _host(claim: "Claim", name: "str | None", environ: "Mapping[str, str]", *, by_operator: bool) -> "str | None":
    text = environ.get(name) if name else None
    if not text or not name:
        return None
    host = plausible_host(text)
    if host is None:
        claim.problems.append(
            Problem(
                "bad-host",
                "notice" if by_operator else "warning",
                name,
                text,
                f"{name}={shown(text)} is not a host name and is ignored",
                "nothing to do where look-ups are off (-l0)"
                if by_operator
                else "reverse DNS is the caller's to choose: use only names that were checked forward (tcpserver -p)",
            )
        )
    return host


def _read_info(claim: "Claim", environ: "Mapping[str, str]") -> "str | None":
    name = claim.family.remote_info
    text = environ.get(name) if name else None
    if not text or not name:
        return None
    info = plausible_info(text)
    if info is None:
        from ucspi_env import _findings

        claim.problems.append(_findings.bad_info(environ, name))
    return info


def _read_local(claim: "Claim", environ: "Mapping[str, str]") -> "Endpoint | None":
    family = claim.family
    text = environ.get(family.local_ip) if family.local_ip else None
    if not text or not family.local_ip:
        return None
    address, port = _split(family, text, family.local_port, environ)
    try:
        ip, zone = parse_ip(address)
        number = parse_port(port) if port else None
    except ValueError as error:
        from ucspi_env import _findings

        claim.problems.append(_findings.bad_local(environ, family.local_ip, str(error)))
        return None
    if is_unspecified(ip):  # the listener's address, not this connection's
        return None
    if zone is None and claim.remote is not None and ip.version == 6 and ip.is_link_local:
        zone = claim.remote.zone
    return Endpoint(ip, number, zone, _host(claim, family.local_host, environ, by_operator=True))


def _read_ssh(claim: "Claim", text: str, environ: "Mapping[str, str]") -> None:
    words = text.split(" ")
    try:
        if len(words) != 4:
            raise ValueError("is not four words")  # noqa: TRY301 - told the same way as a bad word
        remote, remote_zone = parse_ip(words[0])
        local, local_zone = parse_ip(words[2])
        claim.remote = Endpoint(remote, parse_port(words[1]), remote_zone)
        claim.local = Endpoint(local, parse_port(words[3]), local_zone)
    except ValueError as error:
        from ucspi_env import _findings

        claim.error = _findings.bad_login(environ, claim.family.remote_ip, str(error))
