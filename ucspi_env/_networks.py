"""Sets of networks, for allow and deny lists."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from ucspi_env._address import normalised, parse_ip
from ucspi_env._model import Endpoint, Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from ucspi_env._address import IPAddress

__all__ = ["Networks"]

_MAPPED_BITS = 96


class Networks(Value):
    """A set of IPv4 and IPv6 networks; ``peer in networks`` is a few look-ups, however many networks there are.

    The families are apart: ``::/0`` is every IPv6 address and no IPv4 one. A network of IPv4-mapped addresses
    (``::ffff:10.0.0.0/104``) is the IPv4 network.
    """

    __slots__ = ("_by_length", "_networks")
    _compared = ("_networks",)
    _networks: tuple[IPv4Network | IPv6Network, ...]
    _by_length: tuple[tuple[int, int, frozenset[int]], ...]

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        unique = tuple(sorted(set(networks), key=_order))
        by_length: dict[tuple[int, int], set[int]] = {}
        for network in unique:
            bits = network.max_prefixlen
            found = by_length.setdefault((bits, bits - network.prefixlen), set())
            found.add(int(network.network_address) >> (bits - network.prefixlen))
        self._set(
            _networks=unique,
            _by_length=tuple((bits, shift, frozenset(numbers)) for (bits, shift), numbers in by_length.items()),
        )

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read networks (``10.0.0.0/8``, ``2001:db8::/32``) and single addresses (``::1``).

        Raises:
            ValueError: a text is no network, or has bits set behind its prefix; the message names it and the network
                it may mean.
        """
        if isinstance(texts, str):
            raise TypeError("Networks.parse takes a list of texts, not one text")
        return cls(_parse(text) for text in texts)

    def __contains__(self, who: object) -> bool:
        if isinstance(who, Endpoint):
            ip: IPAddress = who.ip
        elif isinstance(who, str):
            ip = parse_ip(who)[0]
        elif hasattr(who, "packed"):
            ip = normalised(who)  # type: ignore[arg-type]
        else:
            msg = f"an Endpoint or an IP address can be in Networks, not {type(who).__name__}"
            raise TypeError(msg)
        number, size = int(ip), 32 if isinstance(ip, IPv4Address) else 128
        return any(bits == size and number >> shift in numbers for bits, shift, numbers in self._by_length)

    def __iter__(self) -> Iterator[IPv4Network | IPv6Network]:
        return iter(self._networks)

    def __len__(self) -> int:
        return len(self._networks)

    def __repr__(self) -> str:
        return f"Networks.parse({[str(network) for network in self._networks]})"


def _order(network: IPv4Network | IPv6Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _parse(text: str) -> IPv4Network | IPv6Network:
    address, slash, length_text = text.strip().partition("/")
    try:
        mapped = ":" in address
        ip, zone = parse_ip(address)
        if zone is not None:
            raise ValueError("has a zone, which networks do not")  # noqa: TRY301 - told the same way
    except ValueError as error:
        msg = f"{text!r} {error}"
        raise ValueError(msg) from None
    version4 = isinstance(ip, IPv4Address)
    bits = 32 if version4 else 128
    length = bits
    if slash:
        if not (length_text.isascii() and length_text.isdigit() and len(length_text) <= 3):
            msg = f"{text!r} has no prefix length (0 to {bits}) after the slash"
            raise ValueError(msg)
        length = int(length_text)
        if mapped and version4:
            length -= _MAPPED_BITS
        if not 0 <= length <= bits:
            msg = f"{text!r} has a prefix length out of range"
            raise ValueError(msg)
    shift = bits - length
    if int(ip) >> shift << shift != int(ip):
        meant = Endpoint(ip).network(length, length)
        msg = f"{text!r} has bits set behind its prefix; write {meant}"
        raise ValueError(msg)
    return Endpoint(ip).network(length, length)
