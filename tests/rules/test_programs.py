"""tcprules and tcprulescheck as programs: files, messages, exit codes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.rules import compiled
from tests.support import PATIENCE, tool

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("TCP")}


def run(
    name: str, *arguments: str, cwd: Path, rules: bytes = b"", **environ: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*tool(name), *arguments],
        input=rules,
        cwd=cwd,
        env={**ENVIRON, **environ},
        capture_output=True,
        check=False,
    )


def test_the_file_is_replaced_and_the_temporary_gone(tmp_path: Path) -> None:
    (tmp_path / "r.cdb").write_bytes(b"old")

    done = run("tcprules", "r.cdb", "r.tmp", cwd=tmp_path, rules=b"1.2.3.4:deny\n")

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "r.cdb").read_bytes() == compiled(b"1.2.3.4:deny\n")
    assert [path.name for path in tmp_path.iterdir()] == ["r.cdb"]


def test_the_file_s_mode_follows_the_umask(tmp_path: Path) -> None:
    subprocess.run(
        ["sh", "-c", 'umask 027; exec "$@" r.cdb r.tmp', "sh", *tool("tcprules")],
        input=b"",
        cwd=tmp_path,
        env=ENVIRON,
        check=True,
    )

    assert stat.S_IMODE((tmp_path / "r.cdb").stat().st_mode) == 0o640


def test_an_interrupt_is_the_end_of_a_signal_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "rules.cdb").write_bytes(b"old")
    command = [*tool("tcprules"), "rules.cdb", "rules.tmp"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as program:
        assert program.stdin
        assert program.stderr
        program.stdin.write(b"1.2.3.4:deny\n" * 200_000)  # more than any pipe holds, so it is being read
        program.stdin.flush()
        program.send_signal(signal.SIGINT)
        assert program.wait(PATIENCE) == -signal.SIGINT
        assert program.stderr.read() == b""
    assert (tmp_path / "rules.cdb").read_bytes() == b"old"


@pytest.mark.parametrize("line", [b"1.2.3.4:denyx", b"1.2.3.4:deny\0,x", b"\xff:denyx \t"])
def test_a_line_that_is_no_rule_replaces_nothing(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "r.cdb").write_bytes(b"old")

    done = run("tcprules", "r.cdb", "r.tmp", cwd=tmp_path, rules=b"\n\n" + line + b"\n1.2.3.4:deny\n")

    shown = line.partition(b"\0")[0].rstrip()
    assert done.returncode == 100
    assert done.stderr.splitlines() == [
        b"tcprules: fatal: unable to parse this line: " + shown,
        b'tcprules: line 3: a comma and NAME="value", or the end of the line, must follow deny',
    ]
    assert (tmp_path / "r.cdb").read_bytes() == b"old"
    assert (tmp_path / "r.tmp").stat().st_size == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("r.cdb", "no/r.tmp"), "unable to create no/r.tmp: file does not exist"),
        (("no/r.cdb", "r.tmp"), "unable to move r.tmp to no/r.cdb: file does not exist"),
        (("r.cdb", "/dev/full"), "unable to write to /dev/full: out of disk space"),
        (("r.cdb", "."), "unable to create .: is a directory"),
    ],
)
def test_trouble_with_files_is_told_in_c_s_words(tmp_path: Path, arguments: tuple[str, str], message: str) -> None:
    (tmp_path / "r.cdb").write_bytes(b"old")

    done = run("tcprules", *arguments, cwd=tmp_path, rules=b":deny\n")

    assert (done.returncode, done.stderr.decode()) == (111, f"tcprules: fatal: {message}\n")
    assert (tmp_path / "r.cdb").read_bytes() == b"old"


def test_no_input_at_all_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" r.cdb r.tmp <&-', "sh", *tool("tcprules")],
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        check=False,
    )

    assert done.returncode == 111
    assert done.stderr == b"tcprules: fatal: unable to read input: file descriptor not open\n"


@pytest.mark.parametrize(
    ("name", "usage"), [("tcprules", "tcprules rules.cdb rules.tmp"), ("tcprulescheck", "tcprulescheck rules.cdb")]
)
def test_missing_operands_are_answered_with_the_usage(tmp_path: Path, name: str, usage: str) -> None:
    done = run(name, cwd=tmp_path)

    assert (done.returncode, done.stderr.decode()) == (100, f"{name}: usage: {usage}\n")


def test_warnings_name_what_c_would_not_see_and_are_not_endless(tmp_path: Path) -> None:
    rules = b"".join(b"10.%d.0.0/17:deny\n" % number for number in range(30))

    done = run("tcprules", "r.cdb", "r.tmp", cwd=tmp_path, rules=rules)

    lines = done.stderr.decode().splitlines()
    assert done.returncode == 0
    assert lines[0] == 'tcprules: warning: line 1: a C tcpserver does not see "10.0.0.0/17"'
    assert lines[-1] == "tcprules: warning: and 10 more of this kind"
    assert len(lines) == 21


RELAYED = "rule 192.0.2.:\nset environment variable A=1\nset environment variable B=\nallow connection\n"


@pytest.mark.parametrize(
    ("environ", "report"),
    [
        ({"TCPREMOTEIP": "192.0.2.1"}, RELAYED),
        ({"TCPREMOTEIP": "::ffff:192.0.2.1"}, RELAYED),
        ({"TCPREMOTEIP": "10.65.0.1"}, "rule 10.64.0.0/10:\ndeny connection\n"),
        ({"TCPREMOTEIP": "FE80:0::1%eth0"}, "rule fe80::/10:\ndeny connection\n"),
        ({"TCPREMOTEIP": "9.9.9.9", "TCPREMOTEHOST": "a.example"}, "rule =.example:\ndeny connection\n"),
        ({"TCPREMOTEIP": "9.9.9.9", "TCPREMOTEINFO": "joe"}, "rule joe@9.9.9.9:\ndeny connection\n"),
        ({"TCPREMOTEIP": "9.9.9.9"}, "default:\nallow connection\n"),
        ({"TCPREMOTEIP": "no address."}, "rule no address.:\ndeny connection\n"),
        ({"TCPREMOTEIP": ""}, "default:\nallow connection\n"),
        ({}, "rule 0.0.0.0:\ndeny connection\n"),
    ],
)  # fmt: skip
def test_tcprulescheck_says_what_a_server_would_do(tmp_path: Path, environ: dict[str, str], report: str) -> None:
    (tmp_path / "r.cdb").write_bytes(
        compiled(
            b'192.0.2.:allow,A="1",B=""\n10.64.0.0/10:deny\nfe80::/10:deny\n=.example:deny\njoe@9.9.9.9:deny\n0.0.0.0:deny\n'
            b"no address.:deny\n"
        )
    )

    done = run("tcprulescheck", "r.cdb", cwd=tmp_path, rules=b"", **environ)

    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, report, b"")


def test_tcprulescheck_reads_directories_and_names_what_is_wrong_with_them(tmp_path: Path) -> None:
    rule = tmp_path / "d/ip4/192.0.2.1_32"
    rule.mkdir(parents=True)
    (rule / "allow").touch()
    done = run("tcprulescheck", "d", cwd=tmp_path, TCPREMOTEIP="192.0.2.1")
    assert done.stdout == b"rule ip4/192.0.2.1_32:\nallow connection\n"

    (rule / "exec").write_text("true")
    done = run("tcprulescheck", "d", cwd=tmp_path, TCPREMOTEIP="192.0.2.1")
    assert done.returncode == 111
    assert done.stderr.decode().splitlines() == [
        "tcprulescheck: fatal: unable to read d: protocol error",
        "tcprulescheck: 'ip4/192.0.2.1_32' has an exec file, and tcpserver runs no other program for a rule",
    ]


def test_a_file_goes_to_a_directory_and_back(tmp_path: Path) -> None:
    rules = b'10.0.0.1:allow\n10.:allow,A="1"\n=.example:allow\n2001:db8::deny\n:deny\n'

    there = run("tcprules", "--to-dir", "d", cwd=tmp_path, rules=rules)
    back = run("tcprules", "--from-dir", "d", cwd=tmp_path)

    assert (there.returncode, back.returncode) == (0, 0)
    assert (
        there.stderr.decode()
        == "tcprules: warning: s6's programs do not see 'tcpserver/=.example', 'tcpserver/default'\n"
    )
    assert sorted(back.stdout.splitlines()) == sorted(rules.splitlines())


def test_a_conversion_that_would_change_decisions_is_refused(tmp_path: Path) -> None:
    done = run("tcprules", "--to-dir", "d", cwd=tmp_path, rules=b'1.:allow,.A="x"\na/b@1.2.3.4:deny\n')

    assert done.returncode == 100
    assert done.stderr.decode().splitlines() == [
        "tcprules: fatal: unable to convert these rules without changing what they say",
        "tcprules: line 1: '1.': no file in an env directory can set the variable '.A'",
        "tcprules: line 2: 'a/b@1.2.3.4': no file can have this name",
    ]
    assert list(tmp_path.iterdir()) == []


def test_conversions_tell_what_they_cannot_read_or_write(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()

    there = run("tcprules", "--to-dir", "d", cwd=tmp_path, rules=b":deny\n")
    back = run("tcprules", "--from-dir", "d", cwd=tmp_path)
    bad = run("tcprules", "--to-dir", "e", cwd=tmp_path, rules=b"x\n")

    assert (there.returncode, back.returncode, bad.returncode) == (111, 111, 100)
    assert there.stderr.splitlines()[0] == b"tcprules: fatal: unable to create d: file already exists"
    assert back.stderr == b"tcprules: fatal: unable to read d: is a directory\n"
    assert bad.stderr.splitlines()[0] == b"tcprules: fatal: unable to parse this line: x"


def test_looking_up_starts_without_heavy_modules() -> None:
    code = "import sys, ucspi_env.tools.tcprulescheck, ucspi_env.tools.tcprules; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], env=ENVIRON, capture_output=True, text=True, check=True)

    heavy = {
        "typing",
        "dataclasses",
        "enum",
        "logging",
        "argparse",
        "subprocess",
        "asyncio",
        "shutil",
        "tempfile",
        "socket",
    }
    assert not heavy & set(done.stdout.split())
