"""``ucspi-envcheck try`` tells what is wrong with a server, and nothing that is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # has no stubs
import pytest

from tests.envcheck.running import CLEAN, ENVCHECK, PYTHON, SERVERS, envcheck, said

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.netns
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "envcheck-try.schema.json").read_text())


def tried(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON of a trial."""
    done = envcheck("try", "--json", *arguments)
    data = json.loads(said(done))
    jsonschema.validate(data, SCHEMA)
    return done.returncode, data


def classes(data: dict[str, Any]) -> dict[str, set[str]]:
    """The findings: code → kinds of callers."""
    found: dict[str, set[str]] = {}
    for finding in data["findings"]:
        found.setdefault(finding["code"], set()).add(finding["kind"])
    return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Callable[[str], str]:
    """Compile a server that is written in C."""
    folder = tmp_path_factory.mktemp("servers")

    def build(name: str) -> str:
        program = folder / name
        if not program.exists():
            subprocess.run([peer("gcc"), "-O1", "-o", program, SERVERS / f"{name}.c"], check=True)
        return str(program)

    return build


UUID = "$(cat /proc/sys/kernel/random/uuid)"


def test_what_no_two_answers_share_is_held_against_nobody() -> None:
    """Neither against IPv6 callers nor against super-servers whose variables the server does not know."""
    status, data = tried("--", "sh", "-c", f'echo "220 {UUID} ready"; echo "you are ${{TCPREMOTEIP:-unknown}}"')

    assert (status, data["ready"], classes(data)) == (0, True, {})
    assert [note["kind"] for note in data["notes"]] == ["other"]


def test_a_refusal_behind_words_of_any_number() -> None:
    fortune = 'seq $(($(od -An -N1 -tu1 /dev/urandom) % 5 + 1)) | sed "s/.*/wise words/"'
    verdict = 'case $TCPREMOTEIP in *:*) echo "you are rejected";; *) echo welcome;; esac'
    status, data = tried("--", "sh", "-c", f"{fortune}; {verdict}")

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"rejects": {"IPv6", "mapped", "link-local"}}
    assert data["findings"][0]["detail"] == "'you are rejected'"


