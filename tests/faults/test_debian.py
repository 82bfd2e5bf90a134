"""The middle column of docs/faults.md: what Debian's tcpserver (ucspi-tcp-ipv6) does under the same faults."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.faults.test_strangers import HOST, ident
from tests.support import Namespace, Server, call, reset_at_close
from tests.support.dns_server import DNSServer, Query, garbage, record, respond, reverse
from tests.support.processes import state, states, wait_until
from tests.tcpserver.faults import injected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.peer("ucspi-tcp-ipv6/tcpserver")


@pytest.fixture
def debian(tcpserver: Callable[..., Server], peer: Callable[[str], str]) -> Callable[..., Server]:
    """Start Debian's tcpserver; ``faults`` are injected by strace."""
    program = [peer("ucspi-tcp-ipv6/tcpserver")]

    def start(*arguments: str, faults: tuple[str, ...] = (), trace: Path | str = os.devnull, **more: object) -> Server:
        command = injected(*faults, program=program, trace=trace) if faults else program
        return tcpserver(*arguments, command=command, **more)

    return start


@pytest.mark.peer("strace")
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM"])
def test_a_shortage_is_retried_at_full_speed_and_in_silence(
    debian: Callable[..., Server], tmp_path: Path, error: str
) -> None:
    trace = tmp_path / "trace"
    server = debian("-RHl0", "127.0.0.1", "0", "true", faults=(f"accept:error={error}",), trace=trace)
    wait_until(lambda: trace.read_text().count(f" {error} ") > 1000, "a thousand tries")
    server.signal(signal.SIGKILL)
    assert server.stop() == []


@pytest.mark.peer("strace")
def test_a_process_that_cannot_be_made_costs_its_caller_only(debian: Callable[..., Server]) -> None:
    server = debian("-RHl0", "127.0.0.1", "0", "cat", faults=("clone:error=EAGAIN:when=1",))
    assert call(server.port, send=b"x").data == b""
    assert call(server.port, send=b"y").data == b"y"
    assert server.stop() == ["tcpserver: warning: dropping connection, unable to fork: temporary failure"]


def test_a_storm_of_ends_is_reaped_and_callers_who_are_gone_cost_nothing(debian: Callable[..., Server]) -> None:
    server = debian("-RHl0", "-c100", "-b100", "127.0.0.1", "0", "cat")
    server.signal(signal.SIGSTOP)
    wait_until(lambda: state(server.pid) == "T", "the server stops")
    for _ in range(40):
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            reset_at_close(gone)
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    server.signal(signal.SIGCONT)
    assert call(server.port, send=b"x").data == b"x"
    server.signal(signal.SIGSTOP)
    wait_until(lambda: state(server.pid) == "T", "the server stops")
    for one in callers:
        one.close()
    wait_until(lambda: set(states(server.pid)) == {"Z"}, "all children are zombies")
    server.signal(signal.SIGCONT)
    wait_until(lambda: states(server.pid) == [], "all are reaped")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_signals_that_mean_something_here_end_it(debian: Callable[..., Server], number: int) -> None:
    server = debian("-RHl0", "127.0.0.1", "0", "cat")
    server.signal(number)
    assert server.wait() == -number


def test_programs_outlive_a_killed_server_and_the_next_one_binds_at_once(debian: Callable[..., Server]) -> None:
    server = debian("-RHl0", "0", "0", "sh", "-c", "echo; exec cat")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
        assert caller.recv(1) == b"\n"
        server.signal(signal.SIGKILL)
        server.wait()
        successor = debian("-RHl0", "0", str(server.port), "cat")
        assert call(successor.port, send=b"new").data == b"new"
        caller.sendall(b"old")
        assert caller.recv(3) == b"old"


def test_a_log_whose_reader_is_gone_stops_nobody(peer: Callable[[str], str]) -> None:
    reader, writer = os.pipe()
    command = [peer("ucspi-tcp-ipv6/tcpserver"), "-1vRHl0", "127.0.0.1", "0", "cat"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer) as process:
        os.close(writer)
        os.close(reader)
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert [call(port, send=b"x").data for _ in range(5)] == [b"x"] * 5
        process.terminate()


