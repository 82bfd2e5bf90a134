#!/usr/bin/env python3
"""chat: what one caller types, all others read. Teaches: processes of many callers can talk to each other.

Each process has a socket in the directory and sends every line to the sockets of all others; the kernel does the rest.

Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./chat.py /run/chat
The same, imported only once    ucspi-tcpserver --handler ::0 7777 chat:chat /run/chat
Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./chat.py /run/chat
Under s6                        s6-tcpserver :: 7777 ./chat.py /run/chat
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/chat.py /run/chat with StandardInput=socket
Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/chat.py chat.py /run/chat
Then join in                    nc ::1 7777
"""

import os
import selectors
import socket
import sys
from contextlib import suppress
from pathlib import Path

import ucspi_env

LONGEST_LINE = 400


def tell(room: Path, mine: socket.socket, text: str) -> None:
    """Send one line to everybody else; one who is gone or does not read misses it."""
    for path in room.iterdir():
        if str(path) != mine.getsockname():
            with suppress(OSError):
                mine.sendto(text.encode(errors="replace"), socket.MSG_DONTWAIT, str(path))


def converse(session: ucspi_env.Session, room: Path, mine: socket.socket) -> None:
    # str(endpoint): "[2001:db8::1]:4711". A name cut off at a colon would be "2001" for half the world.
    name = str(session.remote)
    with selectors.DefaultSelector() as waiting:
        waiting.register(session.reader, selectors.EVENT_READ)
        waiting.register(mine, selectors.EVENT_READ)
        typed = b""
        while True:
            for key, _ in waiting.select():
                if key.fileobj is mine:
                    session.writer.write(mine.recv(4096) + b"\r\n")
                    session.writer.flush()
                    continue
                piece = os.read(session.reader.fileno(), 4096)
                if not piece:
                    return
                *lines, typed = (typed + piece).split(b"\n")
                for line in lines:
                    # Other people's terminals: only what can be printed gets through.
                    words = "".join(c for c in line.decode(errors="replace") if c.isprintable())
                    tell(room, mine, f"{name}: {words[:LONGEST_LINE]}")
                typed = typed[:LONGEST_LINE]


def chat(session: ucspi_env.Session) -> None:
    room = Path(sys.argv[1])
    path = room / str(os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mine:
        mine.bind(str(path))
        try:
            others = len(list(room.iterdir())) - 1
            session.writer.write(f"welcome {session.remote}, {others} others are here\r\n".encode())
            session.writer.flush()
            tell(room, mine, f"{session.remote} is here")
            converse(session, room, mine)
        finally:
            path.unlink()
            tell(room, mine, f"{session.remote} has gone")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: chat.py directory")
    ucspi_env.serve(chat)
