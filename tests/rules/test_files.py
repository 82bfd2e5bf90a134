"""Rules as files: each decision is by what lies there now; what cannot be read lets nobody in, and stops nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest

from tests.rules import compiled
from ucspi_env.tools import _rulesfile
from ucspi_env.tools._cdb import dumps
from ucspi_env.tools._rules import Decision, RulesError, decide
from ucspi_env.tools._rulesfile import RulesFile, why_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

IP = IPv4Address("192.0.2.1")


def put(path: Path, rules: bytes) -> None:
    """Replace the rules as tcprules does."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(compiled(rules))
    temporary.rename(path)


def test_a_replaced_file_counts_from_the_next_caller_on(tmp_path: Path) -> None:
    path = tmp_path / "r.cdb"
    rules = RulesFile(str(path))
    for verb in ("allow", "deny") * 20:  # faster than the clock of the file system
        put(path, f'192.0.2.1:{verb},A="{verb}"\n'.encode())

        assert rules.decide(IP).allowed == (verb == "allow")


def test_a_file_rewritten_in_place_counts_too(tmp_path: Path) -> None:
    path = tmp_path / "r.cdb"
    rules = RulesFile(str(path))
    for verb in ("allow", "deny ") * 20:
        path.write_bytes(dumps([(b"192.0.2.1", b"D\0" if verb == "deny " else b"X\0")]))

        assert rules.decide(IP).allowed == (verb == "allow")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The callers that a file was searched for."""
    found: list[object] = []

    def noting(find: Callable[[bytes], bytes | None], *caller: Any) -> Decision:
        found.append(caller)
        return decide(find, *caller)

    monkeypatch.setattr(_rulesfile, "decide", noting)
    return found


def test_a_file_that_has_not_changed_is_searched_once_for_each_caller(
    tmp_path: Path, searches: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rulesfile, "SETTLED", -1)
    path = tmp_path / "r.cdb"
    put(path, b"joe@192.0.2.1:deny\n=a.example:deny\n")
    rules = RulesFile(str(path))
    callers: list[tuple[IPv4Address | IPv6Address, str | None, str | None]] = [
        (IP, None, "joe"),
        (IP, "a.example", None),
        (IP, None, None),
        (IPv6Address("::1"), None, None),
    ]
    for _ in range(3):
        assert [rules.decide(*caller).allowed for caller in callers] == [False, False, True, True]
    assert searches == callers
    put(path, b"192.0.2.1:deny\n")
    assert not rules.decide(IP).allowed
    path.write_bytes(dumps([]))
    assert rules.decide(IP).allowed
    for number in range(2 * _rulesfile.REMEMBERED):
        rules.decide(IPv4Address(number))
    assert len(rules._decisions) <= _rulesfile.REMEMBERED
    path.write_bytes(b"")
    with pytest.raises(RulesError):
        rules.decide(IP)


def test_a_file_that_has_just_changed_is_searched_each_time(tmp_path: Path, searches: list[object]) -> None:
    path = tmp_path / "r.cdb"
    put(path, b"192.0.2.1:deny\n")
    rules = RulesFile(str(path))
    assert not any(rules.decide(IP).allowed for _ in range(3))
    assert len(searches) == 3


def test_the_decision_names_rule_and_variables(tmp_path: Path) -> None:
    path = tmp_path / "r.cdb"
    put(path, b'joe@192.0.2.1:allow,A="1",B="",A="2"\n=mail.example:deny\n192.0.2.0/25:allow\n')

    assert RulesFile(str(path)).decide(IP, None, "joe") == Decision(
        True, (("A", "1"), ("B", ""), ("A", "2")), "joe@192.0.2.1"
    )
    assert RulesFile(str(path)).decide(IP, "mail.example", None) == Decision(False, (), "=mail.example")
    assert RulesFile(str(path)).decide(IP) == Decision(True, (), "192.0.2.0/25")
    assert RulesFile(str(path)).decide(IPv6Address("::1")) == Decision(True)


def test_a_missing_file_denies_and_only_minus_x_lets_in(tmp_path: Path) -> None:
    path = str(tmp_path / "r.cdb")
    with pytest.raises(FileNotFoundError) as caught:
        RulesFile(path).decide(IP)

    assert why_unreadable(caught.value) == "file does not exist"
    assert RulesFile(path, missing_ok=True).decide(IP) == Decision(True)


def test_minus_x_forgives_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        RulesFile(str(tmp_path / "file" / "r.cdb"), missing_ok=True).decide(IP)
    with pytest.raises(RulesError):
        RulesFile(str(tmp_path / "file"), missing_ok=True).decide(IP)


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2060])
def test_a_truncated_file_denies_with_c_s_words(tmp_path: Path, size: int) -> None:
    path = tmp_path / "r.cdb"
    path.write_bytes(compiled(b"192.0.2.1:allow\n")[:size])

    with pytest.raises(RulesError) as caught:
        RulesFile(str(path)).decide(IP)

    assert why_unreadable(caught.value) == "protocol error"


def test_a_damaged_index_of_networks_denies(tmp_path: Path) -> None:
    path = tmp_path / "r.cdb"
    path.write_bytes(dumps([(b"\0", b"garbage")]))

    with pytest.raises(RulesError, match="index"):
        RulesFile(str(path)).decide(IP)


def test_a_fifo_does_not_hold_the_server_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(OSError, match="fifo") as caught:
        RulesFile(str(tmp_path / "fifo")).decide(IP)

    assert caught.value.errno == errno.EINVAL
    assert why_unreadable(caught.value) == "invalid argument"


def test_a_device_is_no_rules_file() -> None:
    with pytest.raises(OSError, match="null"):
        RulesFile("/dev/null").decide(IP)


def test_an_unreadable_file_denies(tmp_path: Path) -> None:
    """A symbolic link to itself cannot be opened by the superuser either."""
    (tmp_path / "loop").symlink_to("loop")

    with pytest.raises(OSError, match="loop") as caught:
        RulesFile(str(tmp_path / "loop"), missing_ok=True).decide(IP)

    assert why_unreadable(caught.value) == "symbolic link loop"


def test_decisions_leave_no_descriptor_open(tmp_path: Path) -> None:
    path = tmp_path / "r.cdb"
    put(path, b"192.0.2.1:deny\n")
    rules = RulesFile(str(path))
    lowest = os.dup(0)
    os.close(lowest)

    for _ in range(5):
        rules.decide(IP)
    path.write_bytes(b"")
    with pytest.raises(RulesError):
        rules.decide(IP)

    after = os.dup(0)
    os.close(after)
    assert after == lowest


def test_a_file_that_is_truncated_and_rewritten_under_the_server_never_kills_it(tmp_path: Path) -> None:
    """What ``cp new rules.cdb`` does: a process that has mapped the file dies of it. Here, callers are denied."""
    path = tmp_path / "r.cdb"
    whole = compiled(
        b"".join(b"10.%d.%d.1:deny\n" % (number >> 8, number & 255) for number in range(5000)) + b":deny\n"
    )
    path.write_bytes(whole)
    looking = """
import sys
from ipaddress import IPv4Address
from ucspi_env.tools._rulesfile import RulesFile
from ucspi_env.tools._rules import RulesError
rules = RulesFile(sys.argv[1])
print("ready", flush=True)
wrong = answers = errors = 0
while not (answers > 200 and errors > 20):
    try:
        decision = rules.decide(IPv4Address("10.1.2.1"))
    except RulesError:
        errors += 1
    else:
        answers += 1
        wrong += decision.allowed
print(wrong, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", looking, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        ended = threading.Event()

        def wait() -> None:
            process.wait()
            ended.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        with path.open("rb+") as file:
            while not ended.is_set():
                file.truncate(0)
                for start in range(0, len(whole), 1 << 16):
                    os.pwrite(file.fileno(), whole[start : start + (1 << 16)], start)
        waiter.join()
        report = process.stdout.read()

    assert process.returncode == 0
    assert report == "0\n", "somebody was let in by half a file"
