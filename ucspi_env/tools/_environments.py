"""The environment of each program: the server's own, without any other connection, and what is known about this one.

Writing a connection down is `ucspi_env.build`'s work, which takes some 20 µs. What it says about an address is the same
for each connection between the same two, except for the caller's port; so that is kept, and only the port written anew.
It is kept as the system wants it, in bytes: what is text would be encoded anew for each program.
"""

from __future__ import annotations

import os

from ucspi_env._build import build
from ucspi_env._dialects import dialect, without_socat
from ucspi_env._errors import DialectError
from ucspi_env._model import Connection, Endpoint
from ucspi_env._variables import PROXY_PEER, RULE_PEER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Environ: TypeAlias = Mapping[bytes, bytes]

DEFAULT_DIALECT = "ucspi-tcp-ipv6"
REMEMBERED = 64  # pairs of addresses; strangers choose one half, so it is bounded


class Template:
    """What the environments of all connections between two addresses have in common.

    Args:
        number: unlike that of any other template of this process.
        variables: one of those environments.
        ports: the variables in it that are the caller's port and nothing else.
    """

    __slots__ = ("number", "ports", "variables")

    def __init__(self, number: int, variables: Environ, ports: tuple[bytes, ...]) -> None:
        self.number = number
        self.variables = dict(variables)
        self.ports = ports

    def make(self, port: int) -> dict[bytes, bytes]:
        """The environment for a caller with this port, a new dictionary."""
        environ = self.variables.copy()
        text = b"%d" % port
        for name in self.ports:
            environ[name] = text
        return environ


class Environments:
    """Makes environments in one dialect.

    Args:
        base: the environment that the server was started with.
        dialect_name: a name or alias of `ucspi_env.dialects`.
        as_ipv6: ``-6``: IPv4 callers are written as IPv6 ones.
        keep: leave alone what other dialects may have left in ``base`` (``--keep-env``).

    Attributes:
        base: what each environment starts from, as text.

    Raises:
        DialectError: there is no such dialect, or it is not for TCP servers.
    """

    def __init__(
        self,
        base: Mapping[str, str],
        dialect_name: str = DEFAULT_DIALECT,
        *,
        as_ipv6: bool = False,
        keep: bool = False,
    ) -> None:
        self._dialect = dialect(dialect_name).name
        self._as_ipv6 = as_ipv6
        self._own = _names_of(self._dialect) if keep else None
        self._base = dict(base) if keep else without_socat(base)
        # Everything that a connection could be taken from goes, once; a connection then only adds.
        change = self._build(Endpoint("192.0.2.1", 1), Endpoint("192.0.2.2", 2))
        for name in (*change.unset, *change.set):
            if self._own is None or name in self._own:
                self._base.pop(name, None)
        self.base: Mapping[str, str] = self._base
        self._template = encoded(self._base)
        # What was kept may name a port, too; then one environment says nothing of another.
        self._port_variables = None if keep else self._find_port_variables()
        self._remembered: dict[object, Template] = {}
        self._serial = 0

    def make(self, remote: Endpoint, local: Endpoint) -> dict[bytes, bytes]:
        """The environment for a connection, a new dictionary.

        Raises:
            DialectError: the dialect cannot carry it (an IPv6 caller in an IPv4-only one).
        """
        return {**self._template, **encoded(self._build(remote, local).set)}

    def recall(self, key: object) -> Template | None:
        """What `remember` was called with for this key."""
        return self._remembered.get(key)

    def remember(self, key: object, environ: Environ) -> Template | None:
        """Keep ``environ`` for connections that differ from this one in the caller's port alone.

        None where the port is a part of another variable's text, so that each environment has to be made.
        """
        if self._port_variables is None:
            return None
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        self._serial += 1
        template = self._remembered[key] = Template(self._serial, environ, self._port_variables)
        return template

    def _build(self, remote: Endpoint, local: Endpoint) -> EnvChange:
        connection = Connection(remote=remote, local=local, dialect=self._dialect, evidence="kernel")
        return build(connection, self._dialect, as_ipv6=self._as_ipv6)

    def _find_port_variables(self) -> tuple[bytes, ...] | None:
        """The variables that are the caller's port and nothing else; None where the port is part of another text."""
        names: set[str] = set()
        for remote, local in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
            try:
                one, two = (self._build(Endpoint(remote, port), Endpoint(local, 3)).set for port in (1, 2))
            except DialectError:  # IPv4 only
                continue
            different = {name for name in one if one[name] != two[name]}
            if any((one[name], two[name]) != ("1", "2") for name in different):
                return None
            names |= different
        return tuple(os.fsencode(name) for name in sorted(names))


def encoded(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    """Variables as the system has them."""
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items()}


def _names_of(dialect_name: str) -> frozenset[str]:
    row = dialect(dialect_name)
    names = {"PROTO", PROXY_PEER, RULE_PEER, *(name for name, _ in row.fixed)}
    if row.interface:
        names.add("TCP6INTERFACE")
    for family, _ in row.writes:
        names.update(family.names)
    return frozenset(names)


if TYPE_CHECKING:
    from ucspi_env._build import EnvChange
