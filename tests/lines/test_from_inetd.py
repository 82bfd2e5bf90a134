"""ucspi-from-inetd: its files, its words, and run scripts that really run."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import Program, call
from ucspi_env.tools import link
from ucspi_env.tools._inetd import Service
from ucspi_env.tools._runscript import directory_names, rules_file, run_script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lines.conftest import Tools

CAPTURE = "printf '%s\\0' \"$@\""
PLAIN = "x stream tcp46 nowait root /bin/x x\n"


def captured(script: str) -> list[str]:
    """What the script would start tcpserver with: its last command is turned into `set`, and shown."""
    whole = script.replace("exec tcpserver ", "set -- ").replace("exec 2>&1\n", "")
    done = subprocess.run(["sh", "-c", f"{whole}{CAPTURE}"], capture_output=True, check=True)
    assert done.stderr == b""
    return os.fsdecode(done.stdout).split("\0")[:-1]


WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)


@settings(max_examples=40, deadline=None)
@given(argv=st.lists(WORDS, min_size=1, max_size=4), name=WORDS, host=WORDS, port=WORDS, value=WORDS)
def test_no_word_of_a_configuration_can_break_out_of_the_script(
    argv: list[str], name: str, host: str, port: str, value: str
) -> None:
    service = Service(
        name=name, where=f"{name}:1", host=host, port=port, server="/bin/x", argv=argv, environment={"VALUE": value}
    )
    arguments = captured(run_script(service))
    assert arguments[: arguments.index("--") + 3] == ["-vHR", "-l", "0", "-c", "40", "--", host, port]
    want = ["/bin/x", *argv[1:]] if argv[0] in ("x", "/bin/x") else ["argv0", "/bin/x", *argv]
    assert arguments[-len(want) :] == want


def test_options_follow_from_the_service() -> None:
    service = Service(
        name="x", where="f:1", host="0", port="25", server="/bin/x", argv=["x"], user="0012", group="7", limit=3,
        per_source=2, nodelay=True, umask="027", rules=None, wants_names=True, wants_ident=True,
    )  # fmt: skip
    want = "-vpD -l 0 -c 3 -C 2 -u 0012 -g 7 -- 0 25 /bin/x"
    assert captured(run_script(service)) == want.split()


def test_names_of_users_become_numbers_when_the_script_runs() -> None:
    service = Service(name="x", where="f:1", port="25", server="/bin/x", argv=["x"], user="daemon", group="mail")
    arguments = captured(run_script(service))
    assert arguments[arguments.index("-u") + 1].isdigit()
    assert arguments[arguments.index("-g") + 1].isdigit()


@pytest.mark.parametrize(("user", "group"), [("no-such-user", ""), ("daemon", "no-such-group"), ("", "no-such-group")])
def test_nothing_is_started_for_an_unknown_user_or_group(user: str, group: str) -> None:
    service = Service(name="x", where="f:1", port="25", server="/bin/x", argv=["x"], user=user, group=group)
    script = run_script(service, tcpserver="/bin/echo")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 111
    assert "25" not in done.stdout


def test_rules_are_compiled_before_the_start() -> None:
    service = Service(name="x", where="f:1", server="/bin/x", argv=["x"], rules=["10.:allow", ":deny"])
    assert rules_file(service) == "# Access to x\n10.:allow\n:deny\n"
    script = run_script(service)
    assert script.index("tcprules rules.cdb rules.tmp <rules || exit 111") < script.index("exec tcpserver")
    assert "-x rules.cdb" in script


def test_directory_names_are_safe_and_unique() -> None:
    names = ["ftp", "ftp", "../x", ".x", "-x", "", "a/b c", "ftp-2", "é"]
    made = directory_names([Service(name=name, where="f:1") for name in names])
    assert made == ["ftp", "ftp-2", "_.._x", "_.x", "_-x", "_", "a_b_c", "ftp-2-2", "_-2"]
    assert len(set(made)) == len(made)


def test_directories_are_made_and_never_overwritten(ours: Tools, tmp_path: Path) -> None:
    conf = tmp_path / "inetd.conf"
    conf.write_text(PLAIN + "y stream tcp46 nowait root /bin/y y\n")
    service = tmp_path / "service"
    done = ours.run("from-inetd", "-d", str(service), str(conf))
    assert done == (0, b"", b"")
    assert sorted(path.name for path in service.iterdir()) == ["x", "y"]
    run = service / "x" / "run"
    assert run.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", run], check=True)

    run.write_text("mine")
    conf.write_text(PLAIN + "z stream tcp46 nowait root /bin/z z\n")
    done = ours.run("from-inetd", "-d", str(service), str(conf))
    wanted = f"ucspi-from-inetd: fatal: {service}/x is there already; move it away\n"
    assert done == (100, b"", wanted.encode())
    assert run.read_text() == "mine"
    assert not (service / "z").exists()


def test_a_directory_of_xinetd_with_includes(ours: Tools, tmp_path: Path) -> None:
    parts = tmp_path / "xinetd.d"
    parts.mkdir()
    (parts / "a").write_text("service a\n{\n server = /bin/a\n bind = ::1\n only_from = ::1\n}\n")
    (parts / "b.rpmsave").write_text("service b\n{\n server = /bin/b\n}\n")
    (parts / "c~").write_text("service c\n{\n server = /bin/c\n}\n")
    (parts / "off").write_text("service off\n{\n disable = yes\n}\n")
    main = tmp_path / "xinetd.conf"
    main.write_text(f"defaults\n{{\n instances = 9\n}}\nincludedir {parts}\n")
    done = ours.run("from-inetd", str(main))
    text = done.stdout.decode()
    assert done.status == 0
    assert text.count("/run\n") == 1
    assert "-c 9" in text
    assert text.endswith("# a/rules\n# Access to a\n::1:allow\n:deny\n\n")
    assert f"{parts}/off:1: off: left out, it is disabled".encode() in done.stderr
    assert b"libwrap" in done.stderr


def test_includes_in_a_circle_are_an_error(ours: Tools, tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    conf.write_text(f"include {conf}\n")
    done = ours.run("from-inetd", str(conf))
    assert done == (100, b"", f"ucspi-from-inetd: error: {conf}:1: includes go round in a circle\n".encode())


def test_what_is_left_out_is_told_and_is_no_failure(ours: Tools, tmp_path: Path) -> None:
    conf = tmp_path / "inetd.conf"
    conf.write_text("tftp dgram udp wait root /bin/tftpd tftpd\n")
    done = ours.run("from-inetd", str(conf))
    why = "left out, dgram sockets are not connections; tcpserver serves TCP only"
    assert done == (0, b"", f"ucspi-from-inetd: {conf}:1: tftp: {why}\n".encode())


def test_bytes_that_are_not_utf8_pass_through(ours: Tools, tmp_path: Path) -> None:
    conf = tmp_path / "inetd.conf"
    conf.write_bytes(b"x stream tcp46 nowait root /bin/x x \xff\xfe\n")
    assert b"'\xff\xfe'" in ours.run("from-inetd", str(conf)).stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 100, "ucspi-from-inetd: usage: "),
        (["-z", "f"], 100, "ucspi-from-inetd: illegal option -- z\n"),
        (["/nonexistent"], 111, "ucspi-from-inetd: fatal: unable to read /nonexistent: file does not exist\n"),
    ],
)
def test_refusals(ours: Tools, arguments: list[str], status: int, message: str) -> None:
    done = ours.run("from-inetd", *arguments)
    assert (done.status, done.stdout) == (status, b"")
    assert done.stderr.decode().startswith(message)


def test_a_converted_service_serves(ours: Tools, tmp_path: Path) -> None:
    """The script runs through link: rules, another argument zero, an environment, and an argument to be quoted."""
    programs = tmp_path / "bin"
    assert link.main([str(programs)]) == 0
    # A port that is free now may be taken later; the kernel shall choose, and -1 say which.
    speaking = tmp_path / "tcpserver-1"
    speaking.write_text('#!/bin/sh\nexec tcpserver -1 "$@"\n')
    speaking.chmod(0o755)
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nprintf "%s|%s|" "$1" "$GREETING"; exec cat\n')
    program.chmod(0o755)
    conf = tmp_path / "xinetd.conf"
    conf.write_text(
        f"service x\n{{\n server = {program}\n server_args = it's$HOME\n bind = 127.0.0.1\n port = 0\n"
        " only_from = 127.0.0.0/8\n env = GREETING=a'b\n}\n"
    )
    service = tmp_path / "service"
    assert ours.run("from-inetd", "-t", str(speaking), "-d", str(service), str(conf)).status == 0
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    with Program([str(service / "x" / "run")], cwd=service / "x", env=env) as server:
        assert server.process.stdout
        port = int(server.process.stdout.readline())
        assert call(port, send=b"hello").data == b"it's$HOME|a'b|hello"
