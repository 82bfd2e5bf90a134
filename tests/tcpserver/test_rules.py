"""-x and -X: who is let in, with which variables, and what happens when the rules cannot be read."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHOW = ("sh", "-c", 'echo "in ${ONE-} ${TCPREMOTEIP}"')


def compile_rules(directory: Path, text: str) -> str:
    target = directory / "rules.cdb"
    command = [*tool("tcprules"), str(target), str(directory / "rules.tmp")]
    subprocess.run(command, input=text.encode(), check=True)
    return str(target)


def test_rules_allow_deny_and_set_variables(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    rules = compile_rules(tmp_path, '127.0.0.1:allow,ONE="1"\n127.0.0.2:deny\n::1:allow,TCPREMOTEIP="spoof"\n:deny\n')
    server = tcpserver("-vRHl0", "-x", rules, "0", "0", *SHOW)
    assert call(server.port).data == b"in 1 127.0.0.1\n"
    assert call(server.port, "::1").data == b"in  spoof\n"
    server.wait_for_line(" end ", count=2)
    denied = call(server.port, source="127.0.0.2")
    assert denied.data == b""
    # The log has the true address whatever a rule says; who is denied has no process, so no end follows.
    assert f":[::1]::{call(server.port, '::1').port}" in server.wait_for_line(" ok ", count=3)
    server.wait_for_line(" end ", count=3)
    at = server.lines.index("tcpserver: pid 0 from 127.0.0.2")
    assert server.lines[at - 1 : at + 3] == [
        "tcpserver: status: 1/40",
        "tcpserver: pid 0 from 127.0.0.2",
        f"tcpserver: deny 0 0:127.0.0.1:{server.port} :127.0.0.2::{denied.port}",
        "tcpserver: status: 0/40",
    ]


STRICT = (
    sys.executable, "-I", "-c",
    "import os, ucspi_env; c = ucspi_env.connection(strict=True);"
    "print(c.remote.ip, c.evidence, [p.code for p in c.problems if p.code != 'bad-host'],"
    "os.environ.get('UCSPI_RULE_PEER'))",
)  # fmt: skip


@pytest.mark.parametrize("how", [(), ("--dialect", "s6"), ("--keep-env",)])
def test_a_rule_that_replaces_the_address_leaves_a_mark(
    tcpserver: Callable[..., Server], tmp_path: Path, how: tuple[str, ...]
) -> None:
    """D14: so that access control can tell a rule's address from a stale one."""
    rules = compile_rules(
        tmp_path, '127.0.0.1:allow,TCPREMOTEIP="203.0.113.7"\n127.0.0.3:allow,TCPREMOTEIP="127.0.0.3"\n:allow,ONE="1"\n'
    )
    stale = {**os.environ, "UCSPI_RULE_PEER": "127.0.0.2:1"}
    server = tcpserver("-RHl0", *how, "-x", rules, "0", "0", *STRICT, env=stale)
    ruled = call(server.port)
    assert ruled.data.decode() == f"203.0.113.7 operator ['operator-rule'] 127.0.0.1:{ruled.port}\n"
    for source in ("127.0.0.2", "127.0.0.3"):
        assert call(server.port, source=source).data.decode() == f"{source} confirmed [] None\n"
    assert call(server.port, "::1").data == b"::1 confirmed [] None\n"


@pytest.mark.usefixtures("users_python")
@pytest.mark.parametrize("launcher", [["--handler"], ["--handler", "--reuse", "10"]])
def test_handlers_are_told_of_a_rule_as_programs_are(
    tcpserver: Callable[..., Server], tmp_path: Path, launcher: list[str]
) -> None:
    (tmp_path / "ruled.py").write_text(
        "def handle(session):\n"
        "    c = session.connection\n"
        "    session.writer.write(f'{c.remote.ip} {c.evidence} {c.vouched}\\n'.encode())\n"
    )
    rules = compile_rules(tmp_path, '127.0.0.1:allow,TCPREMOTEIP="203.0.113.7"\n:allow\n')
    server = tcpserver("-RHl0", "-x", rules, *launcher, "0", "0", "ruled:handle", cwd=tmp_path)
    for _ in range(2):
        assert call(server.port).data == b"203.0.113.7 operator True\n"
        assert call(server.port, source="127.0.0.2").data == b"127.0.0.2 confirmed True\n"


