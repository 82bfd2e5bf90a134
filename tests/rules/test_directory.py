"""Rules directories: s6's documented look-up, what a hostile name cannot do, conversions that change no decision."""

from __future__ import annotations

import os
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rules import decided
from ucspi_env.tools import _rulesdir, _ruleslayout
from ucspi_env.tools._rules import Decision, RulesError
from ucspi_env.tools._rulesconvert import ConversionError, lines_of_tree, same_outcome, tree_of_lines
from ucspi_env.tools._rulesfile import RulesFile, why_unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
U = TypeVar("U")


def make(directory: Path, **rules: str) -> RulesFile:
    """``make(d, **{"ip4/192.0.2.1_32": "allow A=1"})``: one rule directory for each."""
    directory.mkdir(exist_ok=True)
    for name, text in rules.items():
        verb, *variables = text.split(" ")
        rule = directory / name
        rule.mkdir(parents=True)
        (rule / verb).touch()
        for variable in variables:
            (rule / "env").mkdir(exist_ok=True)
            key, _, value = variable.partition("=")
            (rule / "env" / key).write_text(f"{value}\n" if value else "")
    return RulesFile(str(directory))


def allowed(rules: RulesFile, ip: str, host: str | None = None, info: str | None = None) -> bool:
    return rules.decide(ip_address(ip), host, info).allowed


# --- s6's layout -----------------------------------------------------------------------------------------------------


def test_the_longest_network_decides_and_strangers_are_denied(tmp_path: Path) -> None:
    rules = make(
        tmp_path,
        **{
            "ip4/192.0.2.1_32": "deny",
            "ip4/192.0.2.0_31": "allow",
            "ip4/192.0.2.0_24": "deny",
            "ip4/192.0.0.0_9": "allow",
            "ip6/2001:db8::1_128": "deny",
            "ip6/2001:db8::_33": "allow",
            "ip6/2001:db8::_32": "deny",
            "ip6/::_0": "allow",
        },
    )

    assert not allowed(rules, "192.0.2.1")
    assert allowed(rules, "192.0.2.0")
    assert not allowed(rules, "192.0.2.9")
    assert allowed(rules, "192.1.0.0")
    assert not allowed(rules, "10.0.0.1")
    assert not allowed(rules, "2001:db8::1")
    assert allowed(rules, "2001:db8::2")
    assert not allowed(rules, "2001:db8:8000::")
    assert allowed(rules, "fe80::1")


@pytest.mark.parametrize("ip", ["2001:db8:0:1:1:1:1:1", "1:0:2:0:3:0:4:5", "::102:304"])
def test_an_address_is_named_in_the_standard_spelling(tmp_path: Path, ip: str) -> None:
    """One zero group is compressed in ucspi-tcp's spelling, and not in a directory's (RFC 5952, section 4.2.2)."""
    rules = make(tmp_path / "d", **{f"ip6/{ip}_128": "allow"})
    fd = os.open(tmp_path / "d", os.O_RDONLY)
    lines = b"".join(lines_of_tree(_rulesdir.read_tree(fd)))
    os.close(fd)

    assert allowed(rules, ip)
    assert decided(lines, ip).allowed
    assert f"ip6/{ip}_128".encode() in tree_of_lines([f"{ip}:allow\n".encode()])


def test_an_address_that_ends_in_zeros_is_no_prefix(tmp_path: Path) -> None:
    rules = make(tmp_path / "d", **{"ip6/2001:db8::_128": "allow"})
    fd = os.open(tmp_path / "d", os.O_RDONLY)
    lines = b"".join(lines_of_tree(_rulesdir.read_tree(fd)))
    os.close(fd)

    assert lines == b"2001:db8:0:0:0:0:0:0:allow\n:deny\n"
    for ip, expected in ("2001:db8::", True), ("2001:db8::1", False):
        assert allowed(rules, ip) == decided(lines, ip).allowed == expected


