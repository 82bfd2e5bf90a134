"""Test help for servers, without pytest; `ucspi_env.pytest_plugin` makes fixtures of it.

    >>> from ucspi_env.testing import Caller
    >>> caller = Caller("s6", "[2001:db8::1]:4711")
    >>> sorted(caller.environ())
    ['PROTO', 'TCPCONNNUM', 'TCPLOCALIP', 'TCPLOCALPORT', 'TCPREMOTEIP', 'TCPREMOTEPORT']

`Caller` is one made-up caller of one super-server, `callers` a matrix of them. `Harness` runs a program or a function
as that super-server would, on a TCP connection that was really made between those addresses. `Server` runs a program
under the package's own tcpserver, on the loopback addresses of both families.
"""

from __future__ import annotations

from ucspi_env._callers import DIALECTS, KINDS, Caller, callers
from ucspi_env._facts import Descriptor, Facts
from ucspi_env._harness import Harness, Run, Server
from ucspi_env._model import Endpoint
from ucspi_env._relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["DIALECTS", "KINDS", "Caller", "Harness", "Run", "Server", "callers", "facts_from_capture"]

_FAMILIES = {"AF_INET": "inet", "AF_INET6": "inet6", "AF_UNIX": "unix"}
_TYPES = {"SOCK_STREAM": "stream", "SOCK_DGRAM": "dgram"}


def facts_from_capture(case: Mapping[str, Any]) -> Facts:
    """The kernel's side of a recorded connection (``tests/captures``), as `Facts.observe` would have seen it.

    Args:
        case: one recording: ``fd0``, ``fd1``, ``fd2`` and ``extra_fds`` (descriptors), ``pid``, ``ppid``,
            ``env_duplicates``; ``relay`` where there was one: ``pid``, ``name``, ``user``, ``asker``, ``sockets``
            (descriptors), ``both``, ``accepted``, ``own``, ``obstacle``.
    """
    descriptors = {number: _descriptor(case[f"fd{number}"]) for number in (0, 1, 2) if f"fd{number}" in case}
    for name, recorded in case.get("extra_fds", {}).items():
        descriptors[int(name.removeprefix("fd"))] = _descriptor(recorded)
    return Facts(
        descriptors,
        pid=case.get("pid"),
        ppid=case.get("ppid"),
        duplicates={name: tuple(values) for name, values in case.get("env_duplicates", {}).items()},
        relay=_relay(case["relay"]) if case.get("relay") else None,
    )


def _relay(recorded: Mapping[str, Any]) -> Relay:
    return Relay(
        recorded["pid"],
        recorded["name"],
        [_descriptor(socket) for socket in recorded["sockets"]],
        user=recorded["user"],
        asker=recorded["asker"],
        both=recorded["both"],
        accepted=recorded["accepted"],
        own=recorded.get("own", True),
        obstacle=recorded["obstacle"],
    )


def _descriptor(recorded: Mapping[str, Any]) -> Descriptor:
    kind = recorded["kind"]
    if kind != "socket":
        return Descriptor(kind if kind in ("pipe", "chr", "file", "closed") else "other")
    sockname = recorded.get("sockname", {})
    cred = recorded.get("peercred")
    return Descriptor(
        "socket",
        family=_FAMILIES.get(sockname.get("family", ""), "other"),
        type=_TYPES.get(recorded.get("type", ""), "other"),
        sockname=_name(sockname),
        peername=_name(recorded.get("peername", {})),
        listening=bool(recorded.get("listening")),
        peercred=(cred["pid"], cred["uid"], cred["gid"]) if cred else None,
    )


def _name(recorded: Mapping[str, Any]) -> Endpoint | str | None:
    if "error" in recorded or not recorded:
        return None
    if recorded["family"] == "AF_UNIX":
        path: str = recorded["path"]
        return "@" + path[1:] if path.startswith("\0") else path
    zone = recorded.get("scope_name") or (str(recorded["scope_id"]) if recorded.get("scope_id") else None)
    return Endpoint(recorded["addr"].partition("%")[0], recorded["port"], zone)
