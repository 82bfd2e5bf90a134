"""What the line tools do to bytes: carriage returns added and removed, recordio's log, `cat -v`, an HTTP reply's body.

Nothing here reads or writes. A filter is fed whatever a read(2) returned and gives back what may be passed on now;
where a chunk ends never shows in the output. Filters keep at most one byte back, except `HttpBody`, whose header has a
limit, so gigabytes without a newline pass in constant memory.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Filter(Protocol):
        """A transformation of a byte stream, chunk by chunk."""

        def feed(self, data: bytes) -> bytes:
            """Take the next bytes; return what is known of the output."""
            ...

        def finish(self) -> bytes:
            """Take the end of the input; return the rest of the output."""
            ...


PIECE = 256
"""Bytes that C's recordio reads at once, and so the most that one entry of its log shows."""

HEADER_LIMIT = 65536
"""Bytes that an HTTP reply's header may have, its status line included."""


class Verbatim:
    """Every byte as it came."""

    def feed(self, data: bytes) -> bytes:
        """Return the data."""
        return data

    def finish(self) -> bytes:
        """Nothing is ever kept."""
        return b""


class AddCr(Verbatim):
    """A CR before every LF, even where there is one already."""

    def feed(self, data: bytes) -> bytes:
        """Return the data with its CRs."""
        return data.replace(b"\n", b"\r\n")


class FixCr(Verbatim):
    """A CR before every LF that has none; all other CRs stay."""

    def __init__(self) -> None:
        self._after_cr = False

    def feed(self, data: bytes) -> bytes:
        """Return the data with the missing CRs."""
        if not data:
            return b""
        fixed = _with_crs(data) if b"\r" in data else data.replace(b"\n", b"\r\n")
        if self._after_cr and data[0] == 0x0A:
            fixed = fixed[1:]
        self._after_cr = data[-1] == 0x0D
        return fixed


def _with_crs(data: bytes) -> bytes:
    """A CR before each LF that has none.

    Replacing single bytes takes a tenth of the time of replacing pairs. So the answer is made as if all CRs stood
    before LFs, which is how it nearly always is, and kept if that turns out to be so.
    """
    body, tail = (data[:-1], b"\r") if data[-1] == 0x0D else (data, b"")
    bare = body.replace(b"\r", b"")
    fixed = bare.replace(b"\n", b"\r\n")
    if fixed == body:
        return data
    if body.count(b"\r\n") == len(body) - len(bare):
        return fixed + tail
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


class DelCr:
    """One CR less before every LF; all other CRs stay, also one at the very end."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return the data without the CRs; a final CR is kept back until it is known what follows."""
        if not data:
            return b""
        data = self._held + data
        self._held = b""
        if data[-1] == 0x0D:
            self._held = b"\r"
            data = data[:-1]
        return data.replace(b"\r\n", b"\n")

    def finish(self) -> bytes:
        """Return the CR that turned out not to stand before a LF."""
        held, self._held = self._held, b""
        return held


class Visible(Verbatim):
    """GNU ``cat -v``: ``^X`` and ``M-x`` for everything but printable ASCII, TAB and LF.

    What strangers send to a terminal cannot steer it then.
    """

    def __init__(self) -> None:
        low = [bytes([byte]) if byte in b"\t\n" else b"^%c" % (byte ^ 0x40) for byte in range(0x20)]
        ascii_part = low + [bytes([byte]) for byte in range(0x20, 0x7F)] + [b"^?"]
        # Above ASCII a TAB and a LF are as invisible as the rest.
        high = [
            b"M-" + (b"^%c" % (byte ^ 0x40) if byte < 0x20 or byte == 0x7F else b"%c" % byte) for byte in range(0x80)
        ]
        self._shown = ascii_part + high

    def feed(self, data: bytes) -> bytes:
        """Return the data in print."""
        return b"".join(map(self._shown.__getitem__, data))