def test_names_come_after_networks_from_the_longest_on(tmp_path: Path) -> None:
    rules = make(
        tmp_path,
        **{
            "ip4/10.0.0.0_8": "deny",
            "reversedns/bad.example.com": "deny",
            "reversedns/example.com": "allow",
            "reversedns/org": "allow",
        },
    )

    assert not allowed(rules, "10.0.0.1", "example.com")
    assert allowed(rules, "192.0.2.1", "example.com")
    assert allowed(rules, "192.0.2.1", "a.b.example.com")
    assert not allowed(rules, "192.0.2.1", "bad.example.com")
    assert not allowed(rules, "192.0.2.1", "very.bad.example.com")
    assert allowed(rules, "192.0.2.1", "x.org.")
    assert not allowed(rules, "192.0.2.1", "badexample.com")
    assert not allowed(rules, "192.0.2.1")


def test_the_at_sign_is_for_everybody_with_a_name(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"reversedns/@": "allow"})

    assert allowed(rules, "192.0.2.1", "any.example")
    assert not allowed(rules, "192.0.2.1")
    assert not allowed(rules, "192.0.2.1", "")


def test_allow_wins_over_deny_and_neither_is_no_rule(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"ip4/192.0.2.1_32": "deny", "ip4/192.0.2.2_32": "note", "ip4/192.0.2.0_24": "allow"})
    (tmp_path / "ip4/192.0.2.1_32/allow").touch()

    assert allowed(rules, "192.0.2.1")
    assert rules.decide(IPv4Address("192.0.2.2")).key == "ip4/192.0.2.0_24"


def test_env_is_an_envdir(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"ip4/192.0.2.1_32": "allow"})
    env = tmp_path / "ip4/192.0.2.1_32/env"
    env.mkdir()
    (env / "A").write_bytes(b"one \t\ntwo\n")
    (env / "B").write_bytes(b"\n")
    (env / "C").write_bytes(b"x\0y")
    (env / "GONE").write_bytes(b"")
    (env / ".hidden").write_bytes(b"x")
    (env / "D=E").write_bytes(b"x")
    (env / "LONG").write_bytes(b"x" * 5000)

    decision = rules.decide(IPv4Address("192.0.2.1"))

    assert decision.environment == (("A", "one"), ("B", ""), ("C", "x\ny"), ("LONG", "x" * 4096))
    assert decision.unset == ("GONE",)


def test_a_rule_with_another_program_denies(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"ip4/192.0.2.1_32": "allow", "ip4/192.0.2.2_32": "allow"})
    (tmp_path / "ip4/192.0.2.1_32/exec").write_text("other-program")
    (tmp_path / "ip4/192.0.2.2_32/exec").touch()

    with pytest.raises(RulesError, match="exec"):
        allowed(rules, "192.0.2.1")
    assert allowed(rules, "192.0.2.2")


def test_a_variable_that_is_no_file_denies_without_waiting(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"ip4/192.0.2.1_32": "allow A=1"})
    os.mkfifo(tmp_path / "ip4/192.0.2.1_32/env/B")

    with pytest.raises(RulesError, match="not a regular file"):
        allowed(rules, "192.0.2.1")


def test_a_rule_that_cannot_be_seen_is_not_skipped(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"ip4/0.0.0.0_0": "allow"})
    (tmp_path / "ip4/192.0.2.1_32").mkdir()
    (tmp_path / "ip4/192.0.2.1_32/deny").symlink_to("deny")

    with pytest.raises(OSError, match="deny") as caught:
        allowed(rules, "192.0.2.1")

    assert why_unreadable(caught.value) == "symbolic link loop"


@pytest.mark.parametrize("missing_ok", [False, True])
def test_a_directory_without_the_layout_denies(tmp_path: Path, missing_ok: bool) -> None:
    (tmp_path / "etc").mkdir()

    with pytest.raises(IsADirectoryError) as caught:
        RulesFile(str(tmp_path), missing_ok=missing_ok).decide(IPv4Address("192.0.2.1"))

    assert why_unreadable(caught.value) == "is a directory"


