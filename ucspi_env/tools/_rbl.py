"""What rblsmtpd decides and says, without doing it: DNS lists in order, and the SMTP session of a rejection."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address

MAX_TEXT = 200  # bytes of an explanation that reach the client
MAX_VERB = 64  # bytes of a line that are kept; no verb is longer, and nothing else of a line matters
GREETING = b"220 rblsmtpd.local\r\n"

_LISTING = 0x7F  # RFC 5782, section 2.1: answers are in 127.0.0.0/8
_REFUSING = 0x7FFFFF  # 127.255.255.0/24: how large lists say "I do not answer you", which is no listing
_REPLIES = {
    b"helo": b"250 rblsmtpd.local\r\n",
    b"ehlo": b"250 rblsmtpd.local\r\n",
    b"mail": b"250 rblsmtpd.local\r\n",
    b"rset": b"250 rblsmtpd.local\r\n",
    b"noop": b"250 rblsmtpd.local\r\n",
    b"quit": b"221 rblsmtpd.local\r\n",
}


class List:
    """A DNS list (RFC 5782).

    Attributes:
        base: the zone to ask in.
        allows: whether being on it is good (``-a``).
        message: what to tell those who are on it; None: what the list itself says in TXT records.
    """

    __slots__ = ("allows", "base", "message")

    def __init__(self, base: str, *, allows: bool = False, message: bytes | None = None) -> None:
        self.base = base
        self.allows = allows
        self.message = message


class Verdict:
    """What becomes of a client.

    Attributes:
        text: why it is turned away; None if it is not.
        permanent: whether its mail bounces at once (553) rather than being tried again later (451).
    """

    __slots__ = ("permanent", "text")

    def __init__(self, text: bytes | None, *, permanent: bool = False) -> None:
        self.text = text
        self.permanent = permanent

    def reply(self) -> bytes:
        """The reply to everything a rejected client asks for, without the line's end: one line of printable ASCII."""
        text = (self.text or b"")[:MAX_TEXT]
        code = b"553 " if self.permanent else b"451 "
        return code + bytes(byte if 32 <= byte <= 126 else ord("?") for byte in text)


def verdict_from_variable(text: bytes) -> Verdict:
    """What ``$RBLSMTPD`` says: nothing accepts, a text rejects for now, a text behind a dash for good."""
    if not text:
        return Verdict(None)
    return Verdict(text[1:], permanent=True) if text.startswith(b"-") else Verdict(text)


def finding_from_addresses(entry: List, addresses: Sequence[IPv4Address], caller: str) -> bytes | None:
    """What a list's A records mean: a text if the client is on it, nothing if not, None if there is no telling.

    Being on an allowing list takes any record, as in C. A list with a message of ours must answer as RFC 5782 says:
    codes in 127.0.0.0/8. Anything else is a domain that was given up or captured, and 127.255.255.0/24 is a refusal.

    Args:
        entry: the list.
        addresses: its answer.
        caller: the client's address, for ``%IP%`` in the message.
    """
    if not addresses:
        return b""
    if entry.allows:
        return b"allowed"
    codes = [int(address) for address in addresses]
    if any(code >> 24 == _LISTING and code >> 8 != _REFUSING for code in codes):
        return (entry.message or b"").replace(b"%IP%", caller.encode("ascii")) or b"listed"
    return None


def decide(lists: Sequence[List], findings: Sequence[bytes | None], *, bounce: bool, closed: bool) -> Verdict | None:
    """The verdict of the lists, in their order; the first that decides ends it.

    Args:
        lists: all of them.
        findings: of the first so many lists: a text for an address that is on it, empty for one that is not, None for a
            look-up that failed.
        bounce: whether rejections are permanent (``-b``); after a failed look-up they never are.
        closed: whether a failed look-up rejects (``-c``) rather than accepts.

    Returns:
        The verdict, or None if it takes more findings.
    """
    sure = True
    for entry, finding in zip(lists, findings, strict=False):
        if finding is None:
            sure = False
            if entry.allows != closed:
                # Fail open: perhaps it is on the allowing list. Fail closed: perhaps it is on the blocking one.
                return Verdict(None) if entry.allows else Verdict(b"temporary RBL lookup error")
        elif finding:
            return Verdict(None) if entry.allows else Verdict(finding, permanent=bounce and sure)
    return Verdict(None) if len(findings) == len(lists) else None


class Dialogue:
    """The SMTP session of a rejected client: polite, and without effect.

    Attributes:
        over: whether the client has said ``QUIT``.
    """

    def __init__(self, reply: bytes) -> None:
        self._refusal = reply + b"\r\n"
        self._line = bytearray()
        self._long = False
        self.over = False

    def feed(self, data: bytes) -> bytes:
        """Add what the client sent; returns what to answer. A line without its end yet waits in bounded space."""
        answers: list[bytes] = []
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            answers.append(self._answer())
            if self.over:
                break
        else:
            self._add(rest)
        return b"".join(answers)

    def _add(self, part: bytes) -> None:
        room = MAX_VERB - len(self._line)
        self._line += part[:room]
        self._long = self._long or len(part) > room

    def _answer(self) -> bytes:
        line = bytes(self._line)
        if line.endswith(b"\r") and not self._long:
            line = line[:-1]
        self._line.clear()
        self._long = False
        verb = line.partition(b" ")[0].lower()
        self.over = verb == b"quit"
        return _REPLIES.get(verb, self._refusal)
