"""The names that give a peer's address away: variables of the super-servers, and what programs call their copies."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_OWN: Final = re.compile(r"(?:TCP6?|SSL6?|UDP6?)(REMOTE|LOCAL)(IP|ADDR|HOST|PORT|INFO)\Z")
_OTHER: Final = {
    "REMOTE_ADDR": "ip", "REMOTE_HOST": "host", "REMOTE_PORT": "port", "REMOTE_IDENT": "info",
    "NCAT_REMOTE_ADDR": "ip", "NCAT_LOCAL_ADDR": "ip", "NCAT_REMOTE_PORT": "port",
    "SOCAT_PEERADDR": "ip", "SOCAT_SOCKADDR": "ip", "SOCAT_PEERPORT": "port", "PROTO": "proto",
}  # fmt: skip
_TAIL: Final = re.compile(r"(REMOTE|LOCAL)(IP|HOST|PORT|INFO)\Z")
_KINDS: Final = {"IP": "ip", "ADDR": "ip", "HOST": "host", "PORT": "port", "INFO": "info"}

UCSPI: Final = re.compile(
    r"(?:TCP|SSL|UDP)6?(?:REMOTE|LOCAL)(?:IP|ADDR|HOST|INFO|PORT)|\bREMOTEIP\b|NCAT_REMOTE_ADDR|SOCAT_PEERADDR"
)
"""Found in a file that has to do with UCSPI at all."""

SERVERS: Final = re.compile(r"\b(?:tcpserver|tcp-env|sslserver|tcpsvd|udpsvd|couriertcpd|ucspi|x?inetd(?:\.conf)?)\b")
"""Found in the manual or the sources of what runs under a super-server, even where it asks the descriptor instead."""

# The second argument of the taint: how the value came to be.
PEERISH: Final = re.compile(
    r"(?i)_*(?:(?:tcp6?|ssl)_?)?(?:remote|client|peer|local|server|sender|caller|connecting|conn|source|src|visitor|user|my)_*"
    r"(?:ip|addr|ip_?addr(?:ess)?)(?:_?(?:str|env|text|s|address|addr|4|v4|6|raw))?_*\Z|(?:m_|s_|g_)?(?:ip_env|ip_?str|rem_?ip|loc_?ip|r_ip)\Z"
)
_IPISH: Final = re.compile(
    r"(?i)(?:.*_)?(?:\w{0,12}?ip|ips|ip_?addr(?:ess)?|ip_?str|ip_?range|network|netmask|ip_?list|ip_?long|dotted_?(?:quad|ip|addr)\w*|quad)(?:_?(?:str|text|addr|address|env|s|list|range|int|long|num|v4|4|[0-9]))?\Z"
)
_NOT_IP: Final = re.compile(
    r"(?i).*(?:zip|skip|strip|ship|script|clip|flip|drop|equip|recip|pip|tip|rip|chip|grip|hip|lip|sip|whip|trip|slip|dip|descrip|manip|mail_?addr|email|rcpt|from_?addr|multip|precip)(?:_?\w{0,5})?\Z"
)


@lru_cache(maxsize=65536)
def kind_of_variable(name: str) -> str | None:
    """Return "ip", "host", "port", "info" or "proto" when ``name`` is a variable that a super-server sets."""
    match = _OWN.match(name)
    if match:
        return _KINDS[match[2]]
    return _OTHER.get(name)


@lru_cache(maxsize=4096)
def kind_of_tail(name: str) -> str | None:
    """The same for the second half of a name, as programs that glue it to PROTO write it: ``REMOTEIP``."""
    match = _TAIL.match(name)
    return _KINDS[match[2]] if match else None


@lru_cache(maxsize=65536)
def is_peerish(name: str) -> bool:
    """Say whether programs use this name for a copy of the peer's address."""
    return len(name) < 40 and PEERISH.match(name) is not None


_REMOTE: Final = re.compile(r"(?i)remote|client|peer|sender|caller|connecting|\Aip_env\Z")


@lru_cache(maxsize=65536)
def is_remote(name: str) -> bool:
    """Say whether the name says that the address is the other side's; a server's own may as well be a setting."""
    return _REMOTE.search(name) is not None


@lru_cache(maxsize=65536)
def is_ipish(name: str) -> bool:
    """Say whether a variable of this name may hold an address."""
    if len(name) > 40 or name.startswith("UCSPI_"):
        return False
    if is_peerish(name):
        return True
    return _IPISH.match(name) is not None and _NOT_IP.match(name) is None
