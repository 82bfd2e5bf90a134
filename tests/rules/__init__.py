"""What the tests of rules share: compiling without files, and an oracle that knows no cdb."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from ucspi_env.tools._cdb import Reader, Writer
from ucspi_env.tools._rules import Compiler, Decision, decide

if TYPE_CHECKING:
    from collections.abc import Sequence


def compiled(rules: bytes, at_once: int = 1000) -> bytes:
    """The cdb of these rules, compiled in portions of so many lines."""
    compiler, writer = Compiler(), Writer()
    lines = rules.splitlines(keepends=True) if b"\r" not in rules else [line + b"\n" for line in rules.split(b"\n")]
    body = b"".join(
        writer.records(*compiler.compile(lines[start : start + at_once])) for start in range(0, len(lines), at_once)
    )
    body += writer.records(*compiler.index())
    tables = b"".join(writer.tables())
    return writer.header() + body + tables


def notes(rules: bytes) -> list[str]:
    """What tcprules warns about."""
    compiler = Compiler()
    compiler.compile(rules.splitlines(keepends=True))
    return [f"line {number}: {note}" for number, note in compiler.notes]


def decided(rules: bytes, ip: str, host: str | None = None, info: str | None = None) -> Decision:
    """What these rules say about a caller."""
    return decide(Reader.over(compiled(rules)).find, ip_address(ip), host, info)


def key(rules: bytes, ip: str, host: str | None = None, info: str | None = None) -> str | None:
    """Which rule decides about a caller."""
    return decided(rules, ip, host, info).key


def longest_match(networks: Sequence[str], ip: IPv4Address | IPv6Address) -> str | None:
    """The network a caller should fall under: the longest that contains it, of equals the first."""
    best: str | None = None
    for text in networks:
        network = ip_network(text)
        if ip in network and (best is None or network.prefixlen > ip_network(best).prefixlen):
            best = text
    return best
