"""The stage: connections between claimed addresses that the kernel believes in; and playing on them."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.envcheck.running import CLEAN, PYTHON
from ucspi_env import Endpoint
from ucspi_env._facts import observe_descriptor
from ucspi_env.envcheck._play import LONGEST, play
from ucspi_env.envcheck._stage import Stage, StageError

pytestmark = pytest.mark.netns


@pytest.mark.parametrize(
    ("remote", "local"),
    [
        ("192.0.2.1:4711", "198.51.100.1:25"),
        ("[2001:db8::1]:4711", "[2001:db8::2]:25"),
        ("[fe80::1%lo]:4711", "[fe80::2%lo]:25"),
        ("127.0.0.1:4711", "127.0.0.1:25"),
        ("[::1]:4711", "[::1]:25"),
        ("10.0.0.255:4711", "240.0.0.1:25"),
    ],
)
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_the_kernel_names_the_claimed_ends(remote: str, local: str, transport: str) -> None:
    with Stage() as stage:
        assert stage.reason == ""
        server, client = stage.connect(Endpoint.parse(remote), Endpoint.parse(local), transport=transport)
    # The stage has gone; the connection stays.
    with server, client:
        seen = observe_descriptor(server.fileno())
        assert (str(seen.peername), str(seen.sockname)) == (remote, local)
        assert seen.type == {"tcp": "stream", "udp": "dgram"}[transport]
        client.send(b"hello")
        assert server.recv(100) == b"hello"


def test_ports_can_be_the_kernels_choice() -> None:
    with Stage() as stage:
        server, client = stage.connect(Endpoint("192.0.2.1"), Endpoint("192.0.2.2"))
    with server, client:
        assert server.getpeername() == client.getsockname()
        assert server.getpeername()[1] > 0


@pytest.mark.parametrize(
    ("remote", "local", "reason"),
    [
        ("192.0.2.1:1", "[::1]:1", "two families"),
        ("224.0.0.1:1", "192.0.2.1:1", "cannot connect 224.0.0.1:1 to 192.0.2.1:1"),
        ("0.0.0.0:1", "192.0.2.1:1", "cannot connect"),
        ("[ff02::1]:1", "[::1]:1", "cannot connect"),
    ],
)
def test_what_cannot_be_is_refused_and_harms_nothing_else(remote: str, local: str, reason: str) -> None:
    with Stage() as stage:
        with pytest.raises(StageError, match=reason.replace(".", r"\.")):
            stage.connect(Endpoint.parse(remote), Endpoint.parse(local))
        server, client = stage.connect(Endpoint("192.0.2.1"), Endpoint("192.0.2.2"))
    server.close()
    client.close()


def test_it_works_in_a_process_with_threads() -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with Stage() as stage:
            assert stage.reason == ""
    finally:
        done.set()
        thread.join()


def test_nothing_of_it_is_seen_outside() -> None:
    before = socket.if_nameindex()
    with Stage() as stage:
        server, client = stage.connect(Endpoint("fe80::1%nowhere0"), Endpoint("fe80::2%nowhere0"))
        server.close()
        client.close()
        assert socket.if_nameindex() == before


# -- play --


def played(code: str, dialogue: bytes = b"", timeout: float = 60.0) -> tuple[bytes, bytes, int | None]:
    server, client = socket.socketpair()
    run = play([*PYTHON, "-S", "-c", code], CLEAN, server, client, dialogue=dialogue, timeout=timeout)
    return run.output, run.errors, run.status


def test_output_errors_and_status_are_noted() -> None:
    code = "import sys; print('out', sys.stdin.read()); print('err', file=sys.stderr); sys.exit(3)"

    assert played(code, b"said") == (b"out said\n", b"err\n", 3)


def test_a_program_that_does_not_listen_is_heard_all_the_same() -> None:
    assert played("print('hello')", b"x" * 5_000_000) in ((b"hello\n", b"", 0), (b"", b"", 0))


def test_an_endless_answer_is_cut_and_read_to_its_end() -> None:
    output, _, status = played("import sys; sys.stdout.write('x' * 3_000_000)")

    assert (len(output), status) == (LONGEST, 0)


def test_a_signal_is_told() -> None:
    assert played("import os; os.kill(os.getpid(), 11)")[2] == -11


def test_a_child_that_holds_nothing_but_stderr_is_not_waited_for() -> None:
    code = (
        "import subprocess\n"
        "subprocess.Popen(['sleep', '600'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)\n"
        "print('hello')"
    )

    assert played(code) == (b"hello\n", b"", 0)


def test_a_child_that_goes_on_with_the_conversation_is_heard() -> None:
    # The child waits until its parent has ended: the pipe between them says when.
    code = "import os\nr, w = os.pipe()\nif os.fork(): os._exit(0)\nos.close(w)\nos.read(r, 1)\nprint('from the child')"

    assert played(code)[0] == b"from the child\n"


def test_what_outlives_its_time_is_killed_with_its_children() -> None:
    code = "import os; os.system('sleep 600 & echo hello; sleep 600')"

    output, _, status = played(code, timeout=1.0)

    assert (output, status) in ((b"hello\n", None), (b"", None))


def test_a_program_that_cannot_be_started_leaves_nothing_open() -> None:
    server, client = socket.socketpair()

    with pytest.raises(FileNotFoundError):
        play(["/no/such/program"], CLEAN, server, client)

    assert server.fileno() == client.fileno() == -1
