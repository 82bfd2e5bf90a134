"""addcr, delcr, fixcrio, recordio, argv0 and mconnect-io as processes, side by side with Debian's."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from tests.support import PATIENCE

if TYPE_CHECKING:
    from tests.lines.conftest import Done, Tools

LINE_TOOLS = ("addcr", "delcr", "fixcrio", "recordio", "argv0", "mconnect-io")
SAMPLES = {
    "nothing": b"",
    "lines": b"one\ntwo\r\nthree\r\r\n\n\r\nrest",
    "binary": bytes(range(256)) * 41,
    "a CR at the end": b"x\n\r",
    "a piece": b"p" * 256,
    "a piece and a line": b"p" * 256 + b"\nq\n",
    "600 bytes": b"x" * 600 + b"\n",
    "many short lines": b"\n" * 5000 + b"ab\n" * 5000,
    "more than a pipe holds": b"".join(b"%d\r\n" % number for number in range(40000)),
}
SAMPLE = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


def entries(log: bytes, arrow: bytes) -> bytes:
    """The entries of one direction of a recordio log, with the process id taken out.

    An entry may contain anything, also what looks like the start of another; but both logs are cut in the same way.
    """
    return b"".join(re.findall(rb"^\d+( " + arrow + rb" [^\n]*\n)", log, re.MULTILINE))


def give(stream: IO[bytes], data: bytes) -> None:
    """Write data and say that it is all."""
    stream.write(data)
    stream.close()


# Filters


@pytest.mark.peer("addcr", "delcr")
@pytest.mark.parametrize("name", ["addcr", "delcr"])
@SAMPLE
def test_filters_write_what_theirs_write(ours: Tools, theirs: Tools, name: str, sample: bytes) -> None:
    assert ours.run(name, stdin=sample) == theirs.run(name, stdin=sample)


@pytest.mark.peer("addcr", "delcr")
@pytest.mark.parametrize("name", ["addcr", "delcr"])
@pytest.mark.parametrize("where", ["</proc/self/mem", "<&-", "</dev/null >&-", "</dev/null >/dev/full"])
def test_filters_fail_as_theirs_fail(ours: Tools, theirs: Tools, name: str, where: str) -> None:
    def status(argv: list[str]) -> tuple[int, bytes]:
        done = subprocess.run(
            ["sh", "-c", f'"$@" {where}', "sh", *argv], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        return done.returncode, done.stderr

    assert status(ours.argv(name)) == status(theirs.argv(name))


@pytest.mark.parametrize(("name", "data"), [("addcr", b"x\n"), ("delcr", b"x\n"), ("delcr", b"\r")])
def test_filters_report_a_failed_last_write(ours: Tools, name: str, data: bytes) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(ours.argv(name), input=data, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (111, b"")


@pytest.mark.parametrize("name", ["addcr", "delcr"])
def test_filters_without_a_reader_end_quietly(ours: Tools, name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(ours.argv(name), input=b"x\n" * 9, stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.parametrize("name", ["addcr", "delcr"])
def test_filters_pass_on_what_there_is_before_they_wait(ours: Tools, name: str) -> None:
    with subprocess.Popen(ours.argv(name), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tool:
        assert tool.stdin
        assert tool.stdout
        for line in (b"a\n", b"b\n"):
            tool.stdin.write(line)
            tool.stdin.flush()
            assert tool.stdout.readline().rstrip(b"\r\n") == line.rstrip()
        tool.stdin.close()
        assert tool.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["addcr", "delcr"])
def test_filters_die_of_an_interrupt_without_a_word(ours: Tools, name: str) -> None:
    with subprocess.Popen(
        ours.argv(name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as tool:
        assert tool.stdin
        assert tool.stdout
        assert tool.stderr
        tool.stdin.write(b"a\n")  # once that is through it is past its start
        tool.stdin.flush()
        tool.stdout.readline()
        tool.send_signal(signal.SIGINT)
        assert tool.wait(PATIENCE) == -signal.SIGINT
        assert tool.stderr.read() == b""


@pytest.mark.parametrize(
    "command",
    ["addcr", "delcr", "fixcrio cat", "recordio cat"],
)
def test_a_line_without_end_passes_in_little_memory(ours: Tools, command: str) -> None:
    name, *program = command.split()
    megabytes = 192
    # 128 MiB of address space, most of which the interpreter needs to be there at all.
    script = 'head -c "$0M" /dev/zero | ( ulimit -v 131072; exec "$@" 2>/dev/null ) | wc -c'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, str(megabytes), *ours.argv(name), *program],
        capture_output=True,
        check=False,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
        timeout=PATIENCE * 2,
    )
    assert (done.returncode, done.stdout.strip()) == (0, b"%d" % (megabytes << 20))


# recordio and fixcrio


@pytest.mark.peer("fixcrio")
@SAMPLE
def test_fixcrio_passes_what_theirs_passes(ours: Tools, theirs: Tools, sample: bytes) -> None:
    assert ours.run("fixcrio", "cat", stdin=sample) == theirs.run("fixcrio", "cat", stdin=sample)


def test_fixcrio_mends_both_directions(ours: Tools, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    done = ours.run("fixcrio", "sh", "-c", f"cat >{heard}; printf 'c\\nd\\r\\n'", stdin=b"a\nb\r\n")
    assert done == (0, b"c\r\nd\r\n", b"")
    assert heard.read_bytes() == b"a\r\nb\r\n"


@pytest.mark.peer("recordio")
@SAMPLE
def test_recordio_logs_input_as_theirs_to_the_letter(ours: Tools, theirs: Tools, tmp_path: Path, sample: bytes) -> None:
    file = tmp_path / "input"
    file.write_bytes(sample)

    def record(tools: Tools) -> Done:
        with file.open("rb") as stdin:
            # The program reads to the end before it ends, so that the copier has seen the end as well.
            return tools.run("recordio", "sh", "-c", "cat >/dev/null", stdin=stdin.fileno())

    mine, other = record(ours), record(theirs)
    assert entries(mine.stderr, b"<") == entries(other.stderr, b"<")
    assert entries(mine.stderr, b"<").endswith(b" < [EOF]\n")


@pytest.mark.peer("recordio")
@SAMPLE
def test_recordio_logs_output_as_theirs_to_the_letter(
    ours: Tools, theirs: Tools, tmp_path: Path, sample: bytes
) -> None:
    file = tmp_path / "output"
    file.write_bytes(sample)
    mine, other = (tools.run("recordio", "cat", str(file), stdin=subprocess.DEVNULL) for tools in (ours, theirs))
    assert mine.stdout == other.stdout == sample
    assert entries(mine.stderr, b">") == entries(other.stderr, b">")
    assert entries(mine.stderr, b">").endswith(b" > [EOF]\n")


def test_recordio_logs_a_line_in_the_parts_in_which_it_came_and_before_it_passes_it_on(ours: Tools) -> None:
    with subprocess.Popen(
        [*ours.argv("recordio"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as tool:
        assert tool.stdin
        assert tool.stdout
        assert tool.stderr
        pid = b"%d" % tool.pid
        for part, shown in ((b"ab", b"ab+"), (b"c\n", b"c ")):
            tool.stdin.write(part)
            tool.stdin.flush()
            assert tool.stderr.readline() == pid + b" < " + shown + b"\n"
            assert tool.stderr.readline() == pid + b" > " + shown + b"\n"
            assert os.read(tool.stdout.fileno(), 100) == part
        tool.stdin.close()
        assert tool.stderr.read() == pid + b" < [EOF]\n" + pid + b" > [EOF]\n"
        assert tool.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
def test_output_is_not_lost_when_the_program_closes_its_input(ours: Tools, tmp_path: Path, name: str) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    script = f"exec <&-; echo closed; read line <{go}; echo out"
    with subprocess.Popen(
        [*ours.argv(name), "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as tool:
        assert tool.stdin
        assert tool.stdout
        assert tool.stdout.readline().rstrip() == b"closed"
        # The program does not read. The copier notices by a failed write; with it must not go the other direction.
        for _ in range(3):
            tool.stdin.write(b"ignored\n")
            tool.stdin.flush()
        if name == "recordio":
            assert tool.stderr
            assert any(b"ignored" in line for line in iter(tool.stderr.readline, b""))
        go.write_text("\n")
        assert tool.stdout.read().rstrip() == b"out"
        assert tool.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
def test_a_reader_that_does_not_read_holds_up_only_its_own_direction(ours: Tools, tmp_path: Path, name: str) -> None:
    heard = tmp_path / "heard"
    os.mkfifo(heard)
    size = 1 << 20
    script = f"head -c {size} /dev/zero & cat >{heard}; wait"
    with (
        subprocess.Popen(
            [*ours.argv(name), "sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as tool,
        heard.open("rb") as listener,
    ):
        assert tool.stdin
        assert tool.stdout
        sent = b"x" * size
        writer = threading.Thread(target=give, args=(tool.stdin, sent))
        writer.start()
        assert listener.read() == sent  # and nothing has been read of stdout yet
        writer.join()
        assert len(tool.stdout.read()) == size
        assert tool.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
def test_a_socket_that_is_shared_stays_blocking(ours: Tools, name: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        tool = subprocess.Popen(
            [*ours.argv(name), "cat"], stdin=far.fileno(), stdout=far.fileno(), stderr=subprocess.DEVNULL
        )
        near.sendall(b"hello\r\n")
        near.settimeout(PATIENCE)
        assert near.recv(100) == b"hello\r\n"
        assert os.get_blocking(far.fileno())
        near.shutdown(socket.SHUT_WR)
        assert tool.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
def test_descriptors_that_somebody_made_non_blocking_work(ours: Tools, name: str) -> None:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        tool = subprocess.Popen(
            [*ours.argv(name), "cat"], stdin=far.fileno(), stdout=far.fileno(), stderr=subprocess.DEVNULL
        )
        data = b"a line\r\n" * 100_000

        def talk() -> None:
            near.sendall(data)
            near.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=talk)
        writer.start()
        near.settimeout(PATIENCE)
        received = bytearray()
        while chunk := near.recv(65536):
            received += chunk
            if len(received) == len(data):
                break
        writer.join()
        assert received == data
        assert tool.wait(PATIENCE) == 0


@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
def test_the_program_has_the_process_id_and_its_status_is_the_status(ours: Tools, name: str) -> None:
    argv = [*ours.argv(name), "sh", "-c", "echo $$; exit 7"]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tool:
        assert tool.stdout
        assert int(tool.stdout.read()) == tool.pid
        assert tool.wait(PATIENCE) == 7


@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
def test_a_killed_program_is_seen_as_killed(ours: Tools, name: str) -> None:
    assert ours.run(name, "sh", "-c", "kill -PIPE $$").status == -signal.SIGPIPE


@pytest.mark.parametrize("name", ["recordio", "fixcrio", "argv0"])
def test_the_program_starts_with_the_environment_of_the_tool(ours: Tools, name: str) -> None:
    program = ["env", "env"] if name == "argv0" else ["env"]
    # In a plain C locale Python adds LC_CTYPE to its own environment.
    done = ours.run(name, *program, env={"PATH": os.defpath, "A": "1", "B": "\udcff"})
    lines = done.stdout.replace(b"\r", b"").splitlines()
    assert sorted(lines) == sorted([b"PATH=" + os.fsencode(os.defpath), b"A=1", b"B=\xff"])


def test_an_lc_ctype_of_the_users_own_is_passed_on(ours: Tools) -> None:
    done = ours.run("recordio", "env", env={"PATH": os.defpath, "LC_CTYPE": "C.UTF-8"})
    assert b"LC_CTYPE=C.UTF-8\n" in done.stdout


@pytest.mark.peer("recordio", "fixcrio")
@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
@pytest.mark.parametrize("where", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_end_as_with_theirs(ours: Tools, theirs: Tools, name: str, where: str) -> None:
    def outcome(argv: list[str]) -> tuple[int, bytes]:
        done = subprocess.run(
            ["sh", "-c", f'"$@" cat {where}', "sh", *argv], input=b"a\r\n", capture_output=True, check=False
        )
        return done.returncode, done.stdout

    assert outcome(ours.argv(name)) == outcome(theirs.argv(name))


def test_recordio_without_stderr_copies(ours: Tools) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" cat 2>&-', "sh", *ours.argv("recordio")], input=b"a\n", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"a\n")


def test_two_recordios_do_not_tear_each_others_entries(ours: Tools) -> None:
    data = b"".join(b"line number %d\n" % number for number in range(20000))
    reader, writer = os.pipe()
    tools = []
    for _ in range(2):
        tools.append(
            subprocess.Popen(
                [*ours.argv("recordio"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=writer
            )
        )
    os.close(writer)

    feeders = [threading.Thread(target=give, args=(tool.stdin, data)) for tool in tools]
    for feeder in feeders:
        feeder.start()
    with os.fdopen(reader, "rb") as log:
        text = log.read()
    for feeder in feeders:
        feeder.join()
    for tool in tools:
        assert tool.wait(PATIENCE) == 0
    pids = b"|".join(b"%d" % tool.pid for tool in tools)
    well_formed = re.compile(rb"(?:%s) [<>] (?:\[EOF\]|.{0,256}[ +])" % pids)
    assert all(well_formed.fullmatch(line) for line in text.splitlines())


# Refusals


@pytest.mark.peer("recordio", "fixcrio", "argv0")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("recordio", []),
        ("fixcrio", []),
        ("argv0", []),
        ("argv0", ["x"]),
        ("argv0", ["/nonexistent", "x"]),
        ("argv0", ["", "x"]),
        ("argv0", ["/tmp", "x"]),
        ("argv0", ["no-such-program-anywhere", "x"]),
        ("fixcrio", ["/nonexistent"]),
        ("fixcrio", [""]),
        ("fixcrio", ["--", "cat"]),
        ("fixcrio", ["/etc/passwd"]),
        ("recordio", ["/nonexistent/\udcff"]),
    ],
)
def test_refusals_read_as_theirs(ours: Tools, theirs: Tools, name: str, arguments: list[str]) -> None:
    def outcome(tools: Tools) -> tuple[int, bytes, list[bytes]]:
        done = tools.run(name, *arguments)
        # Whether the copier sees both ends before the pipes are gone is a race in theirs.
        return done.status, done.stdout, [line for line in done.stderr.splitlines() if b"[EOF]" not in line]

    assert outcome(ours) == outcome(theirs)


def test_argv0_runs_a_program_under_another_name(ours: Tools) -> None:
    assert ours.run("argv0", "sh", "somebody", "-c", 'printf "%s" "$0"').stdout == b"somebody"


# mconnect-io


def converse(
    argv: list[str], network: int, stdin: bytes | int, stdout: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Start mconnect-io with descriptor ``network`` as 6 and 7."""
    script = f'exec "$@" 6<&{network} 7>&{network}'
    source = subprocess.PIPE if isinstance(stdin, bytes) else stdin
    tool = subprocess.Popen(["bash", "-c", script, "bash", *argv], stdin=source, stdout=stdout, pass_fds=[network])
    if isinstance(stdin, bytes):
        assert tool.stdin
        tool.stdin.write(stdin)
        tool.stdin.close()
    return tool


