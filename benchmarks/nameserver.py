"""A name server that answers every question after a while: ``python -I -S nameserver.py ADDRESS SECONDS``.

Every PTR record is caller.example's, everything else does not exist. It prints a line when it listens (UDP, port 53),
and imports nothing of the project: it must cost little, since it runs beside what is measured.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections import deque

PORT = 53
PTR = struct.pack("!HH", 12, 1)
NAME = b"\x06caller\x07example\x00"
# A pointer to the question's name, type, class, seconds to live, length of the data.
RECORD = b"\xc0\x0c" + PTR + struct.pack("!IH", 60, len(NAME)) + NAME
QUEUE = 4 << 20  # bytes that may wait in the kernel


def answer(query: bytes) -> bytes | None:
    """The answer to a question; None for what is none."""
    end = query.find(b"\0", 12) + 5
    if len(query) < 17 or end < 17:
        return None
    known = query[end - 4 : end] == PTR
    flags = 0x8180 if known else 0x8183
    return query[:2] + struct.pack("!HHHHH", flags, 1, known, 0, 0) + query[12:end] + (RECORD if known else b"")


def main(address: str, delay: float) -> None:
    """Serve until killed."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
    try:
        sock.bind((address, PORT))
    except OSError as error:
        sys.exit(f"port {PORT} of {address}: {error.strerror}")
    sock.setblocking(False)
    print(flush=True)
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    due: deque[tuple[float, bytes, tuple[str, int]]] = deque()
    while True:
        selector.select(max(0.0, due[0][0] - time.monotonic()) if due else None)
        now = time.monotonic()
        while due and due[0][0] <= now:
            _, data, caller = due.popleft()
            sock.sendto(data, caller)
        while True:
            try:
                query, caller = sock.recvfrom(512)
            except BlockingIOError:
                break
            found = answer(query)
            if found is not None:
                due.append((time.monotonic() + delay, found, caller))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