def test_a_rule_made_or_removed_counts_from_the_next_caller_on(tmp_path: Path) -> None:
    rules = make(tmp_path, **{"ip4/192.0.2.1_32": "deny", "ip4/0.0.0.0_0": "allow"})
    assert not allowed(rules, "192.0.2.1")

    (tmp_path / "ip4/192.0.2.1_32/deny").unlink()

    assert allowed(rules, "192.0.2.1")


@pytest.mark.parametrize(
    "name",
    ["..", ".", "../ip4/192.0.2.9_32", "/", "x/../../trap", "@", "a\0b", "x" * 300, "..x", "a..", "\udcff\n", "=x"],
)
def test_a_stranger_s_words_reach_no_other_rule(tmp_path: Path, name: str) -> None:
    rules = make(
        tmp_path / "d", **{"ip4/192.0.2.9_32": "allow", "tcpserver/=known": "allow", "reversedns/known": "allow"}
    )
    make(tmp_path / "trap", ip4="allow")
    (tmp_path / "d/allow").touch()

    assert not allowed(rules, "192.0.2.1", name, name)


@given(st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_words_of_a_stranger_are_looked_up_without_trouble(tmp_path: Path, host: str, info: str) -> None:
    make(
        tmp_path,
        **({} if (tmp_path / "tcpserver").exists() else {"tcpserver/=known": "allow", "reversedns/known": "allow"}),
    )
    for path in _ruleslayout.paths(IPv6Address("::1"), host, info):
        assert b"\0" not in path
        assert all(part not in (b"", b".", b"..") for part in path.split(b"/"))
        assert path.count(b"/") == 1


def test_the_extra_section_ranks_as_in_a_file(tmp_path: Path) -> None:
    rules = make(
        tmp_path,
        **{
            "tcpserver/joe@192.0.2.1": "allow RULE=info",
            "ip4/192.0.2.1_32": "allow RULE=exact",
            "tcpserver/=mail.example": "allow RULE=host",
            "ip4/192.0.2.0_24": "allow RULE=network",
            "tcpserver/=.example": "allow RULE=suffix",
            "tcpserver/=": "allow RULE=named",
            "tcpserver/default": "allow RULE=default",
        },
    )

    def rule(ip: str, host: str | None = None, info: str | None = None) -> str:
        return dict(rules.decide(ip_address(ip), host, info).environment)["RULE"]

    assert rule("192.0.2.1", "mail.example", "joe") == "info"
    assert rule("192.0.2.1", "mail.example", "jim") == "exact"
    assert rule("192.0.2.2", "mail.example") == "host"
    assert rule("192.0.2.2", "x.example") == "network"
    assert rule("192.0.3.2", "x.example") == "suffix"
    assert rule("192.0.3.2", "x.org") == "named"
    assert rule("192.0.3.2") == "default"


# --- Conversions -----------------------------------------------------------------------------------------------------

V4 = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "10.1.1.1"]
V6 = ["2001:db8::1", "2001:db8::", "::", "2001:db8:0:1::1", "2001:db8:1::1", "::1", "fe80::1"]
HOSTS = [None, "mail.example", "example", "a.mail.example", "x.org"]
ADDRESSES = st.sampled_from(
    ["", *V4, *V6, "192.0.2.", "192.0.", "192.", "192.0.2.0/25", "0.0.0.0/0", "10.0.0.0/7", "::/0", "2001:db8:",
     "2001:db8::/33", "2001:db8:0:", "2001:db8::1:", "::", ":", "2001:db8:0:0:0:0:0:0", "::/128",
     "::ffff:192.0.2.1", "::ffff:", "=mail.example",
     "=.example", "=example", "=", "=.org", "joe@192.0.2.1", "joe@=mail.example", "joe@::1", "nobody", "192.0.2.1-2"]
)  # fmt: skip
RULES = st.lists(
    st.builds("{}:{}".format, ADDRESSES, st.sampled_from(["allow", "deny", 'allow,A="1"', 'allow,A="\'/|",B=""'])),
    max_size=10,
)