def test_mconnect_io_half_closes_at_the_end_of_its_input(ours: Tools) -> None:
    near, far = socket.socketpair()
    with near, far, converse(ours.argv("mconnect-io"), far.fileno(), b"a\nb\r\nc") as tool:
        far.close()
        near.settimeout(PATIENCE)
        heard = bytearray()
        while chunk := near.recv(100):  # theirs leaves the connection open, and this would not end
            heard += chunk
        assert heard == b"a\r\nb\r\r\nc"
        near.sendall(b"answer\n\r\n\0")
        near.shutdown(socket.SHUT_WR)
        assert tool.stdout
        assert tool.stdout.read() == b"answer\n\r\n\0"
        assert tool.wait(PATIENCE) == 0


def test_mconnect_io_closes_what_is_no_socket(ours: Tools) -> None:
    """Under a client that has pipes for descriptors 6 and 7."""
    from_network, network_says = os.pipe()
    network_hears, to_network = os.pipe()
    # Numbers that bash does not mind, whatever these are.
    script = 'exec "$@" 6<&"$IN" 7>&"$OUT" {IN}<&- {OUT}>&-'
    with subprocess.Popen(
        ["bash", "-c", script, "bash", *ours.argv("mconnect-io")],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "IN": str(from_network), "OUT": str(to_network)},
        pass_fds=[from_network, to_network],
    ) as tool:
        os.close(from_network)
        os.close(to_network)
        assert select.select([network_hears], [], [], PATIENCE)[0]
        assert os.read(network_hears, 1) == b""
        os.close(network_says)
        assert tool.wait(PATIENCE) == 0
    os.close(network_hears)