def test_rejects(tmp_path: Path) -> None:
    status, data = tried("--", "sh", str(SERVERS / "rejects.sh"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"rejects": {"IPv6", "mapped", "link-local"}}
    assert "421 could not parse" in data["findings"][0]["detail"]


def test_crashes() -> None:
    status, data = tried("--", *PYTHON, "-S", str(SERVERS / "crashes.py"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"crashes": {"IPv6", "mapped", "link-local"}}
    assert "ValueError" in data["findings"][0]["detail"]
    # Without TCPREMOTEIP it crashes over IPv4 as well: worth a note, but no matter of IPv6.
    assert ("crashes", "other") in {(note["code"], note["kind"]) for note in data["notes"]}


@pytest.mark.peer("gcc")
def test_damages_memory(compiled: Callable[[str], str]) -> None:
    status, data = tried("--", compiled("overruns"))

    assert (status, data["ready"]) == (1, False)
    # Dotted mapped text has a last dot; s6's hexadecimal one has none.
    assert classes(data) == {"crashes": {"IPv6", "mapped", "link-local"}}
    assert "SIGSEGV" in data["findings"][0]["detail"]
    assert next(f for f in data["findings"] if f["kind"] == "mapped")["callers"] == ["s6-networking, mapped"]


@pytest.mark.peer("perl")
def test_hangs() -> None:
    # Shorter than a real one, and long for a server that answers in milliseconds: what is late once is asked again.
    status, data = tried("--timeout", "3", "--only", "link-local", "--", "perl", str(SERVERS / "hangs.pl"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"hangs": {"link-local"}}
    hung = {caller["name"]: caller for caller in data["callers"] if caller["outcome"] == "hung"}
    assert set(hung) == {"ucspi-tools, fe80::", "inetutils-inetd, fe80::"}
    assert all(caller["status"] is None for caller in hung.values())


def test_treats_mapped_callers_otherwise() -> None:
    status, data = tried("--", *PYTHON, str(SERVERS / "mapped.py"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"differs": {"mapped"}}
    assert "250 not for strangers" in data["findings"][0]["detail"]
    assert "250 relaying" in data["findings"][0]["detail"]


@pytest.mark.peer("gcc")
def test_writes_wrong_log_text(compiled: Callable[[str], str]) -> None:
    status, data = tried("--", compiled("logs"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"wrong-log": {"IPv6", "mapped"}}
    assert all(caller["outcome"] == "alike" for caller in data["callers"])


def test_lets_its_list_be_bypassed() -> None:
    status, data = tried("--", "sh", str(SERVERS / "bypass.sh"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"bypass": {"IPv6", "mapped", "link-local"}}
    # Localhost is welcome over both: no hole.
    outcomes = {caller["name"]: caller["outcome"] for caller in data["callers"]}
    assert outcomes["ucspi-tcp-ipv6, ::1"] == "alike"


@pytest.mark.peer("gcc")
def test_takes_ipv6_callers_for_somebody_else(compiled: Callable[[str], str]) -> None:
    status, data = tried("--", compiled("sentinel"))

    assert (status, data["ready"]) == (1, False)
    assert classes(data) == {"invents": {"IPv6", "mapped", "link-local"}}
    assert "0.0.0.0" in data["findings"][0]["detail"]


@pytest.mark.parametrize("server", [["sh", "healthy.sh"], [*PYTHON, "healthy.py"]], ids=["sh", "python"])
def test_a_healthy_server_that_names_callers_times_and_pids_is_ready(server: list[str]) -> None:
    status, data = tried("--", *server[:-1], str(SERVERS / server[-1]))

    assert (status, data["ready"]) == (0, True), data["findings"]


# -- options and trouble --


def test_a_dialogue_is_said_to_every_caller(tmp_path: Path) -> None:
    (tmp_path / "said").write_bytes(b"one\ntwo\n")

    status, data = tried("--input", str(tmp_path / "said"), "--", "cat")

    assert status == 0
    assert {caller["output"] for caller in data["callers"]} == {"one\ntwo\n"}


def test_only_what_is_asked_for_is_tried_beside_what_it_is_compared_with() -> None:
    status, data = tried("--only", "tcp6", "--", "echo", "hello")

    assert status == 0
    kinds = {caller["kind"] for caller in data["callers"]}
    assert {"IPv6", "mapped", "link-local"} <= kinds
    assert "hostile" not in kinds


def test_expect_says_what_matters() -> None:
    server = ["sh", "-c", 'echo "220 ready"; echo "250 your super-server says ${PROTO-nothing} $TCPREMOTEIP" | rev']

    assert tried("--only", "IPv6", "--", *server)[0] == 1
    assert tried("--only", "IPv6", "--expect", "^220 ", "--", *server)[0] == 0


def test_expect_that_no_ipv4_caller_sees_cannot_be_judged() -> None:
    status, data = tried("--expect", "^250 ", "--", "echo", "220 hello")

    assert (status, data["ready"]) == (3, None)
    assert "--expect" in data["reason"]


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (["true"], "says nothing"),
        (["sh", "-c", "kill -SEGV $$"], "SIGSEGV"),
        (["sh", "-c", "echo trouble >&2; exit 7"], "trouble"),
        (["sh", "-c", "echo 550 go away"], "turns plain IPv4 callers away"),
    ],
    ids=["silent", "crashing", "failing", "refusing"],
)
def test_what_does_not_work_over_ipv4_cannot_be_judged(server: list[str], reason: str) -> None:
    status, data = tried("--", *server)

    assert (status, data["ready"]) == (3, None)
    assert reason in data["reason"]


def test_what_hangs_over_ipv4_is_given_up_at_once() -> None:
    status, data = tried("--timeout", "0.2", "--", "sleep", "600")

    assert (status, data["ready"]) == (3, None)
    assert len(data["callers"]) == 2


def test_strangers_can_call_from_a_given_address() -> None:
    status, data = tried("--from4", "10.1.2.3", "--from6", "fd00::7", "--", "echo", "hello")

    assert status == 0
    strangers = {
        caller["remote"].rpartition(":")[0] for caller in data["callers"] if caller["kind"] in ("IPv4", "IPv6")
    }
    assert strangers == {"10.1.2.3", "127.0.0.1", "[fd00::7]", "[::1]"}


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("/no/such/server", "file does not exist"),
        ("/etc/passwd", "access denied"),
        ("no-such-server", "does not exist"),
    ],
)
def test_a_program_that_cannot_be_run_is_111_in_the_words_of_c(program: str, reason: str) -> None:
    done = envcheck("try", "--", program)

    assert done.returncode == 111
    assert said(done) == ""
    assert done.stderr.decode().startswith(f"ucspi-envcheck: fatal: unable to run {program}: ")
    assert reason in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--only", "ipx", "--", "true"],
        ["--expect", "(", "--", "true"],
        ["--from4", "::1", "--", "true"],
        [],
        ["--jobs", "0", "true"],
    ],
)
def test_wrong_use_is_2(arguments: list[str]) -> None:
    done = envcheck("try", *arguments)

    assert done.returncode == 2
    assert said(done) == ""