def callers() -> list[tuple[str, str | None, str | None]]:
    return [(ip, host, info) for ip in V4 + V6 for host in HOSTS for info in (None, "joe")]


def converted(convert: Callable[[T], U], rules: T, acceptable: str) -> U | None:
    """The conversion, None where it is refused for the one reason that these rules can give."""
    try:
        return convert(rules)
    except ConversionError as error:
        problems = error.problems
    assert all(acceptable in problem for problem in problems)
    return None


@given(RULES)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_a_directory_made_of_a_file_decides_alike_and_so_does_the_file_made_of_that(
    tmp_path_factory: pytest.TempPathFactory, rules: list[str]
) -> None:
    lines = [f"{rule}\n".encode() for rule in rules]
    tree = converted(tree_of_lines, lines, "same network")
    if tree is None:
        return
    path = str(tmp_path_factory.mktemp("rules") / "d")
    _rulesdir.write_tree(path, tree)
    directory = RulesFile(path)
    fd = os.open(path, os.O_RDONLY)
    back = b"".join(lines_of_tree(_rulesdir.read_tree(fd)))
    os.close(fd)

    for ip, host, info in callers()[::3]:
        by_file = decided(b"".join(lines), ip, host, info)
        assert same_outcome(directory.decide(ip_address(ip), host, info), by_file), (ip, host, info)
        assert same_outcome(decided(back, ip, host, info), by_file), (ip, host, info, back)


NAMES = ["ip4/192.0.2.1_32", "ip4/192.0.2.0_24", "ip4/192.0.0.0_9", "ip4/0.0.0.0_0", "ip6/2001:db8::1_128",
         "ip6/2001:db8::_32",
         "ip6/2001:db8::_48", "ip6/::_0", "reversedns/example", "reversedns/mail.example", "reversedns/@"]  # fmt: skip
TREES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["allow", "deny", "allow A=1"]), min_size=1)


@given(TREES)
@settings(deadline=None, max_examples=60)
def test_a_file_made_of_s6_s_directory_decides_alike(
    tmp_path_factory: pytest.TempPathFactory, rules: dict[str, str]
) -> None:
    path = tmp_path_factory.mktemp("rules")
    directory = make(path, **rules)
    fd = os.open(path, os.O_RDONLY)
    tree = _rulesdir.read_tree(fd)
    os.close(fd)
    converted_lines = converted(lines_of_tree, tree, "would outrank")
    if converted_lines is None:
        return
    lines = b"".join(converted_lines)

    for ip, host, info in callers()[::3]:
        assert same_outcome(decided(lines, ip, host, info), directory.decide(ip_address(ip), host, info)), (ip, host)


def test_lines_are_such_as_c_knows_where_they_can_be() -> None:
    tree = {
        b"ip4/10.0.0.0_8": Decision(True, (("RELAYCLIENT", ""),)),
        b"ip4/10.0.0.0_9": Decision(False),
        b"ip6/2001:db8::_32": Decision(False),
        b"ip6/2001::_32": Decision(False),
        b"ip6/2001:db8:0:1:1:1:1:1_128": Decision(True, (("A", 'x"y'),)),
    }

    assert lines_of_tree(tree) == [
        b'10.:allow,RELAYCLIENT=""\n',
        b"10.0.0.0/9:deny\n",
        b"2001:db8::deny\n",
        b"2001::/32:deny\n",
        b"2001:db8::1:1:1:1:1:allow,A=/x\"y/\n",
        b":deny\n",
    ]  # fmt: skip


