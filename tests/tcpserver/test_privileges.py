"""Giving up root: completely, or not at all."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import tempfile
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
@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--no-new-privs"],
        ["--rlimit=core=0", "--lifetime=60"],
        ["--keep-caps=chown", "--metrics=metrics"],
        ["--workers=2"],
    ],
)
def test_nothing_is_imported_once_privileges_are_given_up(tmp_path: Path, more: list[str]) -> None:
    """The user may not be able to read this package: everything has to be there before."""
    trace = tmp_path / "trace"
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "ip4").mkdir()
    tmp_path.chmod(0o755)
    command = [
        "strace",
        "-D",
        *(["-f"] if "--workers=2" in more else []),
        "-qq",
        "-o",
        str(trace),
        "-e",
        "trace=setuid,openat,open",
        *tool("tcpserver"),
    ]
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": "127.0.0.1:9"}
    options = ["-v1", "-unobody", "-pC5", "-Bhi", "--proxy", "127.0.0.1", "-x", str(tmp_path / "rules"), "--drain", "1"]
    with Server([*command, *options, *more, "0", "0", "nosuch"], env=environ, cwd=tmp_path) as server:
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


CAPABILITIES = ("sh", "-c", "exec grep -E '^(Uid|Cap|NoNewPrivs)' /proc/self/status")


def capabilities(text: str) -> dict[str, int]:
    """The sets of a process: CapInh, CapPrm, CapEff, CapBnd, CapAmb."""
    return {name: int(mask, 16) for name, mask in re.findall(r"^(Cap\w+):\s+(\w+)$", text, re.MULTILINE)}


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="capabilities are Linux's")
@pytest.mark.parametrize(
    ("options", "mask"),
    [
        (["-u", "nobody", "--keep-caps=CAP_NET_BIND_SERVICE"], 1 << 10),
        (["-U", "--keep-caps=net_bind_service, chown", "--rlimit=core=0"], 1 << 10 | 1),
        (["-u", "nobody", "--keep-caps=audit_read", "--no-new-privs"], 1 << 37),
        (["-u", "nobody"], 0),
    ],
)
def test_programs_keep_the_capabilities_that_were_asked_for_and_no_other(
    tcpserver: Callable[..., Server], options: list[str], mask: int
) -> None:
    environ = {"PATH": os.environ["PATH"], "UID": str(NOBODY.pw_uid), "GID": str(NOBODY.pw_gid)}
    server = tcpserver("-RHl0", *options, "127.0.0.1", "0", *CAPABILITIES, env=environ)
    text = call(server.port).data.decode()
    assert f"Uid:\t{NOBODY.pw_uid}\t{NOBODY.pw_uid}\t" in text
    assert ("NoNewPrivs:\t1" in text) == ("--no-new-privs" in options)
    found = capabilities(text)
    assert {name: found[name] for name in ("CapPrm", "CapEff", "CapAmb")} == dict.fromkeys(
        ("CapPrm", "CapEff", "CapAmb"), mask
    )
    own = capabilities(Path(f"/proc/{server.pid}/status").read_text())
    assert (own["CapPrm"], own["CapEff"]) == (mask, 0)


def test_a_kept_capability_works(tcpserver: Callable[..., Server]) -> None:
    """Only who has CAP_CHOWN may give a file away."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)  # what pytest makes is for its own user alone
        file = Path(directory, "file")
        file.touch()
        for options, status in (([], "256"), (["--keep-caps=chown"], "0")):
            server = tcpserver("-vRHl0", "-u", "nobody", *options, "127.0.0.1", "0", "chown", "12345", str(file))
            call(server.port)
            assert server.wait_for_line(" end ").endswith(f" status {status}")
        assert file.stat().st_uid == 12345


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        (["--keep-caps=chown"], 100, "tcpserver: option keep-caps needs option u or option U"),
        (["-unobody", "--keep-caps=root"], 100, "tcpserver: option keep-caps: 'root' is no capability; names are "),
        (["-unobody", "--keep-caps="], 100, "tcpserver: option keep-caps: '' is no capability; names are "),
        (["-u0", "--keep-caps=chown"], 111, "tcpserver: fatal: unable to keep capabilities: the user is still root"),
        (["-unobody", "--keep-caps=net_raw"], 111, "tcpserver: fatal: unable to keep capabilities net_raw: "),
    ],
)
def test_capabilities_that_cannot_be_kept_end_the_start(options: list[str], status: int, why: str) -> None:
    command = ["setpriv", "--bounding-set=-net_raw", *tool("tcpserver"), *options, "127.0.0.1", "0", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stderr.startswith(why)
    assert "Traceback" not in done.stderr