def test_a_value_is_bytes_whatever_the_locale(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    rules = compile_rules(tmp_path, ':allow,ONE="\u20ac"\n')
    ascii_only = [*tool("tcpserver")]
    ascii_only[1:1] = ["-X", "utf8=0"]
    environ = {**os.environ, "LC_ALL": "C"}
    server = tcpserver("-vRH", "-l\u20ac", "-x", rules, "127.0.0.1", "0", *SHOW, command=ascii_only, env=environ)
    assert call(server.port).data == "in \u20ac 127.0.0.1\n".encode()
    assert " ???:127.0.0.1:" in server.wait_for_line(" ok ")


def test_who_is_denied_does_not_get_the_banner(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    """A33."""
    rules = compile_rules(tmp_path, "127.0.0.2:deny\n")
    server = tcpserver("-RHl0", "-B", "hello ", "-x", rules, "127.0.0.1", "0", *SHOW)
    assert call(server.port, source="127.0.0.2").data == b""
    assert call(server.port).data == b"hello in  127.0.0.1\n"


def test_rules_for_ipv4_hold_under_6(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    """A16."""
    rules = compile_rules(tmp_path, "127.0.0.1:deny\n")
    server = tcpserver("-6RHl0", "-x", rules, "127.0.0.1", "0", *SHOW)
    assert call(server.port).data == b""
    assert call(server.port, source="127.0.0.2").data == b"in  ::ffff:127.0.0.2\n"


def test_a_changed_file_counts_from_the_next_connection(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    rules = compile_rules(tmp_path, ":deny\n")
    server = tcpserver("-RHl0", "-x", rules, "127.0.0.1", "0", *SHOW)
    assert call(server.port).data == b""
    compile_rules(tmp_path, ':allow,ONE="new"\n')
    assert call(server.port).data == b"in new 127.0.0.1\n"
    os.unlink(rules)
    assert call(server.port).data == b""
    server.wait_for_line(f"tcpserver: warning: dropping connection, unable to read {rules}: file does not exist")


def test_a_missing_file_is_tolerated_if_asked_and_nothing_else_is(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    server = tcpserver("-RHl0", "-X", "-x", str(tmp_path / "none"), "127.0.0.1", "0", *SHOW)
    assert call(server.port).data == b"in  127.0.0.1\n"
    (tmp_path / "none").write_bytes(b"\xff" * 3000)
    assert call(server.port).data == b""
    server.wait_for_line(f"unable to read {tmp_path / 'none'}: protocol error")


def test_a_rule_may_change_path_for_the_program_but_not_for_finding_it(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    rules = compile_rules(tmp_path, ':allow,PATH="/nonexistent"\n')
    server = tcpserver("-RHl0", "-x", rules, "127.0.0.1", "0", "env")
    assert b"PATH=/nonexistent\n" in call(server.port).data


def test_variables_of_a_rule_do_not_stay_for_the_next_caller(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    rules = compile_rules(tmp_path, '127.0.0.1:allow,ONE="1",TCPREMOTEHOST="set.example"\n')
    server = tcpserver("-RHl0", "-x", rules, "127.0.0.1", "0", "sh", "-c", "echo $ONE $TCPREMOTEHOST")
    assert call(server.port).data == b"1 set.example\n"
    assert call(server.port, source="127.0.0.2").data == b"\n"
    assert call(server.port).data == b"1 set.example\n"


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_rules_that_are_no_file_deny_and_do_not_hang(
    tcpserver: Callable[..., Server], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "rules"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null")
    server = tcpserver("-RHl0", "-x", str(path), "127.0.0.1", "0", *SHOW)
    assert call(server.port).data == b""
    server.wait_for_line(f"unable to read {path}: invalid argument")
