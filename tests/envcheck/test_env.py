"""``ucspi-envcheck env``: any dialect for any address, printed or really connected."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.envcheck.running import CLEAN, ENVCHECK, PYTHON, envcheck, said
from tests.support import PATIENCE
from ucspi_env import dialects

WHOAMI = str(Path(__file__).resolve().parents[2] / "examples" / "servers" / "whoami.py")
# What the kernel says, in getpeername's and getsockname's own words.
KERNEL = """
import os, socket
s = socket.socket(fileno=0)
print(s.family.name, s.type.name, *s.getpeername(), "|", *s.getsockname())
print("|".join(sorted(f"{k}={v}" for k, v in os.environ.items() if "REMOTE" in k or "LOCAL" in k or k == "PROTO")))
"""


@pytest.mark.parametrize("name", [row.name for row in dialects()])
def test_every_dialect_is_printed(name: str) -> None:
    done = envcheck("env", name, "--json")

    assert done.returncode == 0
    variables = json.loads(said(done))
    plain = [line.partition("=") for line in said(envcheck("env", name)).splitlines()]
    assert [key for key, _, _ in plain] == list(variables)
    assert all(variables[key] == value for key, _, value in plain if not key.endswith("PID"))


def test_without_a_program_it_prints_what_tcpserver_would_set() -> None:
    done = envcheck(
        "env", "ucspi-tcp-ipv6", "--remote", "[2001:db8::7]:99", "--local", "[2001:db8::1]:25", "--host", "a.example"
    )

    assert said(done).splitlines() == [
        "PROTO=TCP6",
        "TCPREMOTEIP=2001:db8::7",
        "TCPREMOTEPORT=99",
        "TCPREMOTEHOST=a.example",
        "TCPLOCALIP=2001:db8::1",
        "TCPLOCALPORT=25",
        "TCP6REMOTEIP=2001:db8::7",
        "TCP6REMOTEPORT=99",
        "TCP6REMOTEHOST=a.example",
        "TCP6LOCALIP=2001:db8::1",
        "TCP6LOCALPORT=25",
    ]


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        ("nosh", "TCPREMOTEIP=::ffff:192.0.2.7"),
        ("s6", "TCPREMOTEIP=::ffff:c000:207"),
        ("busybox", "TCPREMOTEADDR=[::ffff:192.0.2.7]:99"),
        ("socat", "SOCAT_PEERADDR=[0000:0000:0000:0000:0000:ffff:c000:0207]"),
        ("ucspi-tcp-ipv6", "TCPREMOTEIP=192.0.2.7"),
    ],
)
def test_an_ipv4_mapped_caller_is_spelt_as_the_super_server_spells_it(dialect: str, text: str) -> None:
    done = envcheck("env", dialect, "--remote", "[::ffff:192.0.2.7]:99")

    assert text in said(done).splitlines()


def test_as_shell_commands_it_sets_and_unsets() -> None:
    hostile = "a';touch x;'\n$(b)"
    script = envcheck("env", "ucspi-tcp", "--host", hostile, "--shell").stdout

    done = subprocess.run(
        ["sh", "-c", 'eval "$0"; printf %s "$TCPREMOTEHOST|${TCP6REMOTEIP-gone}|$TCPREMOTEIP"', script],
        env=CLEAN | {"TCP6REMOTEIP": "stale"},
        capture_output=True,
        check=True,
    )

    assert done.stdout.decode() == f"{hostile}|gone|192.0.2.1"


def test_what_cannot_be_shown_is_escaped_and_undecodable_bytes_are_no_trouble() -> None:
    hostile = b"a\xff\x1b[31m\n"

    plain = envcheck("env", "ucspi-tcp", "--host", hostile)
    shell = envcheck("env", "ucspi-tcp", "--host", hostile, "--shell")
    as_json = envcheck("env", "ucspi-tcp", "--host", hostile, "--json")

    assert "TCPREMOTEHOST='a\\udcff\\x1b[31m\\n'" in said(plain)
    assert b"TCPREMOTEHOST='a\xff\x1b[31m\n'" in shell.stdout
    assert json.loads(said(as_json))["TCPREMOTEHOST"].encode("utf-8", "surrogateescape") == hostile


@pytest.mark.netns
@pytest.mark.parametrize(
    ("arguments", "kernel"),
    [
        (["--remote", "192.0.2.9:5000", "--local", "198.51.100.3:80"],
         "AF_INET SOCK_STREAM 192.0.2.9 5000 | 198.51.100.3 80"),
        (["--remote", "[2001:db8::9]:5000", "--local", "[2001:db8::3]:80"],
         "AF_INET6 SOCK_STREAM 2001:db8::9 5000 0 0 | 2001:db8::3 80 0 0"),
        (["--remote", "192.0.2.9:5000", "--local", "198.51.100.3:80", "--mapped"],
         "AF_INET6 SOCK_STREAM ::ffff:192.0.2.9 5000 0 0 | ::ffff:198.51.100.3 80 0 0"),
        (["--remote", "[::ffff:192.0.2.9]:5000", "--local", "198.51.100.3:80"],
         "AF_INET6 SOCK_STREAM ::ffff:192.0.2.9 5000 0 0 | ::ffff:198.51.100.3 80 0 0"),
        (["--remote", "127.0.0.1:5000"], "AF_INET SOCK_STREAM 127.0.0.1 5000 | 127.0.0.1 25"),
        (["--remote", "[::1]:5000"], "AF_INET6 SOCK_STREAM ::1 5000 0 0 | ::1 25 0 0"),
        (["--remote", "[fe80::9%lo]:5000"], "AF_INET6 SOCK_STREAM fe80::9 5000 0 1 | fe80::ff 25 0 1"),
        (["--remote", "[fe80::9%1]:5000"], "AF_INET6 SOCK_STREAM fe80::9 5000 0 1 | fe80::ff 25 0 1"),
    ],
    ids=["IPv4", "IPv6", "mapped", "mapped text", "127.0.0.1", "::1", "link-local", "numbered zone"],
)  # fmt: skip
def test_a_program_that_asks_the_kernel_sees_the_same_addresses(arguments: list[str], kernel: str) -> None:
    done = envcheck("env", "ucspi-tcp-ipv6", *arguments, "--", *PYTHON, "-c", KERNEL)

    assert done.returncode == 0, done.stderr
    assert said(done).splitlines()[0] == kernel
    assert done.stderr == b""


@pytest.mark.netns
@pytest.mark.parametrize(
    ("remote", "answer"),
    [
        ("192.0.2.9:5000", "you are 192.0.2.9:5000"),
        ("[2001:db8::9]:5000", "you are [2001:db8::9]:5000"),
        ("[::ffff:192.0.2.9]:5000", "you are 192.0.2.9:5000"),
        ("[fe80::9%lo]:5000", "you are [fe80::9%lo]:5000"),
    ],
)
@pytest.mark.parametrize("dialect", ["ucspi-tcp-ipv6", "s6", "busybox", "inetd", "couriertcpd"])
def test_whoami_is_right_in_every_dialect(dialect: str, remote: str, answer: str) -> None:
    done = envcheck("env", dialect, "--remote", remote, "--", *PYTHON, WHOAMI)

    assert said(done).splitlines()[0] == answer


@pytest.mark.netns
def test_the_zone_of_a_real_interface_is_kept() -> None:
    name = next(name for _, name in socket.if_nameindex() if name != "lo")

    done = envcheck("env", "ucspi-tcp-ipv6", "--remote", f"[fe80::9%{name}]:5000", "--", *PYTHON, WHOAMI)

    assert said(done).splitlines()[0] == f"you are [fe80::9%{name}]:5000"


@pytest.mark.netns
@pytest.mark.parametrize("dialect", ["busybox-udpsvd", "udplisten"])
def test_udp_dialects_get_a_connected_udp_socket(dialect: str) -> None:
    server = KERNEL + "\nwhile (data := s.recv(100)): s.send(data.upper())"

    done = envcheck("env", dialect, "--remote", "192.0.2.9:5000", "--", *PYTHON, "-uc", server, input=b"hello\n")

    lines = said(done).splitlines()
    assert lines[0] == "AF_INET SOCK_DGRAM 192.0.2.9 5000 | 198.51.100.1 25"
    assert "PROTO=UDP" in lines[1]
    assert lines[2] == "HELLO"


@pytest.mark.parametrize("dialect", ["ucspi-unix", "ucspi-ipc", "s6-ipcserver"])
def test_unix_dialects_get_a_unix_domain_connection(dialect: str) -> None:
    done = envcheck("env", dialect, "--", *PYTHON, WHOAMI)

    assert f"uid={os.geteuid()}" in said(done).splitlines()[0]
    kernel = "import socket; print(socket.socket(fileno=0).family.name)"
    assert said(envcheck("env", dialect, "--", *PYTHON, "-c", kernel)) == "AF_UNIX\n"


@pytest.mark.netns
def test_the_conversation_is_ours_both_ways_however_long() -> None:
    data = os.urandom(3_000_000)

    done = envcheck("env", "ucspi-tcp", "--", "cat", input=data)

    assert done.stdout == data


@pytest.mark.netns
def test_standard_input_may_be_a_file_or_closed(tmp_path: Path) -> None:
    file = tmp_path / "said"
    file.write_bytes(b"x" * 1_000_000)

    with file.open("rb") as stdin:
        assert envcheck("env", "ucspi-tcp", "--", "wc", "-c", stdin=stdin.fileno()).stdout.strip() == b"1000000"
    command = 'exec "$@" <&-'
    closed = subprocess.run(
        ["sh", "-c", command, "sh", *ENVCHECK, "env", "ucspi-tcp", "--", "wc", "-c"],
        env=CLEAN,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert (closed.returncode, closed.stdout.strip()) == (0, b"0"), closed.stderr


@pytest.mark.netns
@pytest.mark.parametrize(("command", "status"), [("exit 7", 7), ("kill -TERM $$", 143)])
def test_the_exit_status_is_the_programs(command: str, status: int) -> None:
    assert envcheck("env", "ucspi-tcp", "--", "sh", "-c", command).returncode == status


@pytest.mark.netns
@pytest.mark.parametrize(
    ("program", "reason"), [("no-such-program", "file does not exist"), ("/etc/passwd", "access denied")]
)
def test_a_program_that_cannot_be_run_is_111_in_the_words_of_c(program: str, reason: str) -> None:
    done = envcheck("env", "ucspi-tcp", "--", program)

    assert done.returncode == 111
    assert done.stderr.decode() == f"ucspi-envcheck: fatal: unable to run {program}: {reason}\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nonsense"], "'nonsense' is not a dialect"),
        (["ucspi-tcp", "--remote", "::1"], "IPv4 only"),
        (["ucspi-tcp", "--remote", "1.2.3.4", "--local", "::1"], "two families"),
        (["s6", "--json", "--", "true"], "--json and --shell print"),
        (["ucspi-tcp", "--remote", "localhost"], "is not an IP address"),
        (["ucspi-unix", "--remote", "1.2.3.4"], "UNIX-domain"),
        (["s6", "-6"], "no TCP6 form"),
        (["s6", "--remote", "::1", "--mapped"], "IPv4 callers"),
        ([], "Missing argument"),
    ],
)
def test_wrong_use_is_2_and_says_what_is_wrong(arguments: list[str], reason: str) -> None:
    done = envcheck("env", *arguments)

    assert done.returncode == 2
    assert said(done) == ""
    assert reason in " ".join(done.stderr.decode().split())


@pytest.mark.netns
def test_addresses_that_nobody_can_call_from_are_refused() -> None:
    done = envcheck("env", "ucspi-tcp", "--remote", "224.0.0.1:99", "--", "true")

    assert done.returncode == 111
    assert said(done) == ""
    assert "cannot connect 224.0.0.1:99" in done.stderr.decode()


@pytest.mark.root
@pytest.mark.netns
def test_an_ordinary_user_gets_a_connection_or_is_told_that_there_is_none() -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("no python3 that nobody may run")
    package = Path(__file__).resolve().parents[2]
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from ucspi_env import Endpoint\nfrom ucspi_env.envcheck._stage import Stage\n"
        "with Stage() as stage:\n"
        "    ends = stage.connect(Endpoint('2001:db8::1', 5000), Endpoint('2001:db8::2', 25))\n"
        "    print(stage.reason or ends[0].getpeername()[:2])\n"
        "    for end in ends: end.close()\n"
    )
    # The checkout may lie where nobody cannot look: a copy can be read.
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(package / "ucspi_env", Path(folder) / "ucspi_env", ignore=shutil.ignore_patterns("__pycache__"))
        os.chmod(folder, 0o755)
        done = subprocess.run(
            [python, "-I", "-B", "-c", code, folder], user=nobody, capture_output=True, check=False, timeout=PATIENCE
        )

    assert done.stdout.decode().strip() in ("('2001:db8::1', 5000)",) or b"not allowed here" in done.stdout, done.stderr
