"""The relay's socket as a witness: real processes, pipes and connections, in every shape and in every wrong one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ucspi_env
from tests.support import PATIENCE, Program, listening, tool
from ucspi_env import Descriptor, Endpoint, Facts, NotUnderSuperServerError, Relay, identify
from ucspi_env._sockdiag import is_called_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc and sock_diag")

RELAY = [sys.executable, "-I", str(Path(__file__).parents[1] / "support" / "relay.py")]
MARK = "ANSWER "
ASK = f"""
import json, os, sys
import ucspi_env
try:
    found = ucspi_env.connection(strict="strict" in sys.argv)
    answer = {{
        "remote": str(found.remote), "local": str(found.local), "evidence": found.evidence, "vouched": found.vouched,
        "dialect": found.dialect, "tls": found.tls, "problems": {{p.code: str(p) for p in found.problems}},
        "relay": found.relay and [found.relay.pid, found.relay.name], "pids": [os.getpid(), os.getppid()],
    }}
except ucspi_env.UCSPIError as error:
    answer = {{"error": type(error).__name__, "message": str(error)}}
os.write(2, ("{MARK}" + json.dumps(answer) + "\\n").encode())
"""
SHAPES = ("child", "parent", "sibling", "grandparent")


def relay(shape: str, *options: str) -> list[str]:
    return [*RELAY, shape, *options, "--"]


def ask(
    command: Sequence[str],
    *,
    claim: bool | Mapping[str, str] = True,
    host: str = "127.0.0.1",
    strict: bool = False,
    half_close: bool = False,
    stdout: bool = True,
    program: Sequence[str] = (sys.executable, "-I", "-c", ASK),
) -> tuple[dict[str, Any], str]:
    """What `connection()` says below ``command``, which gets an accepted connection, and the caller's own name.

    Args:
        command: a relay, to which ``program`` is added.
        claim: whether variables name the caller, or which variables there are.
        host: where to call.
        strict: what to ask with.
        half_close: whether the caller says at once that nothing more will come.
        stdout: whether descriptor 1 is the connection as well.
        program: asks, and writes the answer to stderr, which relays leave alone.
    """
    with listening(host) as (listener, port), socket.create_connection((host, port), PATIENCE) as client:
        server, _ = listener.accept()
        own = client.getsockname()
        if half_close:
            client.shutdown(socket.SHUT_WR)
        environ = {"PATH": os.environ["PATH"]}
        if claim is True:
            environ |= {
                "PROTO": "TCP6" if ":" in host else "TCP",
                "TCPREMOTEIP": own[0],
                "TCPREMOTEPORT": str(own[1]),
                "TCPLOCALIP": host,
                "TCPLOCALPORT": str(port),
            }
        elif claim:
            environ |= claim
        argv = [*command, *program, *(["strict"] if strict else [])]
        with server, open(os.devnull, "wb") as null:
            out = server.fileno() if stdout else null.fileno()
            started = Program(argv, env=environ, stdin=server.fileno(), stdout=out)
        with started:
            line = started.wait_for_line(MARK)
        return json.loads(line.partition(MARK)[2]), str(Endpoint(own[0], own[1]))


# -- shapes that are a witness ----------------------------------------------------------------------------------------


TERMINAL = pytest.param(["pty"], id="terminal", marks=pytest.mark.needs("/dev/pts/ptmx"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("end", [pytest.param([], id="pipes"), pytest.param(["pair"], id="pair"), TERMINAL])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_relays_socket_proves_the_claim(shape: str, end: list[str], host: str) -> None:
    said, caller = ask(relay(shape, *end), host=host, strict=True)

    assert (said["remote"], said["evidence"], said["vouched"]) == (caller, "relay", True)
    assert said["problems"] == {}
    pid, name = said["relay"]
    assert pid != said["pids"][0]
    assert name.startswith("python")


@pytest.mark.parametrize("program", ["recordio", "fixcrio"])
@pytest.mark.parametrize("shape", SHAPES)
def test_over_two_hops(program: str, shape: str) -> None:
    said, caller = ask([*relay(shape), *tool(program)], strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


def test_over_four_hops_and_no_further() -> None:
    wrappers = [*tool("recordio"), *tool("fixcrio"), *tool("recordio")]
    said, caller = ask([*relay("parent"), *wrappers], strict=True)
    assert (said["remote"], said["evidence"]) == (caller, "relay")

    said, caller = ask([*relay("parent"), *wrappers, *tool("fixcrio")])
    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "relay-unproved" in said["problems"]


@pytest.mark.peer("recordio", "fixcrio")
@pytest.mark.parametrize("name", ["recordio", "fixcrio"])
@pytest.mark.parametrize("claim", [True, False], ids=["tcpserver", "inetd"])
def test_debians_wrappers(peer: Callable[[str], str], name: str, claim: bool) -> None:
    said, caller = ask([peer(name)], claim=claim, strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")
    assert said["relay"][1] == name


@pytest.mark.peer("socat")
@pytest.mark.parametrize("address", ["EXEC:'{}'", "EXEC:'{}',pipes", "EXEC:'{}',pty,raw,echo=0", "SYSTEM:'{}'"])
def test_socat_between(peer: Callable[[str], str], tmp_path: Path, address: str) -> None:
    # Its own syntax leaves no room for a program's arguments: a script has them.
    script = tmp_path / "ask"
    script.write_text(f"#!{sys.executable} -I\n{ASK}")
    script.chmod(0o755)
    said, caller = ask([peer("socat"), "STDIO", address.format(script)], program=())

    assert (said["remote"], said["evidence"], said["relay"][1]) == (caller, "relay", "socat")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [[], ["pair"]], ids=["pipes", "pair"])
def test_where_no_variable_names_a_peer_the_relays_is_the_answer(shape: str, end: list[str]) -> None:
    """inetd → recordio."""
    said, caller = ask(relay(shape, *end), claim=False, strict=True)

    assert (said["remote"], said["evidence"], said["dialect"]) == (caller, "relay", "inetd")


@pytest.mark.parametrize("shape", SHAPES)
def test_over_two_hops_without_a_variable(shape: str) -> None:
    """inetd → s6-tlsd → recordio."""
    said, caller = ask([*relay(shape), *tool("recordio")], claim=False, strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


def test_stale_variables_lose_against_the_relays_socket() -> None:
    stale = {"PROTO": "TCP", "TCPREMOTEIP": "203.0.113.9", "TCPREMOTEPORT": "9", "SOCAT_PEERADDR": "203.0.113.71"}
    said, caller = ask(relay("child"), claim=stale, strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")
    assert set(said["problems"]) == {"stale-variables"}


def test_a_claim_without_a_port_is_proved_with_the_relays_port() -> None:
    """xinetd → s6-tlsd."""
    said, caller = ask(relay("child"), claim={"REMOTE_HOST": "::ffff:127.0.0.1"}, strict=True)

    assert (said["remote"], said["evidence"], said["dialect"]) == (caller, "relay", "xinetd")


def test_a_listeners_address_beside_the_claim_is_no_hindrance() -> None:
    """s6-tcpserver → s6-tlsd: TCPLOCALIP is 0.0.0.0."""
    with listening() as (_, port):
        claim = {"PROTO": "TCP", "TCPREMOTEIP": "127.0.0.1", "TCPLOCALIP": "0.0.0.0", "TCPLOCALPORT": str(port)}
    said, caller = ask(relay("child"), claim=claim, strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


def test_a_caller_who_has_said_all_is_still_proved() -> None:
    """The relay may have closed the input by then; the output still leads to it."""
    said, caller = ask(relay("child"), half_close=True, strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


@pytest.mark.parametrize(
    ("extra", "evidence", "remote"),
    [
        ({"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9", "UCSPI_PROXY_PEER": "PEER"}, "proxy", "203.0.113.7:9"),
        ({"TCPREMOTEIP": "203.0.113.7", "UCSPI_RULE_PEER": "PEER"}, "operator", "203.0.113.7:"),
    ],
    ids=["PROXY", "rule"],
)
def test_marks_of_our_tools_are_checked_against_the_relays_socket(
    extra: dict[str, str], evidence: str, remote: str
) -> None:
    # The shell knows the peer that tcpserver would have written; the mark names it.
    script = 'for n in UCSPI_PROXY_PEER UCSPI_RULE_PEER; do eval "v=\\$$n"; [ "$v" != PEER ] || export $n="$TRUE"; done'
    lines = (
        f'TRUE="$TCPREMOTEIP:$TCPREMOTEPORT"; {"".join(f"export {n}={v}; " for n, v in extra.items())}{script}; "$@"'
    )
    said, _ = ask(["sh", "-c", lines, "sh", *relay("child")], strict=True)

    assert (said["evidence"], said["vouched"]) == (evidence, True)
    assert said["remote"].startswith(remote)


# -- shapes that are not ----------------------------------------------------------------------------------------------


def test_a_page_that_is_fetched_has_no_caller() -> None:
    """``curl … | program``: the input's relay has dialled, and the output leads elsewhere."""
    with listening() as (listener, port):
        said, _ = ask(relay("parent", f"only={port}", "one-way"), claim=False, stdout=False)
        listener.accept()[0].close()

    assert said["error"] == "NotUnderSuperServerError"


