"""serve() and client_session(): the connection with its bytes."""

from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import ucspi_env
from tests.support import reset_at_close

ROOT = Path(ucspi_env.__file__).parent.parent


def run(code: str, sock: socket.socket) -> subprocess.Popen[bytes]:
    program: subprocess.Popen[bytes] = subprocess.Popen(
        [sys.executable, "-c", "import ucspi_env\n" + code],
        stdin=sock.fileno(),
        stdout=sock.fileno(),
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    )
    return program


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        client.settimeout(60)
        return listener.accept()[0], client


def test_serve_gives_the_function_the_caller_and_the_bytes() -> None:
    server, client = pair()
    code = (
        "def main(session):\n"
        "    line = session.reader.readline()\n"
        "    session.writer.write(b'%s said %s' % (str(session.remote).encode(), line))\n"
        "ucspi_env.serve(main)\n"
    )
    with server, client, run(code, server) as program:
        server.close()
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()
        host, port = client.getsockname()

        assert answer == f"{host}:{port} said hello\n".encode()
        assert program.wait() == 0


def test_close_write_ends_our_half_only() -> None:
    server, client = pair()
    code = (
        "def main(session):\n"
        "    session.writer.write(b'over to you')\n"
        "    session.close_write()\n"
        "    assert session.reader.read() == b'bye'\n"
        "ucspi_env.serve(main)\n"
    )
    with server, client, run(code, server) as program:
        server.close()
        assert client.makefile("rb").read() == b"over to you"
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)
        assert program.wait() == 0


def test_a_caller_that_hangs_up_is_no_error() -> None:
    server, client = pair()
    code = (
        "def main(session):\n"
        "    session.reader.read()\n"
        "    while True:\n"
        "        session.writer.write(b'x' * 65536)\n"
        "ucspi_env.serve(main)\n"
    )
    with server, run(code, server) as program:
        server.close()
        client.close()
        _, complaint = program.communicate()

        assert (program.returncode, complaint) == (0, b"")


def test_what_is_left_for_a_caller_who_has_gone_is_dropped_in_silence() -> None:
    server, client = pair()
    code = (
        "def main(session):\n"
        "    session.writer.write(b'x')\n"
        "    session.writer.flush()\n"
        "    try:\n"
        "        session.reader.read()\n"
        "    except ConnectionResetError:\n"
        "        session.writer.write(b'for nobody')\n"
        "ucspi_env.serve(main)\n"
    )
    with server, run(code, server) as program:
        server.close()
        assert client.recv(1) == b"x"
        reset_at_close(client)
        client.close()
        _, complaint = program.communicate()

        assert (program.returncode, complaint) == (0, b"")


class Unreachable(io.RawIOBase):
    """A connection whose other end does not answer any more."""

    def writable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def out_of_reach() -> ucspi_env.Session:
    connection = ucspi_env.Connection(remote=ucspi_env.Endpoint("192.0.2.1", 4711))
    return ucspi_env.Session(connection, io.BytesIO(), io.BufferedWriter(Unreachable()))


def test_of_two_errors_the_servers_own_is_heard() -> None:
    def main() -> None:
        with out_of_reach() as session:
            session.writer.write(b"for nobody")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_what_cannot_be_said_at_the_end_is_an_error() -> None:
    with pytest.raises(TimeoutError), out_of_reach() as session:
        session.writer.write(b"for nobody")


def test_outside_a_super_server_one_line_and_111() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ucspi_env; ucspi_env.serve(print)"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )

    assert done.returncode == 111
    assert done.stderr.startswith("-c: fatal: no super-server speaks")
    assert done.stderr.count("\n") == 1


def test_a_failing_function_is_heard() -> None:
    server, client = pair()
    with server, client, run("def main(session): raise ValueError('mine')\nucspi_env.serve(main)", server) as program:
        server.close()
        _, complaint = program.communicate()

        assert program.returncode == 1
        assert complaint.rstrip().endswith(b"ValueError: mine")


def test_client_session_is_on_6_and_7() -> None:
    server, client = pair()
    code = (
        "import os\n"
        "os.dup2(0, 6); os.dup2(0, 7); null = os.open('/dev/null', os.O_RDWR); os.dup2(null, 0); os.dup2(null, 1)\n"
        "with ucspi_env.client_session() as session:\n"
        "    session.writer.write(str(session.remote).encode())\n"
    )
    with server, client, run(code, server) as program:
        server.close()
        host, port = client.getsockname()

        assert client.makefile("rb").read() == f"{host}:{port}".encode()
        assert program.wait() == 0


def test_a_session_reads_well() -> None:
    read, write = os.pipe()
    with open(read, "rb") as reader, open(write, "wb") as writer:
        connection = ucspi_env.Connection(remote=ucspi_env.Endpoint("::1", 7), dialect="s6-networking")
        session = ucspi_env.Session(connection, reader, writer)

        assert repr(session) == "<Session [::1]:7 by s6-networking>"
        assert session.local is None
        session.close_write()
        assert reader.read() == b""
