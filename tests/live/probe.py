"""The program that clients attack: it writes down what it was given, and what `ucspi_env` makes of it.

A copy of this file is the program, behind a first line that names the interpreter, and `answers` beside it the folder
for what it says: a CGI program's output goes to the client, but that of rsync's and git's hooks goes nowhere. To the
client it says the least that HTTP takes for an answer, and that before its end, since Net::Server::HTTP reads no more
from a program that has ended. Where there is a pipe `gate` beside it, it waits until that is opened and closed.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import Any

import ucspi_env

_KINDS = ((stat.S_ISSOCK, "socket"), (stat.S_ISFIFO, "pipe"), (stat.S_ISCHR, "chr"), (stat.S_ISREG, "file"))


def answer() -> dict[str, Any]:
    """What `ucspi_env` says, `strict=True` or not; an error by its name."""
    try:
        ucspi_env.connection(strict=True)
        strict = "accepts"
    except ucspi_env.UCSPIError as error:
        strict = type(error).__name__
    try:
        found = ucspi_env.connection()
    except ucspi_env.UCSPIError as error:
        return {"strict": strict, "error": type(error).__name__}
    return {
        "strict": strict,
        "error": None,
        "ip": str(found.remote.ip) if found.remote else None,
        "port": found.remote.port if found.remote else None,
        "unix": found.unix is not None,
        "evidence": found.evidence,
        "vouched": found.vouched,
        "dialect": found.dialect,
        "tls": found.tls,
        "problems": sorted(problem.code for problem in found.problems),
    }


def name(address: Any, family: int) -> dict[str, Any]:
    if family == socket.AF_UNIX:
        path = address.decode() if isinstance(address, bytes) else address
        return {"family": "AF_UNIX", "path": path}
    found = {"family": socket.AddressFamily(family).name, "addr": address[0], "port": address[1]}
    return found | ({"scope_id": address[3], "flowinfo": address[2]} if family == socket.AF_INET6 else {})


def descriptor(fd: int) -> dict[str, Any]:
    """What the kernel says about a descriptor, as in tests/captures."""
    mode = os.fstat(fd).st_mode
    kind = next((kind for is_one, kind in _KINDS if is_one(mode)), "other")
    if kind != "socket":
        refused = {"error": "ENOTSOCK"}
        return {"kind": kind, "sockname": refused, "peername": refused}
    with socket.socket(fileno=os.dup(fd)) as sock:
        found: dict[str, Any] = {"kind": kind, "sockname": name(sock.getsockname(), sock.family)}
        try:
            found["peername"] = name(sock.getpeername(), sock.family)
        except OSError:
            found["peername"] = {"error": "ENOTCONN"}
        found["type"] = sock.type.name
        found["listening"] = bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        if sock.family == socket.AF_UNIX:
            cred = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            found["peercred"] = dict(zip(("pid", "uid", "gid"), cred, strict=True))
        return found


def descriptors() -> dict[str, Any]:
    found = {}
    for fd in sorted(int(entry) for entry in os.listdir("/proc/self/fd")):
        try:
            found[f"fd{fd}"] = descriptor(fd)
        except OSError:  # the one that listed the folder
            continue
    return found


def relay() -> dict[str, Any] | None:
    """The process at the other end of descriptor 0, and its sockets, as in tests/captures."""
    found = ucspi_env.Facts.observe().relay
    if found is None:
        return None
    sockets = []
    for one in found.sockets:
        family = socket.AF_INET if one.family == "inet" else socket.AF_INET6
        ends = {}
        for which, end in (("sockname", one.sockname), ("peername", one.peername)):
            assert isinstance(end, ucspi_env.Endpoint)
            mapped = one.family == "inet6" and end.ip.version == 4
            address = f"::ffff:{end.ip}" if mapped else str(end.ip)
            ends[which] = {"family": family.name, "addr": address, "port": end.port}
            if end.zone:
                ends[which]["scope_name"] = end.zone
        sockets.append({"kind": "socket", **ends, "type": f"SOCK_{(one.type or '').upper()}", "listening": False})
    names = ("pid", "name", "user", "asker", "both", "accepted", "own", "obstacle")
    return {"sockets": sockets, **{name: getattr(found, name) for name in names}}


def grandparent() -> int:
    """The parent of the parent, which a guess may be about as well."""
    return int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])


def environment() -> list[tuple[str, str]]:
    """As it was handed over: in order, and with what stands twice."""
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    pairs = (entry.decode("utf-8", "surrogateescape").partition("=") for entry in entries if entry)
    return [(before, after) for before, _, after in pairs]


def main() -> None:
    gate = Path(__file__).with_name("gate")
    if gate.exists():
        gate.read_bytes()
    facts = descriptors()  # before anything of this program's own is opened
    said = {
        "answer": answer(),
        "environ": environment(),
        "descriptors": facts,
        "relay": relay(),
        "pids": [os.getpid(), os.getppid(), grandparent()],
        "argv": sys.argv,
    }
    answers = Path(__file__).with_name("answers")
    unfinished = answers / f"{os.getpid()}.unfinished"
    unfinished.write_text(json.dumps(said))
    unfinished.rename(unfinished.with_suffix(".json"))
    sys.stdout.write("Content-Type: text/plain\r\n\r\nanswered\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
