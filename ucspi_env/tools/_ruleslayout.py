"""The layout of a rules directory: which rule lies at which path. Pure; `_rulesdir` has the files.

Source: s6's documentation, pages s6-accessrules-cdb-from-fs and libs6/accessrules; see `_rulesdir` for the picture.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from ucspi_env._address import djb_text, djb_text6
from ucspi_env.tools._rules import candidates, exact_key, to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ucspi_env._address import IPAddress

SECTIONS = (b"ip4", b"ip6", b"reversedns", b"tcpserver")
DEFAULT = b"tcpserver/default"
ANY_HOST = b"reversedns/@"
# s6-envdir reads no more of a file than this.
MAX_VALUE = 4096
_MAX_NAME = 255
_ALL_LENGTHS = bytes(range(31, -1, -1)), bytes(range(127, -1, -1))


def paths(ip: IPAddress, host: str | None, info: str | None) -> Iterator[bytes]:
    """Where the rules that can match a caller would be, in the order in which they count."""
    exact = exact_key(ip)
    others = (djb_text(ip).encode("ascii"), djb_text6(ip).encode("ascii"))
    for key in candidates(ip, host, info, _ALL_LENGTHS):
        if key[:1] == b"\0":
            yield network_path(ip, key[2])
        elif key == exact:
            yield network_path(ip, ip.max_prefixlen)
        elif key and key not in others:
            path = extra_path(key)
            if path is not None:
                yield path
    if host:
        name = to_bytes(host).removesuffix(b".")
        while name:
            if is_file_name(name) and name != b"@":
                yield b"reversedns/" + name
            name = name.partition(b".")[2]
        yield ANY_HOST
    yield DEFAULT


def network_path(ip: IPAddress, length: int) -> bytes:
    """Where the rule for the network of ``length`` bits around ``ip`` is."""
    shift = ip.max_prefixlen - length
    network = type(ip)(int(ip) >> shift << shift)
    family = b"ip4" if isinstance(ip, IPv4Address) else b"ip6"
    return b"%b/%b_%d" % (family, str(network).encode("ascii"), length)


def extra_path(key: bytes) -> bytes | None:
    """Where the rule of an address is that only the rules language knows; None if no file can have that name."""
    return b"tcpserver/" + key if is_file_name(key) else None


def is_file_name(name: bytes) -> bool:
    """Whether a file can have this name, which a stranger may have chosen."""
    return 0 < len(name) <= _MAX_NAME and b"/" not in name and b"\0" not in name and name not in (b".", b"..")
