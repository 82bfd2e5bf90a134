"""The ident protocol (RFC 1413), as text: the question, and the answer to it.

The answer is a stranger's word that ends up in an environment variable, in rules and in logs. So it is taken only if
it can do no harm there. C's tools hand on what comes, cut to 257 bytes, and make an empty value of an ``ERROR``, which
a rule ``@1.2.3.4`` matches; `Reply` gives None for control and 8-bit bytes, for what is too long, and for an error.
"""

from __future__ import annotations

PORT = 113
MAX_LINE = 1000  # bytes before the line feed (RFC 1413, section 4)
MAX_USER = 512  # RFC 1413, section 6
_SKIPPED = b" \t\r"


def request(remote_port: int, local_port: int) -> bytes:
    """The question about a connection, to the host that made it; the peer's port comes first. C's very bytes."""
    return b"%d , %d\r\n" % (remote_port, local_port)


class Reply:
    """Reads ``PORT , PORT : USERID : SYSTEM : USER`` as it arrives.

    Args:
        remote_port: the peer's port in the question.
        local_port: the other port in the question. An answer about another pair of ports is not an answer to it.

    Attributes:
        user: who it names, without blanks (as C's tools have it), 1 to 512 printable ASCII characters; None before the
            end of the line, for an error, and for anything else.
        unused: bytes behind the line.
    """

    def __init__(self, remote_port: int, local_port: int) -> None:
        self._ports = (remote_port, local_port)
        self._buffer = bytearray()
        self.user: str | None = None
        self.unused = b""

    def feed(self, data: bytes) -> bool:
        """Add what was read; returns whether that was enough: the line has ended, or is too long."""
        self._buffer += data
        line, line_feed, rest = bytes(self._buffer).partition(b"\n")
        if len(line) > MAX_LINE:
            return True
        if not line_feed:
            return False
        self.user = _user(line, self._ports)
        self.unused = rest
        return True


def _user(line: bytes, ports: tuple[int, int]) -> str | None:
    # The user id may have colons in it.
    fields = line.translate(None, _SKIPPED).split(b":", 3)
    if len(fields) < 4 or fields[1].upper() != b"USERID" or _ports(fields[0]) != ports:
        return None
    user = fields[3]
    if not 0 < len(user) <= MAX_USER or not all(32 < byte < 127 for byte in user):
        return None
    return user.decode("ascii")


def _ports(text: bytes) -> tuple[int, int] | None:
    """The pair of ports that an answer repeats."""
    words = text.split(b",")
    if len(words) != 2 or not all(len(word) <= 5 and word.isdigit() for word in words):
        return None
    return int(words[0]), int(words[1])
