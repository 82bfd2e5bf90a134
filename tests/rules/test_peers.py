"""Side by side with Debian's tcprules and tcprulescheck: the same bytes and decisions; the sharp edges shown."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rules import compiled, decided
from tests.support import Server, call, tool
from ucspi_env._address import djb_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.peer("tcprules", "tcprulescheck")
OURS = tool("tcprules")
CHECK = tool("tcprulescheck")
slow_start = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class C:
    """Debian's programs in one directory."""

    def __init__(self, peer: Callable[[str], str], directory: Path) -> None:
        self.tcprules, self.tcprulescheck, self.directory = peer("tcprules"), peer("tcprulescheck"), directory

    def compile(self, rules: bytes) -> subprocess.CompletedProcess[bytes]:
        # A line that it cannot split keeps it busy for ever (A2): it gets one second of processor time.
        return subprocess.run(
            [self.tcprules, "c.cdb", "c.tmp"],
            input=rules,
            cwd=self.directory,
            capture_output=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (1, 2)),
        )

    def compiled(self, rules: bytes) -> bytes:
        done = self.compile(rules)
        assert (done.returncode, done.stderr) == (0, b"")
        return (self.directory / "c.cdb").read_bytes()

    def check(self, cdb: bytes, **caller: str) -> subprocess.CompletedProcess[bytes]:
        (self.directory / "checked.cdb").write_bytes(cdb)
        return ask([self.tcprulescheck, "checked.cdb"], self.directory, **caller)


def ask(command: list[str], directory: Path, **caller: str) -> subprocess.CompletedProcess[bytes]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TCP")}
    return subprocess.run(command, cwd=directory, env={**environ, **caller}, capture_output=True, check=False)


@pytest.fixture
def c(peer: Callable[[str], str], tmp_path: Path) -> C:
    return C(peer, tmp_path)


GROUPS = st.lists(st.sampled_from([0, 0, 1, 2, 0xDB8, 0xFFFF]), min_size=8, max_size=8)
V6 = GROUPS.map(lambda groups: IPv6Address(b"".join(group.to_bytes(2, "big") for group in groups)))
CALLERS6 = V6.filter(lambda ip: ip.ipv4_mapped is None)
CALLERS4 = st.lists(st.integers(0, 3), min_size=4, max_size=4).map(lambda octets: IPv4Address(bytes(octets)))


def prefixes(text: str) -> Iterator[str]:
    for place, character in enumerate(text):
        if character in ".:":
            yield text[: place + 1]


HOSTS = st.sampled_from(["mail.example", "example", "a-b.mail.example", ""])
ADDRESSES = st.one_of(
    CALLERS4.map(str),
    CALLERS6.map(djb_text),
    (CALLERS4.map(str) | CALLERS6.map(djb_text)).flatmap(lambda text: st.sampled_from(list(prefixes(text)))),
    st.sampled_from(["1.2.3.0-3", "0-2.", "1.1-1.", "::ffff:1.2.3.0-2", "::ffff:1.2."]),
    st.sampled_from(["=", "=.example", "=.mail.example", "", ":", "::"]),
    HOSTS.map("={}".format),
    st.builds("{}@{}".format, st.sampled_from(["joe", "", "a@b", "x-y"]), CALLERS4.map(str) | CALLERS6.map(djb_text)),
    st.sampled_from(["joe@=mail.example", "1.2.3", "host.example", " 1.2.3.4", "joe@", "a b"]),
)  # fmt: skip
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"'), max_size=8)
VARIABLES = st.lists(st.builds('{}="{}"'.format, st.sampled_from(["A", "RELAYCLIENT", "B_2", "é"]), VALUES), max_size=3)
LINES = st.one_of(
    st.builds(
        lambda address, verb, variables, blanks: f"{address}:{','.join([verb, *variables])}{blanks}",
        ADDRESSES,
        st.sampled_from(["allow", "deny"]),
        VARIABLES,
        st.sampled_from(["", "", " ", "\t "]),
    ),
    st.sampled_from(["", "#", "# 1.2.3.4:deny"]),
)
RULES = st.lists(LINES, max_size=25).map(lambda lines: "\n".join(lines).encode())


@given(rules=RULES)
@slow_start
def test_the_file_is_c_s_byte_for_byte(c: C, rules: bytes) -> None:
    assert compiled(rules) == c.compiled(rules)


