"""Stand-ins for relays: programs between the network and a program that gets a pipe, a socket pair or a terminal.

Run as ``relay.py SHAPE [option ...] -- program [argument ...]`` with a connection on descriptors 0 and 1. The shapes
are those of real ones: ``child`` is recordio's, fixcrio's and s6-tlsd's (this process becomes the program, the relay is
its child), ``parent`` is socat's and stunnel's, ``sibling`` a starter with a relay and a program, ``grandparent`` a
relay that runs the program through a shell. Options:

pair, pty      what the program gets instead of two pipes
one-way        only the input comes from the relay; the output is the connection itself
dial=PORT      the relay has a second connection, to this port on 127.0.0.1
only=PORT      the relay has that connection instead of the one on descriptor 0, as a fetcher of mail or of a page has
witness        a third process holds the relay's end of the input as well
hoard=N        the relay has N more descriptors open
crowd=N        N more processes of the same parent
protected      the relay's descriptors cannot be looked at (PR_SET_DUMPABLE)
user=N         the program, but not the relay, runs as user N
"""

from __future__ import annotations

import ctypes
import os
import pty
import selectors
import signal
import socket
import sys
import tty

PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
libc = ctypes.CDLL(None)


def relay(reading: int, writing: int) -> None:
    """Copy both ways until the program has ended its output; ``writing`` is the program's input."""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ, writing)
        selector.register(reading, selectors.EVENT_READ, 1)
        while True:
            for key, _ in selector.select():
                try:
                    data = os.read(key.fd, 65536)
                except OSError:  # a terminal whose other end has been closed
                    data = b""
                if data:
                    os.write(key.data, data)
                elif key.fd == reading:
                    return
                else:
                    selector.unregister(0)
                    if writing != reading:
                        os.close(writing)


def main() -> None:
    at = sys.argv.index("--")
    shape, *words = sys.argv[1:at]
    program = sys.argv[at + 1 :]
    options = dict(word.partition("=")[::2] for word in words)
    kept: list[socket.socket] = []
    # The program is run when nobody holds the other end any more: all others are then as they will stay.
    waiting, ready = os.pipe()
    if "pair" in options:
        ours, theirs = socket.socketpair()
        reading = writing = ours.detach()
        given = (theirs.fileno(), theirs.fileno())
        kept.append(theirs)
    elif "pty" in options:
        master, slave = pty.openpty()
        tty.setraw(slave)
        reading = writing = master
        given = (slave, slave)
    else:
        (there, writing), (reading, back) = os.pipe(), os.pipe()
        given = (there, 1 if "one-way" in options else back)

    def become_program() -> None:
        os.close(ready)
        os.read(waiting, 1)
        os.dup2(given[0], 0)
        if "one-way" not in options:
            os.dup2(given[1], 1)
        os.closerange(3, 100)
        if "user" in options:
            os.setgroups([])
            os.setgid(int(options["user"]))
            os.setuid(int(options["user"]))
        if shape == "grandparent":
            # A shell that stays: it has something left to do.
            os.execvp("/bin/sh", ["sh", "-c", '"$@"; exit $?', "sh", *program])
        os.execvp(program[0], program)

    def become_relay() -> None:
        for fd in {*given, waiting} - {1}:
            os.close(fd)
        for name in ("dial", "only"):
            if name in options:
                kept.append(socket.create_connection(("127.0.0.1", int(options[name]))))
        if "only" in options:
            os.dup2(kept[-1].fileno(), 0)
            os.dup2(kept[-1].fileno(), 1)
            kept.pop().close()
        for _ in range(int(options.get("hoard", 0))):
            os.open("/dev/null", os.O_RDONLY)
        if "protected" in options:
            libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        os.close(ready)
        relay(reading, writing)
        os._exit(0)

    def bystander(*, holding: bool = False) -> None:
        """A process that has nothing open, or just the relay's end of the input, and ends with its parent."""
        if os.fork():
            return
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if holding:
            os.dup2(writing, 0)
        else:
            os.close(0)
        os.closerange(1, 100)
        signal.pause()

    for _ in range(int(options.get("crowd", 0))):
        bystander()
    if "witness" in options:
        bystander(holding=True)
    if shape == "child":
        if os.fork() == 0:
            become_relay()
        become_program()
    if os.fork() == 0:
        become_program()
    if shape == "sibling":
        if os.fork() == 0:
            become_relay()
        # The starter itself has nothing to do with the connection any more.
        os.closerange(0, 2)
        os.closerange(3, 100)
        for _ in range(2):
            os.wait()
        return
    become_relay()


if __name__ == "__main__":
    main()