def test_rules_are_seen_whole_and_a_program_that_cannot_be_run_costs_its_caller_only(
    debian: Callable[..., Server], peer: Callable[[str], str], tmp_path: Path
) -> None:
    compiled = []
    for text in ('A="a",B="a"', 'A="b",B="b"'):
        command = [peer("ucspi-tcp-ipv6/tcprules"), str(tmp_path / "cdb"), str(tmp_path / "tmp")]
        rules = f'127.0.0.9:allow,LONG="{"x" * 131072}"\n:allow,{text}\n'
        subprocess.run(command, input=rules.encode(), check=True)
        compiled.append((tmp_path / "cdb").read_bytes())
    server = debian("-RHl0", "-x", str(tmp_path / "cdb"), "127.0.0.1", "0", "sh", "-c", "echo $A$B")
    over = threading.Event()

    def replace() -> None:
        while not over.is_set():
            for one in compiled:
                (tmp_path / "new").write_bytes(one)
                (tmp_path / "new").replace(tmp_path / "cdb")

    thread = threading.Thread(target=replace)
    thread.start()
    answers = {call(server.port).data for _ in range(100)}
    over.set()
    thread.join()
    assert answers <= {b"aa\n", b"bb\n"}
    assert call(server.port, source="127.0.0.9").data == b""
    assert server.stop() == ["tcpserver: warning: dropping connection, unable to run sh: argument list too long"]


@pytest.mark.peer("strace")
def test_a_disk_that_is_full_leaves_the_old_rules_in_place(peer: Callable[[str], str], tmp_path: Path) -> None:
    command = [peer("ucspi-tcp-ipv6/tcprules"), str(tmp_path / "cdb"), str(tmp_path / "tmp")]
    subprocess.run(command, input=b":deny\n", check=True)
    before = (tmp_path / "cdb").read_bytes()
    full = ["strace", "-qq", "-o", os.devnull, "-e", "trace=write", "-e", "inject=write:error=ENOSPC:when=1"]
    done = subprocess.run([*full, *command], input=b":allow\n", capture_output=True, check=False)
    assert done.returncode == 111
    assert done.stderr.endswith(b": out of disk space\n")
    assert (tmp_path / "cdb").read_bytes() == before