def test_a_mail_program_that_a_fetcher_feeds_has_no_caller() -> None:
    """fetchmail: both directions lead to the relay, but it has dialled."""
    with listening() as (listener, port):
        said, _ = ask(relay("parent", f"only={port}"), claim=False)
        listener.accept()[0].close()

    assert said["error"] == "NotUnderSuperServerError"


def test_a_fetcher_below_a_super_server_does_not_become_the_caller() -> None:
    """tcpserver sh -c 'curl … | program'."""
    with listening() as (listener, port):
        said, caller = ask(relay("parent", f"only={port}"))
        listener.accept()[0].close()

    assert (said["remote"], said["evidence"], said["vouched"]) == (caller, "unconfirmed", False)


@pytest.mark.parametrize("claim", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_relay_with_two_connections_is_not_a_witness(shape: str, claim: bool) -> None:
    with listening() as (listener, port):
        said, caller = ask(relay(shape, f"dial={port}"), claim=claim)
        listener.accept()[0].close()

    if claim:
        assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
        assert "has several network connections" in said["problems"]["relay-unproved"]
        assert "a process for each connection" in said["problems"]["relay-unproved"]
    else:
        assert said["error"] == "NotUnderSuperServerError"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [[], ["pair"]], ids=["pipes", "pair"])
