"""The report: ``ucspi-envcheck`` alone, ``run``, ``dialects``, and how every command ends."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]  # has no stubs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envcheck.running import CLEAN, ENVCHECK, envcheck, said
from tests.support import PATIENCE, call, reset_at_close
from ucspi_env import Facts, dialects
from ucspi_env._dialects import PEER_VARIABLES
from ucspi_env.envcheck._report import make_report, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Server

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "envcheck-report.schema.json").read_text())
PEER6 = {"PROTO": "TCP6", "TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "4711"}
PEER4 = {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "4711"}


def report(environ: dict[str, str]) -> dict[str, Any]:
    return make_report(environ, Facts())


# -- what it says --


def test_under_no_super_server_it_says_how_to_try_and_exits_3() -> None:
    done = envcheck()

    assert (done.returncode, said(done)) == (3, "")
    assert "no super-server speaks" in done.stderr.decode()
    assert "try it so: ucspi-envcheck env ucspi-tcp-ipv6 -- ucspi-envcheck" in done.stderr.decode()


def test_under_no_super_server_json_is_json() -> None:
    done = envcheck("--json")

    data = json.loads(said(done))
    assert (done.returncode, data["verdict"], data["connection"]) == (3, "nothing", None)
    assert data["error"]["type"] == "NotUnderSuperServerError"


def test_a_clean_connection_is_0_and_problems_are_1() -> None:
    assert envcheck(env=PEER6).returncode == 0
    assert envcheck(env=PEER6 | {"TCPREMOTEHOST": "192.0.2.9"}).returncode == 1
    assert envcheck(env=PEER6 | {"TCPREMOTEIP": "nonsense"}).returncode == 1


def test_it_shows_the_address_as_given_and_as_it_is() -> None:
    text = render(report(PEER4 | {"TCPREMOTEIP": "::FFFF:192.0.2.1"}))

    assert "caller    192.0.2.1:4711\n" in text
    assert "written   TCPREMOTEIP=::FFFF:192.0.2.1\n" in text


def test_every_problem_comes_with_its_remedy() -> None:
    data = report(PEER6 | {"TCPREMOTEHOST": "a\nb", "SSLREMOTEIP": "192.0.2.9"})
    text = render(data)

    assert {problem["code"] for problem in data["problems"]} == {"bad-host", "stale-variables"}
    for problem in data["problems"]:
        assert problem["code"] in text
        assert problem["hint"].split()[0] in text
    assert text.count("remedy") == 2


def test_it_tells_whose_word_each_variable_is() -> None:
    words = {
        variable["name"]: variable["word"]
        for variable in report(
            PEER6 | {"TCPREMOTEHOST": "a.example", "TCPREMOTEINFO": "joe", "REMOTE_ADDR": "192.0.2.9"}
        )["variables"]
    }

    assert words["TCPREMOTEIP"] == words["PROTO"] == "believed"
    assert words["TCPREMOTEHOST"] == words["TCPREMOTEINFO"] == "stranger"
    assert words["REMOTE_ADDR"] == "ignored"


@pytest.mark.parametrize(
    ("environ", "works", "says"),
    [
        (PEER4, True, "reads 192.0.2.1"),
        (PEER6, False, "cannot read it"),
        (PEER4 | {"TCPREMOTEIP": "::ffff:192.0.2.1"}, False, "takes it for a stranger"),
        (PEER4 | {"PROTO": "TCP6"}, False, "may refuse PROTO"),
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1"}, False, "finds no TCPREMOTEIP"),
    ],
)
def test_it_says_what_an_ipv4_only_server_makes_of_it(environ: dict[str, str], works: bool, says: str) -> None:
    view = report(environ)["ipv4_only"]

    assert view["works"] is works
    assert says in view["says"]


NAMES = st.sampled_from(
    [*sorted(PEER_VARIABLES), "SOCAT_PEERADDR", "X\x1b[1m_PEERADDR", "UCSPI_TRUST", "\udcff_PEERPORT"]
)
VALUES = st.one_of(
    st.text(st.characters(blacklist_characters="\0"), max_size=40),
    st.sampled_from(
        ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "fe80::1%eth0", "TCP6", "0", "\x1b]0;x\7", "a" * 9000]
    ),
)


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_whatever_variables_hold_the_report_is_eighty_printable_columns(environ: dict[str, str]) -> None:
    data = report(environ)
    lines = render(data).splitlines()

    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) <= 80
    json.dumps(data)


@pytest.mark.parametrize("form", ["text", "json"])
def test_undecodable_bytes_are_shown_escaped(form: str) -> None:
    """As the byte that it is; JSON stays such as every reader takes, which half a surrogate pair is not."""
    done = subprocess.run(
        [*ENVCHECK, *(["--json"] if form == "json" else [])],
        env={os.fsencode(k): os.fsencode(v) for k, v in (CLEAN | PEER6).items()}
        | {b"TCPREMOTEHOST": b"\xc3\xa9a\xff\x1b[31m"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.returncode == 1
    assert "\033" not in said(done)
    if form == "text":
        assert "  \\xe9a\\xff\\x1b[31m" in said(done)
        assert "TCPREMOTEHOST='\\xe9a\\xff\\x1b[31m'" in said(done)
    else:
        assert "\\udc" not in said(done)
        found = {variable["name"]: variable["value"] for variable in json.loads(said(done))["variables"]}
        assert found["TCPREMOTEHOST"] == "éa\\xff\x1b[31m"


def test_it_looks_at_another_descriptor_when_told() -> None:
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    with ours, theirs:
        done = subprocess.run(
            [*ENVCHECK, "--json", "--fd", str(number)],
            env=CLEAN,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            pass_fds=[number],
            timeout=PATIENCE,
        )

    kernel = json.loads(said(done))["kernel"]
    assert (kernel["fd"], kernel["family"]) == (number, "unix")


# -- as a server --


def test_under_tcpserver_it_answers_the_caller(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "::", "0", *ENVCHECK)
    json_server = tcpserver("-RHl0", "::", "0", *ENVCHECK, "--json")

    answer = call(server.port, "::1")
    text = answer.data.decode()
    assert f"caller    [::1]:{answer.port}\n" in text
    assert f"called    [::1]:{server.port}\n" in text
    assert "evidence  confirmed" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "\033" not in text
    answer = call(json_server.port, "127.0.0.1")
    assert json.loads(answer.data)["connection"]["remote"]["text"] == f"127.0.0.1:{answer.port}"


def test_a_caller_that_has_gone_is_no_trouble(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "::", "0", "sh", "-c", 'read x; exec "$@"', "sh", *ENVCHECK)

    # The reset arrives before the report can be written.
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        reset_at_close(caller)
    server.wait_for_line("tcpserver: end")

    assert not [line for line in server.stop() if not line.startswith("tcpserver: ")]


@pytest.mark.parametrize(
    "name", [row.name for row in dialects() if "tcp" in row.transports and row.name not in ("proxy", "ucspi-tcp-ipv6")]
)
def test_the_json_of_every_dialect_fits_the_schema(name: str) -> None:
    environ = json.loads(said(envcheck("env", name, "--json")))

    jsonschema.validate(report(environ), SCHEMA)


def test_the_schema_takes_reports_of_every_kind() -> None:
    for environ in (
        {},
        PEER4,
        PEER6 | {"TCPREMOTEHOST": "1"},
        {"PROTO": "TCP"},
        {"PROTO": "UNIX", "UNIXREMOTEEUID": "0"},
    ):
        jsonschema.validate(report(environ), SCHEMA)


# -- run --


def test_run_reports_to_stderr_and_becomes_the_program() -> None:
    with subprocess.Popen(
        [*ENVCHECK, "run", "--", "sh", "-c", "echo $$ $TCPREMOTEIP; exit 7"],
        env=CLEAN | PEER6,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, err = process.communicate(timeout=PATIENCE)

    assert out.decode() == f"{process.pid} 2001:db8::1\n"
    assert process.returncode == 7
    assert err.decode().startswith("caller    [2001:db8::1]:4711\n")


def test_run_can_report_in_json() -> None:
    done = envcheck("run", "--json", "--", "true", env=PEER6)

    assert json.loads(done.stderr)["connection"]["remote"]["text"] == "[2001:db8::1]:4711"
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("program", "reason"),
    [("no-such-program", "file does not exist"), ("/etc/passwd", "access denied"), ("/", "access denied")],
)
def test_what_run_cannot_run_is_111_in_the_words_of_c(program: str, reason: str) -> None:
    done = envcheck("run", "--", program, env=PEER6)

    assert done.returncode == 111
    assert done.stderr.decode().endswith(f"ucspi-envcheck: fatal: unable to run {program}: {reason}\n")


def test_run_goes_on_when_nobody_reads_its_report() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *ENVCHECK, "run", "--", "echo", "served"],
        env=CLEAN | PEER6,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=False,
        timeout=PATIENCE,
    )

    assert (done.returncode, done.stdout) == (0, b"served\n")


# -- dialects --


def test_dialects_marks_the_own_one() -> None:
    text = said(envcheck("dialects", env=PEER6))

    assert [line.split()[1] for line in text.splitlines() if line.startswith("*")] == ["ucspi-tcp6"]
    assert max(map(len, text.splitlines())) <= 80
    assert all(f" {row.name} " in text for row in dialects())


def test_dialects_as_json() -> None:
    rows = json.loads(said(envcheck("dialects", "--json", env=PEER6)))

    assert [row["name"] for row in rows] == [row.name for row in dialects()]
    assert [row["name"] for row in rows if row["own"]] == ["ucspi-tcp6"]


# -- every command --

COMMANDS = ["dialects", "env", "explain", "lint", "run", "shell", "shim", "try"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_of_every_command_is_complete_and_fits(command: str) -> None:
    done = envcheck(*filter(None, [command]), "--help")

    text = said(done)
    assert done.returncode == 0
    assert text.startswith("Usage: ucspi-envcheck")
    assert max(map(len, text.splitlines())) <= 80
    assert "Exit:" in text or command in ("dialects", "lint")
    if not command:
        assert all(f"  {name} " in text for name in COMMANDS)


def test_explain_shows_a_rules_page_by_code_and_by_name() -> None:
    page = said(envcheck("explain", "U101"))

    assert page.startswith("# U101")
    name = page.split()[2].strip("`")
    assert said(envcheck("explain", name)) == page


def test_explain_knows_when_there_is_no_such_rule() -> None:
    done = envcheck("explain", "U000")

    assert (done.returncode, said(done)) == (2, "")
    assert "there is no rule 'U000'; ucspi-envcheck explain lists them all" in done.stderr.decode()


def test_explain_without_a_code_lists_the_rules() -> None:
    lines = said(envcheck("explain")).splitlines()

    assert len(lines) > 30
    assert lines[0].split()[:2] == ["U101", "dot-split"]
    assert lines == sorted(lines)


def test_the_version_is_shown() -> None:
    done = envcheck("--version")

    assert done.returncode == 0
    assert said(done).startswith("ucspi-envcheck ")


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["run"], ["shim"], ["--trust", "me"], ["--fd", "-1"]]
)
def test_wrong_use_is_2(arguments: list[str]) -> None:
    done = envcheck(*arguments, env=PEER6)

    assert (done.returncode, said(done)) == (2, "")
    assert done.stderr


COMPLETE = [[], ["--json"], ["env", "ucspi-tcp"], ["dialects"], ["--help"], ["dialects", "--json"], ["--version"]]


@pytest.mark.parametrize("arguments", COMPLETE, ids=" ".join)
def test_a_broken_pipe_is_quiet(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [*ENVCHECK, *arguments],
            env=CLEAN | PEER6,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            check=False,
            timeout=PATIENCE,
        )

    assert done.stderr == b""


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("arguments", COMPLETE, ids=" ".join)
def test_output_that_cannot_be_written_is_one_line_and_111(arguments: list[str], redirection: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *ENVCHECK, *arguments],
        env=CLEAN | PEER6,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    # click, which writes the help, takes a closed stdout for one that nobody wants to read.
    if not (arguments == ["--help"] and redirection == ">&-"):
        assert done.returncode == 111
        assert done.stderr.startswith(b"ucspi-envcheck: fatal: unable to write output: ")
        assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["shell"], ["env", "ucspi-tcp"], ["run", "--", "true"], ["shim", "--", "true"]]
)
def test_no_descriptor_at_all_is_no_trouble(arguments: list[str]) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec 3>&2; "$@" <&- >&- 2>&-; echo $? >&3', "sh", *ENVCHECK, *arguments],
        env=CLEAN | PEER4,
        stderr=subprocess.PIPE,
        check=False,
        timeout=PATIENCE,
    )

    assert done.stderr.strip() in (b"0", b"111")


def on_terminal(*arguments: str, env: dict[str, str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*ENVCHECK, *arguments], env=CLEAN | env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError:  # how Linux says that the other side of a terminal is closed
            pass
        process.wait(PATIENCE)
    os.close(ours)
    return text.decode()


@pytest.mark.needs("/dev/pts/ptmx")
def test_colour_is_for_terminals_and_for_who_wants_it() -> None:
    assert "\033[32m" in on_terminal(env=PEER6 | {"TERM": "xterm"})
    assert "\033" not in on_terminal(env=PEER6 | {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\033" not in on_terminal(env=PEER6 | {"TERM": "dumb"})


@pytest.mark.netns
@pytest.mark.needs("/dev/pts/ptmx")
def test_progress_is_for_terminals() -> None:
    text = on_terminal("try", "--only", "link-local", "--", "echo", "hello", env={"TERM": "xterm", "NO_COLOR": "1"})

    assert " callers " in text
    assert "IPv6 ready: yes" in text


def test_shell_completion_knows_commands_and_dialects() -> None:
    def complete(words: str, count: int) -> list[str]:
        variables = {"_UCSPI_ENVCHECK_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
        return [line.partition(",")[2] for line in said(envcheck(env=variables)).splitlines()]

    assert complete("ucspi-envcheck d", 1) == ["dialects"]
    assert complete("ucspi-envcheck env busy", 2) == ["busybox-tcpsvd", "busybox-udpsvd"]
    assert "ucspi_envcheck" in said(envcheck(env={"_UCSPI_ENVCHECK_COMPLETE": "bash_source"}))


@pytest.mark.parametrize("command", ["run", "shim", "shell"])
def test_what_stands_on_the_path_of_connections_does_not_import_click(command: str) -> None:
    program = [] if command == "shell" else ["--", "true"]
    importtime = [ENVCHECK[0], "-X", "importtime", *ENVCHECK[1:]]

    done = subprocess.run(
        [*importtime, command, *program], env=CLEAN | PEER4, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )

    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in lines}
    assert "ucspi_env._identify" in modules
    assert not modules & {"click", "json", "subprocess", "asyncio", "logging", "dataclasses", "argparse"}