def test_a_large_file_is_c_s_byte_for_byte(c: C) -> None:
    rules = b"".join(
        b"%d.%d.%d.%d:%b\n"
        % (number % 7, number >> 12, number >> 6 & 63, number & 63, b"deny" if number % 3 else b'allow,A="1"')
        for number in range(30_000)
    ) + b"".join(b"2001:db8:%x::%x:deny\n" % (number, number + 1) for number in range(1, 5000))

    assert compiled(rules) == c.compiled(rules)


def by_value_only(address: str) -> bool:
    """Whether an address is a prefix that means more here than in C."""
    return address.endswith(":") and ("0" in address.split(":") or (address.endswith("::") and len(address) > 2))


PLAIN_RULES = st.lists(
    st.tuples(ADDRESSES.filter(lambda address: not by_value_only(address)), st.sampled_from(["allow", "deny"])),
    max_size=20,
).map(
    lambda rules: "".join(f'{address}:{verb},R="{number}"\n' for number, (address, verb) in enumerate(rules)).encode()
)


@given(
    rules=PLAIN_RULES,
    ip=CALLERS4 | CALLERS6,
    host=st.none() | HOSTS,
    info=st.none() | st.sampled_from(["joe", "", "a@b"]),
)
@slow_start
def test_the_decision_is_c_s(
    c: C, rules: bytes, ip: IPv4Address | IPv6Address, host: str | None, info: str | None
) -> None:
    # Rules for mapped addresses hold for IPv4 callers here (A16), so they are left out.
    rules = b"".join(line for line in rules.splitlines(keepends=True) if b"::ffff:" not in line)
    caller = {"TCPREMOTEIP": djb_text(ip)}
    if host is not None:
        caller["TCPREMOTEHOST"] = host
    if info is not None:
        caller["TCPREMOTEINFO"] = info
    cdb = compiled(rules)

    decision = decided(rules, str(ip), host, info)
    theirs = c.check(cdb, **caller).stdout.decode().splitlines()

    assert theirs[0] == ("default:" if decision.key is None else f"rule {decision.key}:")
    assert theirs[-1] == ("allow connection" if decision.allowed else "deny connection")
    if decision.allowed:
        assert theirs[1:-1] == [f"set environment variable {name}={value}" for name, value in decision.environment]


@pytest.mark.parametrize("ip", ["1.2.3.4", "1.2.9.9", "9.9.9.9", "2001:db8::1", "2001:db9::1"])
def test_c_sees_the_prefixes_of_a_file_with_networks(c: C, ip: str) -> None:
    plain = b"1.2.3.4:deny\n2001:db8::1:deny\n"
    networks = b'9.128.0.0/9:deny\n1.2.0.0/16:allow,A="b"\nfe80::/10:deny\n2001:db9::/32:deny\n'
    seen_by_c = plain + b'1.2.:allow,A="b"\n2001:db9::deny\n'

    assert (
        c.check(compiled(plain + networks), TCPREMOTEIP=ip).stdout
        == c.check(compiled(seen_by_c), TCPREMOTEIP=ip).stdout
    )


@pytest.mark.peer("tcpserver")
def test_c_s_tcpserver_follows_what_it_can_see_in_a_file_with_networks(
    tcpserver: Callable[..., Server], peer: Callable[[str], str], tmp_path: Path
) -> None:
    rules = (
        b'127.0.0.9:allow,BY="address"\n127.0.0.:allow,BY="prefix"\n127.128.0.0/16:deny\n127.3.0.0/16:allow,BY="/16"\n'
        b"127.0.0.0/9:deny\n127.192.0.0/10:deny\n"
    )
    (tmp_path / "rules.cdb").write_bytes(compiled(rules))

    def answers(*command: str) -> dict[str, bytes]:
        program = ("sh", "-c", 'echo "${BY-no rule}"')
        with tcpserver("-RHl0", "-x", "rules.cdb", "127.0.0.1", "0", *program, command=command, cwd=tmp_path) as server:
            callers = ("127.0.0.9", "127.0.0.8", "127.128.0.1", "127.3.0.1", "127.1.0.1", "127.200.0.1")
            return {caller: call(server.port, source=caller).data for caller in callers}

    seen_by_both = {
        "127.0.0.9": b"address\n",
        "127.0.0.8": b"prefix\n",
        "127.128.0.1": b"",
        "127.3.0.1": b"/16\n",
    }
    assert answers(*tool("tcpserver")) == {**seen_by_both, "127.1.0.1": b"", "127.200.0.1": b""}
    # As tcprules warns: these networks are none that C has a prefix for.
    assert answers(peer("tcpserver")) == {**seen_by_both, "127.1.0.1": b"no rule\n", "127.200.0.1": b"no rule\n"}


