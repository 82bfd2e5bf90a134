"""Callers on UNIX-domain sockets: what is known of one, and how it is found out (step 4 of `ucspi_env._identify`).

Imported when there is one: the path of an IP caller does not pay for this.
"""

from ucspi_env._model import Connection, Value
from ucspi_env._variables import IPC_NAMES, UNIX_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._facts import Descriptor
    from ucspi_env._model import Evidence, Problem


class UnixPeer(Value):
    """The caller on a UNIX-domain socket. Ids are the kernel's word (SO_PEERCRED) or the super-server's; 0 means root.

    Attributes:
        uid: effective user id, or None where it is not known.
        gid: effective group id, or None.
        pid: process id, or None.
        path: the path (or ``@name``) that the client bound, chosen by the client; None where it bound none.
    """

    __slots__ = ("gid", "path", "pid", "uid")
    uid: "int | None"
    gid: "int | None"
    pid: "int | None"
    path: "str | None"

    def __init__(
        self, uid: "int | None" = None, gid: "int | None" = None, pid: "int | None" = None, path: "str | None" = None
    ) -> None:
        self._set(uid=uid, gid=gid, pid=pid, path=path)


def caller(
    environ: "Mapping[str, str]",
    socket: "Descriptor | None",
    problems: "list[Problem]",
    *,
    announced: bool,
    own_pid: bool,
    alone: bool,
) -> "Connection":
    """Credentials, by the kernel where it has a named UNIX-domain socket, else by variables.

    Args:
        environ: the environment to judge.
        socket: the named UNIX-domain socket, if there is one.
        problems: what is odd so far; what else is found joins it.
        announced: whether PROTO speaks of such a caller.
        own_pid: whether UNIXLOCALPID is this process.
        alone: whether no variable names a caller of another kind.
    """
    proto = environ.get("PROTO")
    dialect = "inetd"
    uid = gid = pid = path = names = None
    if announced or own_pid:
        names = IPC_NAMES if proto == "IPC" and not own_pid else UNIX_NAMES
        uid, gid, pid = (_read_id(environ, name, problems) for name in names[:3])
        path = environ.get(names[3]) or None
        dialect = _dialect(environ, ipc=names is IPC_NAMES)
    elif environ.get("REMOTE_ADDR", "").startswith(("/", "@")):
        path = environ["REMOTE_ADDR"]
        dialect = "systemd"
    evidence: Evidence = "proof" if own_pid and alone else "unconfirmed"
    if socket is not None:
        evidence = "kernel"
        if isinstance(socket.peername, str):
            path = socket.peername or path
        if socket.peercred is not None:
            if uid is not None:
                evidence = "confirmed"
                if (uid, gid) != socket.peercred[1:]:
                    evidence = "kernel"
                    from ucspi_env import _findings

                    name = names[0] if names is not None else ""
                    problems.append(_findings.stale_user(environ, name, socket.peercred[1]))
            pid, uid, gid = socket.peercred
    return Connection(
        unix=UnixPeer(uid, gid, pid or None, path),
        transport="unix",
        raw_proto=proto,
        dialect=dialect,
        evidence=evidence,
        problems=tuple(problems),
    )


def _read_id(environ: "Mapping[str, str]", name: str, problems: "list[Problem]") -> "int | None":
    text = environ.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        from ucspi_env import _findings

        problems.append(_findings.bad_id(environ, name))
        return None
    return int(text)


def _dialect(environ: "Mapping[str, str]", *, ipc: bool) -> str:
    if ipc:
        return "s6-ipcserver" if "IPCCONNNUM" in environ else "ucspi-ipc"
    return "ucspi-unix" if "UNIXLOCALPID" in environ else "nosh"
