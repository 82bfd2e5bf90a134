"""A connection with its bytes: what a server function works with, the same under every super-server."""

from __future__ import annotations

import sys

import ucspi_env
from ucspi_env._errors import UCSPIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO, Self

    from ucspi_env._model import Connection, Endpoint

__all__ = ["Session", "client_session", "serve"]

_EXIT_TROUBLE = 111


class Session:
    """A `Connection` and the two buffered binary streams over it.

    Usable as a context manager, which flushes the writer at the end.

    Attributes:
        connection: who is calling.
        reader: what the peer sends (`io.BufferedReader`).
        writer: what the peer is sent (`io.BufferedWriter`): flush it before you wait for an answer.
    """

    def __init__(self, connection: Connection, reader: BinaryIO, writer: BinaryIO) -> None:
        self.connection = connection
        self.reader = reader
        self.writer = writer

    @property
    def remote(self) -> Endpoint | None:
        """The peer; None for UNIX-domain callers."""
        return self.connection.remote

    @property
    def local(self) -> Endpoint | None:
        """The called address, or None where nobody knows it."""
        return self.connection.local

    def close_write(self) -> None:
        """Say "that is all": flush, and end the stream towards the peer, while its answers can still be read.

        Raises:
            OSError: the connection is gone.
        """
        self.writer.flush()
        # The C module: `socket` would cost more than the whole library, for one call.
        import _socket

        try:
            sock = _socket.socket(fileno=self.writer.fileno())
        except OSError:  # a pipe of some wrapper: its end is its close
            self.writer.close()
            return
        try:
            sock.shutdown(_socket.SHUT_WR)
        finally:
            sock.detach()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        # If the body failed, that error is the one to hear about.
        try:
            self.writer.flush()
        except OSError:
            # The peer has gone, and nothing is left to be said: from Python 3.13 on the writer's own end would try to
            # say it once more, and complain.
            raw = getattr(self.writer, "raw", None)
            if raw is not None:
                raw.close()
            if kind is None:
                raise
        except ValueError:  # closed, by close_write() for one
            if kind is None and not self.writer.closed:
                raise

    def __repr__(self) -> str:
        return f"<Session {self.remote or self.connection.unix} by {self.connection.dialect}>"


def serve(function: Callable[[Session], object], *, trust: str | None = None, strict: bool = False) -> None:
    """Run ``function(session)`` for the one connection that this process was started for, on descriptors 0 and 1.

    It belongs at the end of a server: ``if __name__ == "__main__": ucspi_env.serve(main)``. A caller that hangs up is
    no error: the function ends with its BrokenPipeError or ConnectionResetError and nothing is said. Anything else
    that it raises passes through.

    Args:
        function: the server.
        trust: as for `ucspi_env.connection`.
        strict: as for `ucspi_env.connection`.

    Raises:
        SystemExit: there is no peer to serve: one line on stderr says why, and the status is 111.
    """
    try:
        connection = ucspi_env.connection(trust=trust, strict=strict)
    except UCSPIError as error:
        sys.stderr.write(f"{sys.argv[0] or 'server'}: fatal: {error}\n")
        raise SystemExit(_EXIT_TROUBLE) from None
    try:
        with _open(connection, 0, 1) as session:
            function(session)
    except (BrokenPipeError, ConnectionResetError):
        return


def client_session(*, trust: str | None = None, strict: bool = False, fds: tuple[int, int] = (6, 7)) -> Session:
    """The connection of a program under tcpclient, which has it on descriptors 6 (reading) and 7 (writing).

    Args:
        trust: as for `ucspi_env.connection`.
        strict: as for `ucspi_env.connection`.
        fds: other descriptors than tcpclient's.

    Raises:
        UCSPIError: as `ucspi_env.connection`, with ``fd=6``.
    """
    import os

    return _open(ucspi_env.connection(os.environ, fd=fds[0], trust=trust, strict=strict), *fds)


def _open(connection: Connection, read_fd: int, write_fd: int) -> Session:
    # The descriptors stay open after the session: they are the process's, and its exit closes them.
    return Session(connection, open(read_fd, "rb", closefd=False), open(write_fd, "wb", closefd=False))