# --- Sharp edges: what C does, what ours does ------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["1.2.3.4:alow", "1.2.3.4", "   "])
def test_a2_a_line_without_a_verb_hangs_c_and_is_an_error_here(c: C, tmp_path: Path, line: str) -> None:
    rules = f"1.1.1.1:deny\n{line}\n".encode()
    assert c.compile(rules).returncode in (-signal.SIGXCPU, -signal.SIGKILL)

    done = subprocess.run([*OURS, "r.cdb", "r.tmp"], input=rules, cwd=tmp_path, capture_output=True, check=False)

    assert done.returncode == 100
    assert done.stderr.decode().splitlines() == [
        f"tcprules: fatal: unable to parse this line: {line.rstrip()}",
        "tcprules: line 2: no :allow or :deny follows the address",
    ]


def test_a8_a_directory_that_holds_no_rules_kills_c_and_denies_here(c: C, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert ask([c.tcprulescheck, "d"], tmp_path).returncode == -signal.SIGSEGV

    ours = ask([*CHECK, "d"], tmp_path)

    assert (ours.returncode, ours.stdout) == (111, b"")
    assert ours.stderr == b"tcprulescheck: fatal: unable to read d: is a directory\n"


def test_a8_an_empty_file_is_called_by_its_name(c: C, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert b"invalid argument" in ask([c.tcprulescheck, "empty"], tmp_path).stderr

    ours = ask([*CHECK, "empty"], tmp_path)

    assert ours.returncode == 111
    assert ours.stderr.decode().splitlines() == [
        "tcprulescheck: fatal: unable to read empty: protocol error",
        "tcprulescheck: the file ends before byte 2048",
    ]


def test_a16_rules_for_ipv4_hold_for_what_tcpserver_6_looks_up(c: C) -> None:
    rules = b"127.0.0.1:deny\n"
    assert b"allow connection" in c.check(c.compiled(rules), TCPREMOTEIP="::ffff:127.0.0.1").stdout

    assert decided(rules, "127.0.0.1").allowed is False
    assert decided(b"::ffff:127.0.0.1:deny\n", "127.0.0.1").allowed is False


@pytest.mark.parametrize(
    ("rule", "ip"),
    [
        ("2001:db8:0:", "2001:db8::1"),
        ("FE80::1", "fe80::1"),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8::", "2001:db8:1::1"),
    ],
)
def test_a25_ipv6_rules_are_spellings_in_c_and_values_here(c: C, rule: str, ip: str) -> None:
    rules = f"{rule}:deny\n".encode()
    assert b"allow connection" in c.check(c.compiled(rules), TCPREMOTEIP=ip).stdout

    assert decided(rules, ip).allowed is False


def test_a25_an_address_that_c_would_miss_is_stored_so_that_c_finds_it(c: C) -> None:
    assert b"deny connection" in c.check(compiled(b"FE80::1:deny\n"), TCPREMOTEIP="fe80::1").stdout


def test_a35_nothing_is_read_behind_the_line(c: C, tmp_path: Path) -> None:
    rules = b"1.2.3.4:deny\n1.2.3.4:"
    # The stale "deny" of the line before is taken for this line's.
    assert c.compile(rules).returncode == 100

    done = subprocess.run([*OURS, "r.cdb", "r.tmp"], input=rules, cwd=tmp_path, capture_output=True, check=False)

    assert done.stderr.decode().splitlines()[1] == "tcprules: line 2: no :allow or :deny follows the address"


def test_a35_a_carriage_return_is_named(c: C, tmp_path: Path) -> None:
    rules = b"1.2.3.4:deny\r\n"
    theirs = c.compile(rules)
    done = subprocess.run([*OURS, "r.cdb", "r.tmp"], input=rules, cwd=tmp_path, capture_output=True, check=False)

    assert (theirs.returncode, done.returncode) == (100, 100)
    assert done.stderr.splitlines(keepends=True)[0] == theirs.stderr
    assert b"line 1: it ends with a carriage return" in done.stderr


@pytest.mark.parametrize(("line", "name"), [(b'1.2.3.4:allow,="v"', "''"), (b'1.2.3.4:allow, B="v"', "' B'")])
def test_a40_names_that_no_environment_should_have_are_refused(c: C, tmp_path: Path, line: bytes, name: str) -> None:
    assert b"=v\n" in c.check(c.compiled(line), TCPREMOTEIP="1.2.3.4").stdout

    done = subprocess.run([*OURS, "r.cdb", "r.tmp"], input=line, cwd=tmp_path, capture_output=True, check=False)

    assert done.returncode == 100
    assert f"{name} cannot be the name of a variable" in done.stderr.decode()
