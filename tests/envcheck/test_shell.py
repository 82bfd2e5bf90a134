"""``ucspi-envcheck shell``: safe quoting in every shell, and no way to go on without a peer."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envcheck.running import CLEAN, ENVCHECK, envcheck, said
from tests.support import PATIENCE
from ucspi_env.envcheck._shell import NAMES, assignments, quoted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHELLS = ["dash", "bash", "zsh", "busybox", "ksh93"]
every_shell = pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.peer(name)) for name in SHELLS])
PEER = {"PROTO": "TCP6", "TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "4711", "TCPLOCALIP": "2001:db8::2"}
HOSTILE = [
    "$(touch cracked)",
    "`touch cracked`",
    "a';touch cracked;'",
    'a"b\\c',
    "a\nexit 0\n",
    "!!",
    "*",
    "~",
    "\\",
    "'''",
    "\x01%n%s",
    "() { :;}; touch cracked",
    "Proxy: http://[2001:db8::bad]/",
]


def shell(peer: Callable[[str], str], name: str) -> list[str]:
    return [peer(name), *(["sh"] if name == "busybox" else [])]


@every_shell
@pytest.mark.parametrize("variable", ["TCPREMOTEHOST", "TCPREMOTEINFO"])
def test_hostile_names_stay_text(peer: Callable[[str], str], tmp_path: Path, name: str, variable: str) -> None:
    script = 'eval "$("$@" shell)"; printf "<%s>" "$UCSPI_REMOTE_IP" "$UCSPI_REMOTE_HOST" "$UCSPI_REMOTE_INFO"'
    for hostile in HOSTILE:
        done = subprocess.run(
            [*shell(peer, name), "-c", script, name, *ENVCHECK],
            env=CLEAN | PEER | {variable: hostile},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=tmp_path,
            check=False,
            timeout=PATIENCE,
        )

        # What is no host name is not given; an ident answer may hold any printable text.
        info = hostile if variable == "TCPREMOTEINFO" and hostile.isprintable() else ""
        assert done.stdout.decode() == f"<2001:db8::1><><{info}>", (hostile, done.stderr)
    assert not list(tmp_path.iterdir())


@every_shell
def test_quoting_is_the_identity(peer: Callable[[str], str], name: str) -> None:
    texts = [*HOSTILE, "", "é", " a  b ", "-n", "a=b", "\t"]
    script = "".join(f"x={quoted(text)}; printf '%s\\002' \"$x\"\n" for text in texts)

    done = subprocess.run([*shell(peer, name), "-c", script], env=CLEAN, capture_output=True, check=True)

    assert done.stdout.decode().split("\2")[:-1] == texts


@given(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])))
def test_nothing_is_special_within_single_quotes(text: str) -> None:
    assert shlex.split(quoted(text)) == [text]


@every_shell
@pytest.mark.parametrize(
    ("variables", "options"),
    [({}, []), ({"PROTO": "TCP", "TCPREMOTEIP": "nonsense"}, []), (PEER, ["--strict"]), (PEER, ["--nonsense"])],
    ids=["no super-server", "bad address", "unconfirmed", "wrong use"],
)
def test_on_trouble_the_script_cannot_go_on(
    peer: Callable[[str], str], name: str, variables: dict[str, str], options: list[str]
) -> None:
    script = 'eval "$("$@")"; echo "went on with $UCSPI_REMOTE_IP"'

    done = subprocess.run(
        [*shell(peer, name), "-c", script, name, *ENVCHECK, "shell", *options],
        env=CLEAN | variables | {"UCSPI_REMOTE_IP": "192.0.2.66"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.stdout == b""
    assert done.returncode == 111
    assert done.stderr.startswith(b"ucspi-envcheck: ")


@every_shell
def test_on_trouble_not_even_a_trap_sees_stale_values(peer: Callable[[str], str], name: str) -> None:
    script = 'trap \'echo "${UCSPI_REMOTE_IP-gone} ${UCSPI_REMOTE_HOST-gone}"\' EXIT; eval "$("$@" shell)"'

    done = subprocess.run(
        [*shell(peer, name), "-c", script, name, *ENVCHECK],
        env=CLEAN | {"UCSPI_REMOTE_IP": "192.0.2.66", "UCSPI_REMOTE_HOST": "stale.example"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.stdout == b"gone gone\n"


def test_every_name_is_set_or_unset() -> None:
    script = said(envcheck("shell", env=PEER | {"TCPREMOTEHOST": "client.example"}))

    assert [line.removeprefix("unset ").partition("=")[0] for line in script.splitlines()] == list(NAMES)
    assert "UCSPI_REMOTE_IP='2001:db8::1'" in script
    assert "UCSPI_REMOTE_PORT='4711'" in script
    assert "UCSPI_REMOTE_FAMILY='6'" in script
    assert "UCSPI_REMOTE_NETWORK='2001:db8::/64'" in script
    assert "UCSPI_REMOTE_HOST='client.example'" in script
    assert "unset UCSPI_REMOTE_INFO" in script


def test_no_assignment_for_what_is_unknown() -> None:
    assert assignments({"UCSPI_PROTO": "TCP"}).splitlines().count("UCSPI_PROTO='TCP'") == 1
    assert assignments({}).count("unset ") == len(NAMES)


def test_the_script_is_written_or_it_is_trouble() -> None:
    command = 'exec "$@" shell >&-'

    done = subprocess.run(
        ["sh", "-c", command, "sh", *ENVCHECK],
        env=CLEAN | PEER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )

    assert done.returncode == 111
    assert done.stderr == b"ucspi-envcheck: fatal: unable to write output: file descriptor not open\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--trust", "me"], "kernel, proxy, rules"),
        (["--fd", "x"], "--fd"),
        (["operand"], "no operands"),
        (["--what"], "illegal option"),
    ],
)
def test_wrong_use_is_2(arguments: list[str], reason: str) -> None:
    done = envcheck("shell", *arguments, env=PEER)

    assert done.returncode == 2
    assert reason in done.stderr.decode()
    assert said(done).endswith("exit 111\n")


def test_every_line_that_is_shown_ends_the_script_where_the_command_cannot_start() -> None:
    """``eval ""`` succeeds: without ``|| echo exit 111`` a script would go on with what it inherited."""
    root = Path(__file__).parents[2]
    shown = [
        f"{file.relative_to(root)}: {line.strip()}"
        for folder in ("docs", "examples", "ucspi_env")
        for file in sorted((root / folder).rglob("*"))
        if file.suffix in (".md", ".py", ".sh", ".1")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "$(ucspi-envcheck shell" in line
    ]

    assert len(shown) > 10
    assert [line for line in shown if "|| echo exit 111" not in line.replace("\\|", "|")] == []
