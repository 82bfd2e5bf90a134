"""What /proc says of a server and of what it started."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

PROC = Path("/proc")
_ZYGOTE = b"_zygote_child.py"
GONE = (FileNotFoundError, ProcessLookupError)


class Process(NamedTuple):
    """One process, as it was when it was looked at."""

    pid: int
    parent: int
    state: str
    command: bytes
    connection: str  # "socket:[inode]" of descriptor 0, or whatever else that is


def family(root: int) -> list[Process]:
    """A process and all its descendants, as far as they can be seen."""
    found: list[Process] = []
    todo = [root]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(*GONE):
            found.append(_look(pid))
            todo += [int(child) for child in (PROC / f"{pid}/task/{pid}/children").read_text().split()]
    return found


def _look(pid: int) -> Process:
    rest = (PROC / f"{pid}/stat").read_text().rpartition(")")[2].split()
    connection = ""
    with contextlib.suppress(OSError):  # a zombie has none; what has just become another user's is not ours to see
        connection = os.readlink(PROC / f"{pid}/fd/0")
    return Process(pid, int(rest[1]), rest[0], (PROC / f"{pid}/cmdline").read_bytes(), connection)


def roles(relatives: Sequence[Process]) -> dict[int, str]:
    """Which of a server's family stay when nobody calls: the server's own processes, and what others are copied from.

    Those have the command line of what they were copied from, so it is the parent that tells.
    """
    root = relatives[0]
    servers = {root.pid} | {one.pid for one in relatives if one.parent == root.pid and one.command == root.command}
    found = dict.fromkeys(servers, "server")
    found.update((one.pid, "zygote") for one in relatives if one.parent in servers and _ZYGOTE in one.command)
    return found


def connections(port: int) -> dict[str, tuple[IPv4Address | IPv6Address, int]]:
    """The machine's connections to a local port: ``"socket:[inode]"`` and the caller."""
    found = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no such family here
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                words = line.split()
                local, remote = words[1].rpartition(":"), words[2].rpartition(":")
                if int(local[2], 16) == port and int(words[9]):
                    found[f"socket:[{words[9]}]"] = (_address(remote[0]), int(remote[2], 16))
    return found


def _address(text: str) -> IPv4Address | IPv6Address:
    """An address as the kernel shows it: words of the machine's own byte order, in hexadecimal."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return ip_address(b"".join(words))


def served_at_once(root: int, port: int) -> Counter[IPv4Address | IPv6Address | None]:
    """How many connections had a program at one and the same moment: per caller's address, and under None all.

    Looked at twice: what holds the same connection before and after a moment held it then. What has come or gone
    in between does not count, so the numbers may be too small, and never too large.
    """
    before = {process.pid: process.connection for process in family(root)}
    after = {process.pid: process.connection for process in family(root)}
    held = {connection for pid, connection in before.items() if pid != root and after.get(pid) == connection}
    numbers: Counter[IPv4Address | IPv6Address | None] = Counter()
    for connection, (caller, _) in connections(port).items():
        if connection in held:
            numbers[caller] += 1
            numbers[None] += 1
    return numbers


def kill(root: int, process: Process) -> bool:
    """SIGKILL for a process of this family; False if it is not what it was any more. Never hits anybody else."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        now = next((one for one in family(root) if one.pid == process.pid), None)
        if now is None or now._replace(state=process.state) != process:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        return True
    finally:
        os.close(handle)


def descriptors(pid: int) -> int:
    """How many descriptors are open in a process."""
    return len(os.listdir(PROC / f"{pid}/fd"))


def resident(pid: int) -> int:
    """Resident memory of a process, in KiB; 0 if it has ended."""
    with contextlib.suppress(*GONE):
        for line in (PROC / f"{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return 0
