"""Giving up root: completely, or not at all."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.root

WHO = ("sh", "-c", "exec grep -E '^(Uid|Gid|Groups)' /proc/self/status")
NOBODY = pwd.getpwnam("nobody")


def identity(text: str) -> tuple[set[int], set[int], set[int]]:
    """All user ids, all group ids, the supplementary groups."""
    found = dict(line.split(":", 1) for line in text.splitlines())
    uids, gids, groups = ({int(word) for word in found[name].split()} for name in ("Uid", "Gid", "Groups"))
    return uids, gids, groups


@pytest.mark.parametrize(
    ("options", "environ", "uid", "gid"),
    [
        (["-u", "nobody"], {}, NOBODY.pw_uid, NOBODY.pw_gid),
        (["-u", str(NOBODY.pw_uid)], {}, NOBODY.pw_uid, NOBODY.pw_gid),
        (["-u", "nobody", "-g", "12345"], {}, NOBODY.pw_uid, 12345),
        (["-u", "54321", "-g", "12345"], {}, 54321, 12345),
        (["-g", "12345"], {}, 0, 12345),
        (["-u", "nobody", "-g", "0"], {}, NOBODY.pw_uid, NOBODY.pw_gid),
        (["-U"], {"UID": "54321", "GID": "12345"}, 54321, 12345),
        (["-U"], {"UID": str(NOBODY.pw_uid)}, NOBODY.pw_uid, NOBODY.pw_gid),
        (["-U", "-u", "11111"], {"UID": "54321", "GID": "12345"}, 11111, 12345),
        (["-u", "11111", "-U"], {"UID": "54321", "GID": "12345"}, 54321, 12345),
    ],
)
def test_a_program_has_the_users_ids_and_no_other_group(
    tcpserver: Callable[..., Server], options: list[str], environ: dict[str, str], uid: int, gid: int
) -> None:
    """A6, A7: C stays root for names, and keeps root's groups without -g."""
    groups = ["setpriv", "--groups=4,24"]
    server = tcpserver(
        "-RHl0", *options, "127.0.0.1", "0", *WHO,
        command=[*groups, *tool("tcpserver")], env={"PATH": os.environ["PATH"], **environ},
    )  # fmt: skip
    assert identity(call(server.port).data.decode()) == ({uid}, {gid}, {gid})
    assert identity(Path(f"/proc/{server.pid}/status").read_text().replace("\t", " ")) == ({uid}, {gid}, {gid})


def test_without_options_nothing_changes(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(
        "-RHl0", "-u0", "-g", "0", "127.0.0.1", "0", *WHO, command=["setpriv", "--groups=4,24", *tool("tcpserver")]
    )
    assert identity(call(server.port).data.decode()) == ({0}, {0}, {4, 24})


@pytest.mark.parametrize(
    ("options", "environ", "why"),
    [
        (["-U"], {"UID": "root"}, "unable to set uid: $UID is 'root', not a number"),
        (["-U"], {"GID": "1"}, "unable to set uid: $UID is not set"),
        (["-U"], {"UID": "1", "GID": "-1"}, "unable to set gid: $GID is '-1', not a number"),
        (["-u", "54321"], {}, "unable to set gid: uid 54321 has no entry in passwd; name its group with -g"),
        (["-u", "12abc"], {}, "unable to set uid: no user is called '12abc'"),
    ],
)
def test_root_is_never_kept_in_silence(options: list[str], environ: dict[str, str], why: str) -> None:
    done = subprocess.run(
        [*tool("tcpserver"), "-RHl0", *options, "127.0.0.1", "0", "id"],
        env={"PATH": os.environ["PATH"], **environ}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 111
    assert done.stderr.startswith(f"tcpserver: fatal: {why}")


def test_an_ordinary_user_may_become_nobody_else() -> None:
    # One capability is kept, to read an interpreter that may lie where only root may look.
    user = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    command = [*user, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", *tool("tcpserver"), "-RHl0"]
    for options, why in ((["-u", "1"], "unable to set uid"), (["-g", "1"], "unable to set gid")):
        done = subprocess.run([*command, *options, "127.0.0.1", "0", "id"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (111, f"tcpserver: fatal: {why}: permission denied\n")
    with Server([*command, "-1", "-u", "54321", "127.0.0.1", "0", "id", "-u"]) as server:
        server.read_port()
        assert call(server.port).data == b"54321\n"


@pytest.mark.peer("strace")
def test_nothing_is_imported_once_privileges_are_given_up(tmp_path: Path) -> None:
    """The user may not be able to read this package: everything has to be there before."""
    trace = tmp_path / "trace"
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "ip4").mkdir()
    tmp_path.chmod(0o755)
    command = ["strace", "-D", "-qq", "-o", str(trace), "-e", "trace=setuid,openat,open", *tool("tcpserver")]
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": "127.0.0.1:9"}
    options = ["-v1", "-unobody", "-pC5", "-Bhi", "--proxy", "127.0.0.1", "-x", str(tmp_path / "rules"), "--drain", "1"]
    with Server([*command, *options, "0", "0", "nosuch"], env=environ) as server:
        server.read_port()
        call(server.port, send=b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")
        server.wait_for_line("status: 0/40", count=2)
        call(server.port, send=b"GET / HTTP/1.0\r\n")
        server.wait_for_line("unable to read PROXY header")
        call(server.port, "::1", send=b"PROXY ")
        server.signal(1)
        server.signal(10)
        call(server.port, "::1", send=b"hello")
        server.wait_for_line("status: 0/40", count=3)
    after = trace.read_text().split("setuid(", 1)[1]
    assert re.findall(r'"[^"]*\.(?:pyc?|so)"', after) == []