@pytest.mark.parametrize("address", ["nobody", "256.", "1" * 5000 + "."])
def test_a_rule_that_can_match_nobody_is_no_rule_of_a_directory(address: str) -> None:
    assert tree_of_lines([address.encode() + b":deny\n"]) == tree_of_lines([])


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ('1.2.3.4:allow,A="x "', "ends with a blank"),
        ('1.2.3.4:allow,.A="x"', "no file in an env directory"),
        ('1.2.3.4:allow,A/B="x"', "no file in an env directory"),
        (f'1.2.3.4:allow,A="{"x" * 4096}"', "longer than env directories"),
        ("a/b@1.2.3.4:deny", "no file can have this name"),
        (f"={'x' * 300}:deny", "no file can have this name"),
        ("2001:db8:::deny\n2001:db8::allow", "same network as '2001:db8::' in line 1"),
    ],
)
def test_a_file_that_a_directory_cannot_carry_is_refused(rule: str, problem: str) -> None:
    with pytest.raises(ConversionError, match="line") as caught:
        tree_of_lines([line + b"\n" for line in rule.encode().split(b"\n")])

    assert problem in caught.value.problems[0]


@pytest.mark.parametrize(
    ("path", "decision", "problem"),
    [
        (b"ip4/10.0.0.1_8", Decision(False), "bits beyond its length"),
        (b"ip4/10.0.0.0", Decision(False), "not named after a network"),
        (b"ip6/2001:DB8::_32", Decision(False), "usual spelling"),
        (b"ip4/::_0", Decision(False), "not named after a network"),
        (b"ip4/10.0.0.0_8", Decision(True, unset=("A",)), "cannot remove variables"),
        (b"ip4/10.0.0.0_8", Decision(True, (("A", "x\ny"),)), "more than one line"),
    ],
)
def test_a_directory_that_a_file_cannot_carry_is_refused(path: bytes, decision: Decision, problem: str) -> None:
    with pytest.raises(ConversionError, match=problem):
        lines_of_tree({path: decision})


def test_a_new_directory_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(FileExistsError):
        _rulesdir.write_tree(str(tmp_path / "d"), {})
    with pytest.raises(OSError, match="name too long"):
        _rulesdir.write_tree(str(tmp_path / "e"), {b"tcpserver/" + b"x" * 300: Decision(True)})

    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]


def test_a_symbolic_link_is_switched_and_the_old_directory_stays(tmp_path: Path) -> None:
    make(tmp_path / "old", **{"ip4/0.0.0.0_0": "deny"})
    (tmp_path / "rules").symlink_to("old")
    rules = RulesFile(str(tmp_path / "rules"))
    assert not allowed(rules, "192.0.2.1")

    _rulesdir.write_tree(str(tmp_path / "rules"), tree_of_lines([b":allow\n"]))

    assert allowed(rules, "192.0.2.1")
    assert (tmp_path / "rules").is_symlink()
    assert not RulesFile(str(tmp_path / "old")).decide(IPv4Address("192.0.2.1")).allowed


@pytest.mark.peer("s6-accessrules-cdb-from-fs")
def test_s6_compiles_a_directory_of_ours(tmp_path: Path, peer: Callable[[str], str]) -> None:
    rules = [b'10.:allow,RELAYCLIENT="",A="x"\n', b"2001:db8::/33:deny\n", b"=mail.example:allow\n", b":deny\n"]
    _rulesdir.write_tree(str(tmp_path / "d"), tree_of_lines(rules))

    subprocess.run([peer("s6-accessrules-cdb-from-fs"), tmp_path / "s6.cdb", tmp_path / "d"], check=True)

    cdb = (tmp_path / "s6.cdb").read_bytes()
    for name in (b"ip4/10.0.0.0_8", b"ip6/2001:db8::_33", b"ip4/0.0.0.0_0", b"ip6/::_0"):
        assert name in cdb
    assert b"RELAYCLIENT=\0" in cdb