class Chain:
    """Several filters, the output of one being the input of the next."""

    def __init__(self, *filters: Filter) -> None:
        self._filters = filters

    def feed(self, data: bytes) -> bytes:
        """Pass data through all of them."""
        for one in self._filters:
            data = one.feed(data)
        return data

    def finish(self) -> bytes:
        """End one after the other; what the first kept back still goes through the rest."""
        data = b""
        for one in self._filters:
            data = one.feed(data) + one.finish()
        return data


class RecordLog:
    r"""recordio's log of one direction: ``PID < line `` for a whole line, ``PID < part+`` for a part of one.

    C logs what each of its reads of at most 256 bytes returned. The same text for larger reads takes no more than
    cutting them into pieces of 256 bytes. Bytes are logged raw; an entry ends with blank and LF, or with ``+`` and LF.

    Args:
        pid: the process id that entries begin with.
        arrow: ``"<"`` for what goes to the program, ``">"`` for what comes from it.
    """

    def __init__(self, pid: int, arrow: str) -> None:
        self._prefix = f"{pid} {arrow} ".encode("ascii")

    def entries(self, data: bytes) -> bytes:
        """The entries for the bytes that one read returned."""
        prefix = self._prefix
        line_end = b" \n" + prefix
        text: list[bytes] = []
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            entry = prefix + piece.replace(b"\n", line_end)
            text.append(entry[: -len(prefix)] if piece[-1] == 0x0A else entry + b"+\n")
        return b"".join(text)

    def end(self) -> bytes:
        """The entry for the end of the stream."""
        return self._prefix + b"[EOF]\n"


class HttpBody:
    """The body of an HTTP/1.0 reply, byte for byte; the header is kept for questions.

    Attributes:
        status: the code of the status line, 0 if there is none that can be read.
        reason: the words behind it, printable ASCII only.
        length: what Content-Length promises, None if it does not.
        received: bytes of the body so far.
    """

    def __init__(self) -> None:
        self.status: int = 0
        self.reason: str = ""
        self.length: int | None = None
        self.received: int = 0
        self._header: bytearray | None = bytearray()
        self._scanned = 0

    @property
    def header_ended(self) -> bool:
        """Whether the empty line has been seen that ends the header."""
        return self._header is None

    @property
    def header_too_long(self) -> bool:
        """Whether the reply has more than `HEADER_LIMIT` bytes without an empty line."""
        return self._header is not None and len(self._header) > HEADER_LIMIT

    def feed(self, data: bytes) -> bytes:
        """Return what of the data belongs to the body."""
        if self._header is None:
            self.received += len(data)
            return data
        if self.header_too_long:
            return b""
        self._header += data
        end = self._find_end()
        if end < 0:
            return b""
        body = bytes(self._header[end:])
        self._read_header(bytes(self._header[:end]))
        self._header = None
        self.received = len(body)
        return body

    def finish(self) -> bytes:
        """Nothing of a body is ever kept."""
        return b""

    def _find_end(self) -> int:
        """Where the body starts: behind the first empty line, which may be the very first; -1 if there is none yet."""
        header = self._header
        assert header is not None  # noqa: S101 - feed() looked
        while True:
            line_end = header.find(b"\n", self._scanned)
            if line_end < 0:
                return -1
            if bytes(header[self._scanned : line_end]) in (b"", b"\r"):
                return line_end + 1
            self._scanned = line_end + 1

    def _read_header(self, header: bytes) -> None:
        lines = header.decode("latin-1").replace("\r\n", "\n").split("\n")
        words = lines[0].split(" ", 2)
        if len(words) > 1 and words[0].startswith("HTTP/") and words[1].isascii() and words[1].isdigit():
            self.status = int(words[1][:3])
            self.reason = "".join(char if " " <= char <= "~" else "?" for char in "".join(words[2:]))[:100]
        for line in lines[1:]:
            name, _, value = line.partition(":")
            value = value.strip()
            if name.lower() == "content-length" and value.isascii() and value.isdigit() and len(value) < 20:
                self.length = int(value)