def test_a_third_process_that_holds_the_pipe_is_seen(shape: str, end: list[str]) -> None:
    said, caller = ask(relay(shape, "witness", *end))

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "has no network connection" in said["problems"]["relay-unproved"]


def test_an_input_from_a_file_is_not_a_connection() -> None:
    said, caller = ask(["sh", "-c", 'printf x | "$@"', "sh"])
    assert said["evidence"] in ("confirmed", "relay")  # the output is the connection
    said, caller = ask(["sh", "-c", 'printf x | "$@"', "sh"], stdout=False)

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")


def test_a_server_that_holds_the_listener_may_have_other_callers(tmp_path: Path) -> None:
    """Whose connection is the only one left need not be this program's: its own caller may have hung up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = [*relay("parent"), sys.executable, "-I", "-c", ASK]
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                program = Program(
                    argv, env={"PATH": os.environ["PATH"]}, stdin=server.fileno(), stdout=server.fileno(),
                    pass_fds=[listener.fileno()],
                )  # fmt: skip
            with program:
                said = json.loads(program.wait_for_line(MARK).partition(MARK)[2])
            assert client.getsockname()

    assert said["error"] == "NotUnderSuperServerError"


def test_strict_says_why_and_what_to_do() -> None:
    said, caller = ask(relay("child", "witness"), strict=True)

    assert said["error"] == "UnconfirmedPeerError"
    assert said["message"].startswith(f"the peer {caller} is unconfirmed: process ")
    assert "have the relay alone hold that end" in said["message"]


OTHER_USER = 65534


def asked_by_another_user() -> list[str]:
    """The asking program for a user who may not read what the superuser's interpreter lies in."""
    place = Path(ucspi_env.__file__).parents[1]
    program = ["/usr/bin/python3", "-I", "-c", f"import sys; sys.path.insert(0, {str(place)!r})\n{ASK}"]
    drop = {"user": OTHER_USER, "group": OTHER_USER, "extra_groups": []} if os.geteuid() == 0 else {}
    done = subprocess.run([*program[:3], program[3].partition("try:")[0]], check=False, capture_output=True, **drop)  # type: ignore[call-overload]
    if done.returncode:
        pytest.skip(f"another user cannot run this package: {done.stderr.decode(errors='replace')[-200:]}")
    return program