def test_mconnect_io_ends_with_the_network_though_its_input_goes_on(ours: Tools) -> None:
    near, far = socket.socketpair()
    reader, writer = os.pipe()
    with near, far, converse(ours.argv("mconnect-io"), far.fileno(), reader) as tool:
        near.sendall(b"bye\n")
        near.shutdown(socket.SHUT_WR)
        assert tool.stdout
        assert tool.stdout.read() == b"bye\n"
        assert tool.wait(PATIENCE) == 0
    os.close(reader)
    os.close(writer)


def test_mconnect_io_without_a_reader_ends(ours: Tools) -> None:
    near, far = socket.socketpair()
    reader, writer = os.pipe()
    os.close(reader)
    # Theirs goes on for ever here, at full speed.
    with near, far, converse(ours.argv("mconnect-io"), far.fileno(), subprocess.DEVNULL, writer) as tool:
        os.close(writer)
        near.sendall(b"hello\n")
        assert tool.wait(PATIENCE) == 111


@pytest.mark.peer("mconnect-io")
def test_mconnect_io_copies_as_theirs(ours: Tools, theirs: Tools) -> None:
    def outcome(tools: Tools) -> tuple[int, bytes, bytes]:
        near, far = socket.socketpair()
        reader, writer = os.pipe()
        with near, far, converse(tools.argv("mconnect-io"), far.fileno(), reader) as tool:
            os.write(writer, b"a\nb\r\n\n.")
            near.settimeout(PATIENCE)
            heard = b""
            while not heard.endswith(b"."):
                heard += near.recv(100)
            near.sendall(b"x\r\ny\n\0")
            near.shutdown(socket.SHUT_WR)
            assert tool.stdout
            return tool.wait(PATIENCE), heard, tool.stdout.read()

    first, second = outcome(ours), outcome(theirs)
    assert first == second