@pytest.mark.netns
def test_a_caller_who_never_reads_the_banner_holds_a_slot(
    debian: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    inside.set("net/ipv4/tcp_wmem", "4096 4096 4096")  # or the kernel would take it all
    server = debian("-vRHl0", "-B", "x" * 100_000, "127.0.0.1", "0", "true", namespace=inside)
    with inside.socket(socket.AF_INET) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect(("127.0.0.1", server.port))
        assert call(server.port, over=inside.socket(socket.AF_INET)).data == b"x" * 100_000
        server.wait_for_line("status: 2/40")


@pytest.mark.peer("strace")
def test_a_kernel_without_ipv6_is_served_over_ipv4_in_silence(debian: Callable[..., Server]) -> None:
    server = debian("-RHl0", "0", "0", "cat", faults=("socket:error=EAFNOSUPPORT:when=1",))
    assert call(server.port, send=b"x").data == b"x"
    with pytest.raises(ConnectionRefusedError):
        call(server.port, "::1")
    assert server.stop() == []


@pytest.mark.netns
def test_bindv6only_changes_nothing_and_an_interface_may_go_and_come_back(
    debian: Callable[..., Server], netns: Callable[..., Namespace]
) -> None:
    inside = netns()
    inside.set("net/ipv6/bindv6only", "1")
    outside = inside.neighbour("192.0.2.2/24", own=["192.0.2.1/24"])
    server = debian("-RHl0", "0", "0", "cat", namespace=inside)
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        assert call(server.port, host, over=inside.socket(family), send=b"x").data == b"x"
    inside.ip("link", "delete", "veth0")
    assert call(server.port, over=inside.socket(socket.AF_INET), send=b"x").data == b"x"
    outside = inside.neighbour("192.0.2.2/24", own=["192.0.2.1/24"])
    assert call(server.port, "192.0.2.1", over=outside.socket(socket.AF_INET), send=b"y").data == b"y"


@contextlib.contextmanager
def name_server(
    inside: Namespace, special: Callable[[Query], list[bytes] | None], host: str = "127.0.0.53"
) -> Iterator[DNSServer]:
    zone = {reverse("127.0.0.1"): {"PTR": ["caller.example"]}}
    with DNSServer(zone, special, namespace=inside, host=host, port=53) as dns:
        yield dns


@pytest.mark.netns
@pytest.mark.parametrize("how", ["garbage", "false", "elsewhere"])
def test_a_name_server_that_misbehaves_first_is_heard_out(
    debian: Callable[..., Server], netns: Callable[..., Namespace], how: str
) -> None:
    inside = netns()

    def special(query: Query) -> list[bytes] | None:
        right = respond(query, record(query.name, "PTR", "caller.example"))
        if how == "elsewhere":
            lie = respond(query, record(query.name, "PTR", "liar.example"))
            with inside.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
                stray.sendto(lie, query.source)
        return {"garbage": [garbage(1), garbage(600), right], "false": [bytes([right[0] ^ 1]) + right[1:], right]}.get(
            how, [right]
        )

    with name_server(inside, special):
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": "127.0.0.53"}
        server = debian("-Rl0", "127.0.0.1", "0", *HOST, env=environ, namespace=inside)
        assert call(server.port, over=inside.socket(socket.AF_INET)).data == b"caller.example unset\n"


@pytest.mark.netns
def test_its_questions_can_be_foreseen(debian: Callable[..., Server], netns: Callable[..., Namespace]) -> None:
    """A4: the same number from the same port, for each caller and after each start."""
    inside = netns()
    asked = set()
    with name_server(inside, lambda _query: None) as dns:
        for _ in range(2):
            environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": "127.0.0.53"}
            server = debian("-Rl0", "127.0.0.1", "0", *HOST, env=environ, namespace=inside)
            for _ in range(2):
                call(server.port, over=inside.socket(socket.AF_INET))
        asked = {(query.ident, query.source[1]) for query in dns.queries}
        assert len(dns.queries) >= 4
    assert len(asked) == 1


@pytest.mark.netns
@pytest.mark.parametrize(
    ("sent", "taken"), [(b"x" * 2**20, 257), (bytes(range(1, 10)) + bytes(range(128, 256)) + b"\r\n", 136)]
)
def test_what_an_ident_server_says_is_taken_as_it_is(
    debian: Callable[..., Server], netns: Callable[..., Namespace], sent: bytes, taken: int
) -> None:
    """A32: any bytes but blanks, 257 of them."""
    inside = netns()
    program = ("sh", "-c", 'printf %s "$TCPREMOTEINFO"')
    server = debian("-Hl0", "127.0.0.1", "0", *program, namespace=inside)
    with ident(inside, "127.0.0.9", lambda client: client.sendall(b"1,2:USERID:UNIX:" + sent)):
        answer = call(server.port, source="127.0.0.9", over=inside.socket(socket.AF_INET)).data
    assert len(answer) == taken


@pytest.mark.netns
def test_without_resolv_conf_it_asks_this_machine(
    debian: Callable[..., Server], netns: Callable[..., Namespace], peer: Callable[[str], str]
) -> None:
    inside = netns()
    prepare = 'mount -t tmpfs none /etc && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", prepare, "sh", peer("ucspi-tcp-ipv6/tcpserver")]
    with name_server(inside, lambda _query: None, host="::1") as dns:
        with Server([*command, "-1Rl0", "::1", "0", "true"], namespace=inside) as server:
            server.read_port()
            call(server.port, "::1", over=inside.socket(socket.AF_INET6))
        assert dns.asked() == [(reverse("::1"), "PTR")]


@pytest.mark.netns
def test_a_caller_who_is_looked_up_takes_a_slot(debian: Callable[..., Server], netns: Callable[..., Namespace]) -> None:
    """A27."""
    inside = netns()
    asked, answered = threading.Event(), threading.Event()

    def silent(_client: socket.socket) -> None:
        asked.set()
        answered.wait()

    server = debian("-vHl0", "-c1", "127.0.0.1", "0", *HOST, namespace=inside)
    with ident(inside, "127.0.0.9", silent), inside.socket(socket.AF_INET) as slow:
        slow.bind(("127.0.0.9", 0))
        slow.connect(("127.0.0.1", server.port))
        assert asked.wait(60)
        server.wait_for_line("tcpserver: status: 1/1")
        assert not [line for line in server.lines if " ok " in line]
        answered.set()


@pytest.mark.root
def test_the_groups_of_root_are_kept(peer: Callable[[str], str]) -> None:
    """A7."""
    command = ["setpriv", "--groups=4,24", peer("ucspi-tcp-ipv6/tcpserver")]
    with Server([*command, "-1RHl0", "-u", "65534", "127.0.0.1", "0", "id", "-G"]) as server:
        server.read_port()
        assert set(call(server.port).data.split()) == {b"0", b"4", b"24"}


def test_a_child_that_was_there_before_is_logged(peer: Callable[[str], str], tmp_path: Path) -> None:
    """A29."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f'cat {gate} & echo $! >&2; exec "$@"'
    command = ["sh", "-c", script, "sh", peer("ucspi-tcp-ipv6/tcpserver")]
    with Server([*command, "-1vRHl0", "127.0.0.1", "0", "true"]) as server:
        server.read_port()
        child = server.wait_for_line(str.isdigit)
        gate.write_bytes(b"")
        assert server.wait_for_line("tcpserver: end ") == f"tcpserver: end {child} status 0"