# -- what cannot be looked at -----------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.parametrize("shape", ["child", "parent"])
def test_a_relay_of_another_user_is_named_with_the_remedy(shape: str) -> None:
    said, caller = ask(relay(shape, f"user={OTHER_USER}"), program=asked_by_another_user())

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    line = said["problems"]["relay-unproved"]
    assert f"runs as user 0: user {OTHER_USER} cannot look at its descriptors" in line
    assert "setuidgid USER python" in line


DROP = f"import os, sys; os.geteuid() or os.setuid({OTHER_USER}); os.execv(sys.argv[1], sys.argv[1:])"


def as_another_user(command: list[str]) -> list[str]:
    """A relay that runs as the program does: not as the superuser, who may look at everything."""
    return ["/usr/bin/python3", "-I", "-c", DROP, "/usr/bin/python3", *command[1:]]


def test_a_relay_behind_setuidgid_is_a_witness(tmp_path: Path) -> None:
    copy = readable_copy(tmp_path)
    said, caller = ask(as_another_user([*copy, "child", "--"]), program=asked_by_another_user(), strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


@pytest.mark.parametrize("shape", ["child", "parent"])
def test_a_protected_relay_is_not_a_witness(tmp_path: Path, shape: str) -> None:
    """As a program that has changed its user: its folder in /proc is root's."""
    copy = readable_copy(tmp_path)
    said, caller = ask(as_another_user([*copy, shape, "protected", "--"]), program=asked_by_another_user())

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "has changed its user, or is protected" in said["problems"]["relay-unproved"]


def readable_copy(folder: Path) -> list[str]:
    """The stand-in where every user can read it."""
    for parent in (folder, *folder.parents):
        if not os.stat(parent).st_mode & 0o001:
            if not os.access(parent, os.W_OK) or parent.stat().st_uid != os.geteuid():
                pytest.skip(f"{parent} is closed to other users")
            parent.chmod(parent.stat().st_mode | 0o055)
    copy = folder / "relay.py"
    copy.write_bytes(Path(RELAY[2]).read_bytes())
    copy.chmod(0o644)
    return [RELAY[0], "-I", str(copy)]


@pytest.mark.parametrize("shape", ["child", "parent"])
def test_a_thousand_descriptors_are_looked_through(shape: str) -> None:
    said, caller = ask(relay(shape, "hoard=900"), strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


def test_more_descriptors_than_are_looked_at_prove_nothing() -> None:
    limit = ["sh", "-c", 'ulimit -n 5000 2>/dev/null || exit 77; "$@"', "sh"]
    if subprocess.run([*limit, "true"], check=False).returncode:
        pytest.skip("the limit for descriptors is below 5000")
    said, caller = ask([*limit, *relay("child", "hoard=4500")])

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "relay-unproved" in said["problems"]


def test_a_crowd_of_siblings_does_not_hide_a_child() -> None:
    """tcpserver with a hundred programs, each behind a recordio of its own."""
    said, caller = ask([*relay("parent", "crowd=100"), *tool("recordio")], claim=True)
    assert said["remote"] == caller
    assert said["evidence"] in ("relay", "unconfirmed")
    own = ["sh", "-c", 'for i in $(seq 100); do sleep 60 >/dev/null <&1 2>&1 & done; "$@"; kill $(jobs -p)', "sh"]
    said, caller = ask([*own, *tool("recordio")], strict=True)
    assert (said["remote"], said["evidence"]) == (caller, "relay")


@pytest.mark.peer("strace")
@pytest.mark.parametrize("shape", SHAPES)
def test_without_netlink_the_tables_in_proc_serve(peer: Callable[[str], str], shape: str) -> None:
    """A sandbox may forbid netlink (RestrictAddressFamilies= of systemd)."""
    inject = ["-qq", "-o", os.devnull, "-e", "trace=socket", "-e", "inject=socket:error=EAFNOSUPPORT"]
    for claim in (True, False):
        said, caller = ask([*relay(shape), peer("strace"), *inject], claim=claim, strict=True)
        assert (said["remote"], said["evidence"]) == (caller, "relay")


@pytest.mark.unshare("--map-root-user", "--mount")
def test_without_proc_nothing_is_proved() -> None:
    hide = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    said, caller = ask([*relay("child"), *hide])

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")


@pytest.mark.root
@pytest.mark.netns
@pytest.mark.parametrize("claim", [True, False])
def test_a_relay_in_another_network_namespace(claim: bool) -> None:
    """A program that has no network of its own, behind a relay that has."""
    said, caller = ask([*relay("child"), "unshare", "-n"], claim=claim, strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


@pytest.mark.unshare("--map-root-user", "--net")
def test_a_relay_outside_of_the_programs_user_namespace_is_not_a_witness() -> None:
    """Nothing in there may look at what is outside."""
    said, caller = ask([*relay("child"), "unshare", "-rn"])

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "relay-unproved" in said["problems"]


@pytest.mark.unshare("--map-root-user", "--pid", "--fork", "--mount-proc")
def test_a_relay_in_another_process_namespace_is_not_found() -> None:
    enter = ["unshare", "-rpf", "--mount-proc"]
    said, caller = ask([*relay("parent"), *enter])

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "relay-unproved" in said["problems"]


OTHER_TERMINALS = 'mount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts && exec "$@"'


@pytest.mark.root
@pytest.mark.unshare("--mount")
@pytest.mark.needs("/dev/pts/ptmx")
@pytest.mark.parametrize("inside", ["program", "relay and program"])
def test_a_terminal_is_known_by_its_file_system_too(inside: str) -> None:
    """Each instance of devpts counts its terminals from 0, so the number alone could be another terminal's."""
    enter = ["unshare", "-m", "sh", "-c", OTHER_TERMINALS, "sh"]
    shape = relay("child", "pty")
    said, caller = ask([*shape, *enter] if inside == "program" else [*enter, *shape])

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed" if inside == "program" else "relay")
    assert ("relay-unproved" in said["problems"]) == (inside == "program")


def test_a_process_that_has_ended_is_not_taken_for_its_successor() -> None:
    """A process is looked at through one descriptor of its folder, which stays with it."""
    from ucspi_env._relay import _Process

    with subprocess.Popen(["sleep", "60"]) as other, _Process.open(other.pid) as process:
        process.read_links(100)
        assert process.links
        other.kill()
        other.wait()
        assert process.text("stat") == b""
        assert (process.parent, process.children, process.namespace, process.acts_as) == (0, [], "", None)
        with pytest.raises(OSError, match=r"."):
            process.read_links(100)


@pytest.mark.root
@pytest.mark.unshare("--pid", "--fork")
def test_a_process_namespace_without_a_proc_of_its_own_is_no_hindrance() -> None:
    """The numbers in its /proc are those of the namespace around it."""
    said, caller = ask([*tool("recordio"), "unshare", "--pid", "--fork"], strict=True)

    assert (said["remote"], said["evidence"]) == (caller, "relay")


# -- the decision alone -----------------------------------------------------------------------------------------------

PEER, HERE = Endpoint("192.0.2.1", 4711), Endpoint("198.51.100.1", 25)
TCP = {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "4711"}


def facts(*peers: Endpoint, **more: Any) -> Facts:
    sockets = [Descriptor("socket", family="inet", type="stream", sockname=HERE, peername=peer) for peer in peers]
    return Facts({0: Descriptor("pipe")}, pid=17, relay=Relay(16, "s6-tlsd-io", sockets, user=0, asker=1000, **more))


def test_the_port_is_a_part_of_the_claim() -> None:
    assert identify(TCP, facts(PEER)).vouched
    other = identify(TCP, facts(Endpoint(PEER.ip, 4712)))
    assert (other.remote, other.evidence) == (PEER, "unconfirmed")


@pytest.mark.parametrize(("both", "accepted"), [(False, False), (True, False), (False, True)])
def test_without_a_claim_both_ways_must_lead_to_a_relay_that_has_accepted(both: bool, accepted: bool) -> None:
    with pytest.raises(NotUnderSuperServerError):
        identify({}, facts(PEER, both=both, accepted=accepted))
    assert identify({}, facts(PEER, both=True, accepted=True)).remote == PEER


def test_tls_is_the_relays_word_or_needs_one() -> None:
    environ = TCP | {"SSL_PROTOCOL": "TLSv1.3"}
    said = identify(environ, facts(PEER))
    assert (said.tls, said.problems) == (True, ())
    unsaid = identify(environ, Facts({0: Descriptor("pipe")}))
    assert (unsaid.tls, [problem.code for problem in unsaid.problems]) == (True, ["tls-unconfirmed"])


@pytest.mark.parametrize(
    "obstacle",
    ["not-found", "unreadable", "protected", "no-socket", "several-peers", "disagreement", "too-many", "no-kernel"],
)
def test_every_obstacle_has_a_line_with_a_remedy(obstacle: str) -> None:
    found = identify(TCP, facts(obstacle=obstacle))
    assert (found.remote, found.evidence, found.relay) == (PEER, "unconfirmed", None)
    (problem,) = found.problems
    assert (problem.code, problem.severity) == ("relay-unproved", "notice")
    assert problem.message
    assert problem.hint


def test_more_children_than_are_looked_at_prove_nothing() -> None:
    said, caller = ask(relay("child", "crowd=70"))

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "relay-unproved" in said["problems"]


def test_a_circle_of_pipes_leads_nowhere() -> None:
    """Two processes that feed one another, and one of them the program."""
    script = (
        "import os, sys, signal, ctypes\n"
        "(r1, w1), (r2, w2), (r3, w3) = os.pipe(), os.pipe(), os.pipe()\n"
        "for reads, holds in ((r1, (w2, w3)), (r2, (w1,))):\n"
        "    if os.fork() == 0:\n"
        "        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)\n"
        "        os.dup2(reads, 0)\n"
        "        for at, fd in enumerate(holds, 60): os.dup2(fd, at)\n"
        "        os.closerange(1, 60)\n"
        "        signal.pause()\n"
        "os.dup2(r3, 0)\n"
        "os.closerange(3, 60)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    said, caller = ask([sys.executable, "-I", "-c", script], stdout=False)

    assert (said["remote"], said["evidence"]) == (caller, "unconfirmed")
    assert "has no network connection" in said["problems"]["relay-unproved"]


LOG = Descriptor(
    "socket", family="inet", type="stream", sockname=Endpoint("127.0.0.1", 40000), peername=Endpoint("127.0.0.1", 514)
)


def beside_output(more: Facts) -> Facts:
    """The same, with the output redirected to a log server."""
    return Facts({0: Descriptor("pipe"), 1: LOG}, pid=17, relay=more.relay)


def test_an_output_that_leads_to_a_log_server_is_not_the_caller() -> None:
    """A run script with ``>/dev/tcp/loghost/514``."""
    found = identify(TCP, beside_output(facts(PEER)))
    assert (found.remote, found.evidence) == (PEER, "relay")
    unproved = identify(TCP, beside_output(facts(obstacle="unreadable")))
    assert (unproved.remote, unproved.vouched) == (PEER, False)
    agreed = identify({"TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": "514"}, beside_output(facts(obstacle="no-socket")))
    assert (agreed.remote, agreed.evidence) == (LOG.peername, "confirmed")


def test_a_leaked_socket_does_not_speak_against_the_relay() -> None:
    stale = {"TCPREMOTEIP": "127.0.0.1", "TCPREMOTEPORT": "514"}
    relayed = facts(PEER)
    leaked = Facts({0: Descriptor("pipe"), 9: LOG}, pid=17, relay=relayed.relay)
    found = identify(stale, leaked)
    assert (found.evidence, found.vouched) == ("unconfirmed", False)
    assert identify(stale, Facts({0: Descriptor("pipe"), 9: LOG}, pid=17)).evidence == "confirmed"


def test_where_the_relay_may_have_other_callers_a_claim_without_a_port_gets_none() -> None:
    claim = {"REMOTE_HOST": "192.0.2.1"}
    assert identify(claim, facts(PEER)).remote == PEER
    shared = identify(claim, facts(PEER, own=False))
    assert (shared.remote, shared.evidence) == (Endpoint("192.0.2.1"), "relay")


def test_a_relays_name_stays_in_its_place() -> None:
    named = Relay(16, "x\nserver: ok 10 \udcff", user=0, asker=1000, obstacle="unreadable")
    (problem,) = identify(TCP, Facts({0: Descriptor("pipe")}, pid=17, relay=named)).problems

    assert str(problem).isprintable()
    assert str(problem).isascii()


@pytest.mark.parametrize(
    ("listener", "called", "both_families", "takes"),
    [
        (Endpoint("0.0.0.0", 25), HERE, False, True),
        (Endpoint("0.0.0.0", 25), Endpoint("2001:db8::1", 25), False, False),
        (Endpoint("::", 25), Endpoint("2001:db8::1", 25), False, True),
        (Endpoint("::", 25), HERE, True, True),
        (Endpoint("::", 25), HERE, False, False),
        (Endpoint("0.0.0.0", 26), HERE, True, False),
        (HERE, HERE, False, True),
        (Endpoint("198.51.100.2", 25), HERE, False, False),
    ],
)
def test_a_listener_takes_the_calls_of_its_own_family(
    listener: Endpoint, called: Endpoint, both_families: bool, takes: bool
) -> None:
    family = "inet" if listener.ip.version == 4 else "inet6"
    socket = Descriptor("socket", family=family, type="stream", sockname=listener, listening=True)

    assert is_called_by(socket, called, both_families=both_families) is takes


def test_an_environment_that_is_passed_is_not_that_of_the_process() -> None:
    """Values that come twice in the process's own count only where they are what is judged."""
    twice = {"TCPREMOTEIP": ("10.2.2.2", "10.3.3.3")}
    found = identify(
        TCP | {"TCPREMOTEIP": "198.51.100.7"}, Facts({0: Descriptor("pipe")}, duplicates=twice), trust="proxy"
    )

    assert found.remote == Endpoint("198.51.100.7", 4711)


@pytest.mark.parametrize("own", [True, False])
def test_a_worker_that_was_handed_several_connections_is_not_a_witness(own: bool) -> None:
    """Its listener is another process's, and whose connection is the only one left need not be this program's."""
    worker = (
        "import os, sys, socket\n"
        "(r, w), (r2, w2) = os.pipe(), os.pipe()\n"
        "if os.fork() == 0:\n"
        "    os.dup2(r, 0); os.dup2(w2, 1); os.closerange(3, 100)\n"
        "    os.execv(sys.argv[1], sys.argv[1:])\n"
        "os.close(r); os.close(w2)\n"
        + ("" if own else "keep = os.dup(0); os.close(0); os.close(1)\n")
        + "os.read(r2, 1)\n"
    )
    said, caller = ask([sys.executable, "-I", "-c", worker], claim=False)

    assert said.get("remote", said.get("error")) == (caller if own else "NotUnderSuperServerError")
