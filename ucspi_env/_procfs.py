"""What only /proc tells: the descriptors that are open, a process's parent, names that stand twice in the environment.

Imported when `ucspi_env._facts` has such a question, which a connected INET socket on descriptor 0 leaves open only
for stunnel's pair and behind a PROXY wrapper. Elsewhere than on Linux the answers are "nothing is known".
"""

import os

_SCAN_LIMIT = 256  # descriptors looked at: inherited ones have low numbers


def open_descriptors() -> list[int]:
    """The numbers of this process's open descriptors, the lowest ones; where no system tells, those that may be."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            numbers = sorted(int(name) for name in os.listdir(folder) if name.isdigit())
        except OSError:
            continue
        return numbers[:_SCAN_LIMIT]
    return list(range(3, 16))


def parent_of(pid: int) -> int | None:
    """The id of a process's parent, or None."""
    try:
        # "pid (name) state ppid …": the name may hold anything, parentheses too.
        return int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def duplicate_names() -> dict[str, tuple[str, ...]]:
    """The names that stand more than once in the environment this process was started with, with their values."""
    try:
        entries = _read("/proc/self/environ").split(b"\0")
    except OSError:
        return {}
    values: dict[bytes, list[bytes]] = {}
    for entry in entries:
        name, equals, value = entry.partition(b"=")
        if equals:
            values.setdefault(name, []).append(value)
    return {
        name.decode("utf-8", "surrogateescape"): tuple(value.decode("utf-8", "surrogateescape") for value in found)
        for name, found in values.items()
        if len(found) > 1
    }


def _read(path: str) -> bytes:
    """A file of /proc, without the layers of open(), which cost more than the file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)
