"""How users call the library, for the type checkers alone: mypy and pyright read this file, nothing runs it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import assert_type

import ucspi_env

peer = ucspi_env.remote()
assert_type(peer, ucspi_env.Endpoint)
assert_type(peer.ip, IPv4Address | IPv6Address)
assert_type(peer.port, int | None)
assert_type(peer.zone, str | None)
assert_type(peer.host, str | None)
assert_type(peer.network(), IPv4Network | IPv6Network)
assert_type(peer.key(v6=48), str)
assert_type(ucspi_env.local({}, fd=0, trust="proxy", strict=True), ucspi_env.Endpoint)
connection = ucspi_env.connection()
assert_type(connection.remote, ucspi_env.Endpoint | None)
assert_type(connection.unix, ucspi_env.UnixPeer | None)
assert_type(connection.problems, tuple[ucspi_env.Problem, ...])
assert_type(connection.tls, bool)
change = ucspi_env.build(connection, dialect="s6", as_ipv6=False)
assert_type(change.set, dict[str, str])
assert_type(change.unset, frozenset[str])
assert_type(ucspi_env.identify({}, ucspi_env.Facts.observe(0)), ucspi_env.Connection)
networks = ucspi_env.Networks.parse(["10.0.0.0/8"])
assert_type(peer in networks, bool)


def server(session: ucspi_env.Session) -> None:
    assert_type(session.reader.readline(), bytes)
    session.writer.write(b"x")


ucspi_env.serve(server)
with ucspi_env.client_session() as client:
    assert_type(client, ucspi_env.Session)
