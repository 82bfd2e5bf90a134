"""The least that a server in Python can do for a connection: the floor of what tcpserver is measured against.

``least.py PROCESSES PROGRAM`` listens on 127.0.0.1, prints the port, and for each connection calls accept(2),
posix_spawn(3) with an environment that is always the same, close(2) and waitpid(2). No limits, no variables, no log, no
signals, no look-ups: what tcpserver takes longer is theirs. What this one cannot reach, no server in Python can that
starts programs by `os.posix_spawn`.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

ENVIRONMENT = {b"VARIABLE%d" % number: b"127.0.0.1" for number in range(14)}  # as many as tcpserver has
PATIENCE = 0.01  # seconds without a caller until the next look at programs that have ended
BACKLOG = 128


def serve(listener: socket.socket, program: str) -> None:
    """Serve for ever."""
    poller = select.epoll()
    poller.register(listener.fileno(), select.EPOLLIN)
    signals = tuple(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}))
    accept = getattr(listener, "_accept")  # noqa: B009 - as tcpserver's own loop has it
    running = 0
    while True:
        try:
            fd, _ = accept()
        except BlockingIOError:
            poller.poll(PATIENCE)
        else:
            os.posix_spawn(
                program,
                [program],
                ENVIRONMENT,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, fd, 1)],
                setsigmask=(),
                setsigdef=signals,
            )
            os.close(fd)
            running += 1
        while running and os.waitpid(-1, os.WNOHANG)[0]:
            running -= 1


def main() -> None:
    """Be as many of them as were asked for."""
    processes, program = int(sys.argv[1]), sys.argv[2]
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        for _ in range(processes - 1):
            if not os.fork():
                break
        serve(listener, program)


if __name__ == "__main__":
    main()