def test_children_that_a_server_leaves_behind_are_ended(tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    status, data = tried(
        "--only", "hostile", "--", "sh", "-c", f'sleep 600 >/dev/null & echo $! >>"{noted}"; echo "220 hello"'
    )

    assert status == 0, data["verdict"]
    for pid in noted.read_text().split():
        # The killed ones are init's to collect, which may take its time.
        while _state(int(pid)) not in ("", "Z"):
            os.sched_yield()


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_the_table_fits_eighty_columns_and_has_no_colour_in_a_pipe() -> None:
    done = envcheck("try", "-v", "--", "sh", str(SERVERS / "bypass.sh"))

    text = said(done)
    assert done.returncode == 1
    assert max(map(len, text.splitlines())) <= 80
    assert "\033" not in text
    assert "IPv6 ready: no, because it" in text


def test_words_of_the_table_do_not_touch() -> None:
    # The first column of a row is followed by columns of ten; in parentheses is what does not count.
    from ucspi_env.envcheck import _judge, _try

    outcomes = (_judge.ALIKE, _judge.DIFFERENT, _judge.REFUSED, _judge.ACCEPTED, _judge.CRASHED, _judge.HUNG)
    for outcome in (*outcomes, _judge.BROKEN):
        assert len(f"({_try._IN_TABLE.get(outcome, outcome)})") < 10


def test_an_interrupt_ends_it_quietly() -> None:
    started = ["sh", "-c", "echo started >&2; exec sleep 600"]
    with subprocess.Popen(
        [*ENVCHECK, "env", "ucspi-tcp", "--", *started],
        env=CLEAN,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"started\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.stderr.read()

    assert (process.returncode, rest.strip()) == (130, b"")


# -- programs of Debian --


@pytest.mark.peer("micro-httpd")
def test_micro_httpd(tmp_path: Path, peer: Callable[[str], str]) -> None:
    (tmp_path / "page.txt").write_text("hello\n")
    (tmp_path / "request").write_bytes(b"GET /page.txt HTTP/1.0\r\n\r\n")

    status, data = tried("--input", str(tmp_path / "request"), "--", peer("micro-httpd"), str(tmp_path))

    assert (status, data["ready"]) == (0, True), data["findings"]
    assert data["callers"][0]["output"].endswith("hello\n")


@pytest.mark.peer("smtpfront-echo")
def test_smtpfront_echo(tmp_path: Path, peer: Callable[[str], str]) -> None:
    dialogue = tmp_path / "dialogue"
    dialogue.write_bytes(b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nQUIT\r\n")

    status, data = tried("--input", str(dialogue), "--", peer("smtpfront-echo"))

    assert (status, data["ready"]) == (0, True), data["findings"]
    assert "221 2.0.0" in data["callers"][0]["output"]


@pytest.mark.peer("git")
def test_git_daemon(tmp_path: Path) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "init", "-q", tmp_path / "x.git"], check=True)
    subprocess.run(
        ["git", "-C", tmp_path / "x.git", *author, "commit", "-q", "--allow-empty", "-m", "first"], check=True
    )
    request = b"git-upload-pack /x.git\0host=localhost\0"
    (tmp_path / "request").write_bytes(b"%04x" % (len(request) + 4) + request + b"0000")
    server = ["git", "daemon", "--inetd", "--export-all", "--verbose", "--log-destination=stderr"]

    status, data = tried("--input", str(tmp_path / "request"), "--", *server, f"--base-path={tmp_path}", str(tmp_path))

    assert (status, data["ready"]) == (0, True), data["findings"]
    assert " HEAD\0" in data["callers"][0]["output"]


@pytest.mark.peer("rsync")
@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        ("192.0.2.0/24 2001:db8::/32 fe80::/10 127.0.0.1 ::1", {}),
        ("192.0.2.0/24 127.0.0.1", {"rejects": {"IPv6", "link-local"}}),
    ],
    ids=["both families", "IPv4 only"],
)
def test_rsync_is_as_ready_as_its_configuration(
    tmp_path: Path, peer: Callable[[str], str], allowed: str, found: dict[str, set[str]]
) -> None:
    config = tmp_path / "rsyncd.conf"
    config.write_text(
        "use chroot = no\nreverse lookup = no\nlog file = /dev/null\n"
        f"[files]\npath = {tmp_path}\nhosts allow = {allowed}\n"
    )
    (tmp_path / "dialogue").write_bytes(b"@RSYNCD: 30.0\nfiles\n")

    status, data = tried(
        "--input", str(tmp_path / "dialogue"), "--expect", "^@RSYNCD: OK", "--",
        peer("rsync"), "--daemon", f"--config={config}",
    )  # fmt: skip

    assert (status, classes(data)) == (1 if found else 0, found), data["verdict"]
