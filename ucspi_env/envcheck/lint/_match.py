"""Questions that several rules ask: is this text an address, is this pattern IPv4-only, what follows a failed test?"""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._tokens import Literal
    from ucspi_env.envcheck.lint._unit import Unit, Use

_LONG: Final = 1500


@lru_cache(maxsize=1024)
def _remembered(pattern: str, text: str, flags: int) -> re.Match[str] | None:
    return re.search(pattern, text, flags)


def search(pattern: str, text: str, flags: int = 0) -> re.Match[str] | None:
    """Do as `re.search`, and remember the answer for long texts: rules ask the same of a function for each of its uses."""
    if len(text) < _LONG:
        return re.search(pattern, text, flags)
    return _remembered(pattern, text, flags)


def forget() -> None:
    """Drop what `search` remembers; a file's answers are of no use for the next file."""
    _remembered.cache_clear()


QUAD: Final = re.compile(r"(?:::ffff:)?\d{1,3}(?:\.\d{1,3}){3}(?:/\d+)?\Z")
_LOCAL: Final = frozenset({"localhost", "::1", "0:0:0:0:0:0:0:1"})
PREFIX: Final = re.compile(r"\d{1,3}\.(?:\d{1,3}\.?){0,2}\*?\Z")
SENTINELS: Final = frozenset({"127.0.0.1", "0.0.0.0", "localhost", "255.255.255.255", "1.2.3.4", "0"})  # noqa: S104 - looked for, not bound to

_DIGITS: Final = r"(?:\\d|\[[^\]]{0,3}0-?9[^\]]{0,3}\]|\[\[:digit:\]\]|\[0-2\]\?|25\[0-5\]|\[0-9\])"
_GROUP_DOT: Final = re.compile(_DIGITS + r"[^\\\[.]{0,40}(?:\\{1,2}\.|\[\.\]|\[\\\.\])")
_REPEATED: Final = re.compile(_DIGITS + r".{0,40}?(?:\\{1,2}\.|\[\.\])\)?\)?(?:\\?\{3(?:\\?\})|\{2,3\})")
_CLASS: Final = re.compile(r"\[(?:\^)?(?:(?:0-9|\\d|\\?\.|\[:digit:\]|/|-)){2,5}\]")
_FIXED: Final = re.compile(r"\^?(?:\(\?:)?(\d{1,3})(?:\\\.|\[\.\]|\.)(?:\d|\\|\[|\$|\Z|\(|\||\.)")
_ALTERNATIVES: Final = re.compile(r"\^\(?(?:\?:)?\d{1,3}(?:\\\.\d{0,3}){0,3}(?:\|\d{1,3}(?:\\\.\d{0,3}){0,3})+\)")
SIX_IN_PATTERN: Final = re.compile(
    r"a-f|A-F|xdigit|[0-9a-f]:|:\]|:(?!(?:digit|alnum|alpha|space|upper|lower|punct|print):?\])[^?=!<]"
)


def is_address(text: str) -> bool:
    """Say whether a literal is one IPv4 address or a name of the loopback."""
    return QUAD.match(text) is not None or text in _LOCAL


def is_prefix(text: str) -> bool:
    """Say whether a literal is the leading part of a dotted quad, such as ``192.168.``."""
    return "." in text and PREFIX.match(text) is not None and QUAD.match(text) is None


def pattern_sort(pattern: str) -> str | None:
    """Say what a pattern takes an address for.

    Returns:
        "quad" (four groups), "class" (digits and dots only), "address" (one fixed address), "prefix" (a fixed beginning),
        "colon" (a test for IPv6 by its colon), "mapped", or None for a pattern that says nothing about families.
    """
    if len(pattern) > 2000:
        return None
    if search(r"(?i):(?:\(\?:)?f\{?[f4(]", pattern):
        return "mapped"
    if _ALTERNATIVES.match(pattern):
        return "prefix"
    fixed = _FIXED.match(pattern)
    if fixed:
        digits = re.findall(r"\d+", pattern)
        plain = re.sub(r"\\\.|\[\.\]|\.|\d|[\^$()|?:]", "", pattern)
        if len(digits) >= 4 and not plain and "|" not in pattern:
            return "address"
        return "prefix"
    if re.fullmatch(r"\^?(?:\\?:){1,2}|\[:\]|:", pattern):
        return "colon"
    if SIX_IN_PATTERN.search(pattern):
        return None
    if _REPEATED.search(pattern) or len(_GROUP_DOT.findall(pattern)) >= 3:
        return "quad"
    groups = len(_GROUP_DOT.findall(pattern))
    if groups and pattern.startswith(("^", "(", "\\A", "\\b")):
        return "quad"
    if groups == 2:
        return "quad"
    if _CLASS.search(pattern):
        return "class"
    return None


def quoted(text: str) -> str | None:
    """Return the content of ``text`` when it is exactly one quoted string."""
    text = text.strip()
    match = re.fullmatch(
        r"(?:b|L|u8|@|f|r)?([\"'`])((?:(?!\1)[^\\]|\\.)*)\1(?:\.to_string\(\)|\.into\(\)|\.as_bytes\(\))?",
        text,
        re.DOTALL,
    )
    return match[2] if match else None


@dataclass(frozen=True, slots=True)
class Match:
    """A pattern that is applied to a value from the peer."""

    use: Use
    pattern: str
    offset: int
    negated: bool
    literal: Literal | None


_OPERATOR: Final = re.compile(r"[\"')}\s]*(=~|!~|~)\s*")
_GLOB_TO_PATTERN: Final = {"*": "\\d+", "?": "."}


def matches(unit: Unit) -> Iterator[Match]:
    """Yield the patterns applied to addresses, in whatever way the language does it."""
    language = unit.language
    for use in unit.uses_of("ip"):
        yield from _operator_matches(unit, use)
        if language in ("php", "go", "rust", "ruby", "c", "cpp", "awk"):
            yield from _call_matches(unit, use)
        if language == "sh":
            yield from _shell_matches(unit, use)


def _operator_matches(unit: Unit, use: Use) -> Iterator[Match]:
    if unit.language not in ("perl", "ruby", "awk", "sh"):
        return
    operator = _OPERATOR.match(unit.code, use.end, use.end + 40)
    if not operator or (operator[1] == "~" and unit.language != "awk"):
        return
    if unit.language == "sh":
        rest = unit.line_after(operator.end())
        pattern = re.split(r"\s+\]\]|\s&&|\s\|\|", rest)[0].strip("'\"")
        yield Match(use, pattern, use.start, False, None)
        return
    literal = unit.literal_at(operator.end())
    if literal is not None and literal.kind in ("regex", "subst", "string", "raw", "tr"):
        content = unit.content(literal)
        pattern = f"[{content}]" if literal.kind == "tr" else content
        yield Match(use, pattern, use.start, operator[1] == "!~", literal)


_MATCHERS: Final = re.compile(
    r"(?:preg_\w+|ereg\w*|MatchString|match\w*|is_match|captures|find|regexec|fnmatch|gsub|sub|FindStringSubmatch|scan|mb_ereg|wildmat\w*|matchregex|match\?)\Z"
)


def _call_matches(unit: Unit, use: Use) -> Iterator[Match]:
    call = unit.call(use.start)
    if call is not None and _MATCHERS.search(call.last):
        first = next(iter(unit.literals_in(call.open, min(call.close, call.open + 800))), None)
        if first is not None:
            yield Match(use, unit.content(first).strip("/#~"), call.open - len(call.last), False, first)
            return
        line = unit.statement_text(use.start)
        compiled = search(r"(?:MustCompile|Regex::new|Compile)\(\s*r?[\"`']", line)
        if compiled:
            start = unit.statement(use.start)[0] + compiled.end() - 1
            literal = unit.literal_at(start)
            if literal is not None:
                yield Match(use, unit.content(literal), use.start, False, literal)
                return
        name = call.name.rpartition(".")[0]
        if name:
            defined = search(
                rf"\b{re.escape(name)}\s*:?=\s*(?:regexp\.)?(?:MustCompile|Compile|Regex::new)\(\s*r?([\"`'])",
                unit.code,
            )
            if defined:
                literal = unit.literal_at(defined.end() - 1)
                if literal is not None:
                    yield Match(use, unit.content(literal), use.start, False, literal)
    method = re.compile(r"\s*\.\s*(match\??|scan|sub!?|gsub!?|=~|slice|start_with\?)\s*\(?\s*(?=[/%\"'])").match(
        unit.code, use.end, use.end + 400
    )
    if method:
        literal = unit.literal_at(method.end())
        if literal is not None and literal.kind in ("regex", "string", "raw") and not method[1].startswith("start"):
            yield Match(use, unit.content(literal), use.start, False, literal)
    subscript = re.compile(r"\[\s*(?=/)").match(unit.code, use.end, use.end + 400)
    if subscript:
        literal = unit.literal_at(subscript.end())
        if literal is not None and literal.kind == "regex":
            yield Match(use, unit.content(literal), use.start, False, literal)


def _shell_matches(unit: Unit, use: Use) -> Iterator[Match]:
    rest = unit.line_after(use.end)
    piped = re.match(r"[\"'}\s]*\|\s*(?:e?grep|grep|sed|awk|gawk|expr)\b(?:\s+-\S+)*\s+", rest)
    if piped:
        literal = unit.literal_at(use.end + piped.end())
        pattern = unit.content(literal) if literal is not None else rest[piped.end() :].split(" ")[0].split("|")[0]
        if "grep" in piped[0]:
            yield Match(use, pattern, use.start, False, literal)
    compared = re.match(r"[\"'}\s]*:\s*(?=['\"\\])", rest)
    if compared and "expr" in unit.line_text(use.start):
        literal = unit.literal_at(use.end + compared.end())
        if literal is not None:
            yield Match(use, unit.content(literal), use.start, False, literal)


@dataclass(frozen=True, slots=True)
class Globbed:
    """A branch of a shell ``case`` over an address."""

    use: Use
    glob: str
    offset: int


def case_branches(unit: Unit) -> list[Globbed]:
    """Return the branches of the shell's ``case`` statements over addresses."""
    if unit.language != "sh":
        return []
    if unit.branches is None:
        unit.branches = list(_case_branches(unit))
    return unit.branches


_CASE_IN: Final = re.compile(r"[\"'}.]{0,3}\s{1,20}in\b")
_CASE_END: Final = re.compile(r"\besac\b|\bcase\b")
_BRANCH: Final = re.compile(r"(?:^|;;|\bin\b)[ \t]*\n?[ \t]*\(?([^\s()#;][^()\n;]{0,200})\)", re.MULTILINE)


def _case_branches(unit: Unit) -> Iterator[Globbed]:
    for use in unit.uses_of("ip"):
        head = _CASE_IN.match(unit.code, use.end, use.end + 400)
        if not head or not re.search(r"\bcase\s+[\"']?\.?\Z", unit.line_before(use.start)):
            continue
        position = head.end()
        end = _CASE_END.search(unit.bare, position, position + 4000)
        stop = min(end.start() if end else len(unit.code), position + 4000)
        for branch in _BRANCH.finditer(unit.code, position - 2, stop):
            for glob in re.finditer(r"[^|\s\"']+", branch[1]):
                yield Globbed(use, glob[0], branch.start(1) + glob.start())


_HARD: Final = re.compile(
    r"\b(?:die\w*|exit\s*\(?\s*[1-9$]|_exit|abort|FAIL|fatal\w*|croak|confess|strerr_die\w*|panic|Fatalf?|raise|DENY\w*|reject\w*|goto\s+\w*(?:fail|err|bad|die)\w*|usage|process::exit|exitFailure|err\w*\s*\(|bail|Err\()|\breturn\s*\(?\s*(?:-1|1[01]\d|5\d\d|4\d\d|EX_\w+)|\b(?:respond|reply|out|puts)\w*\s*\(?\s*\"?(?:5\d\d|4[25]\d)"
)
_SKIP: Final = re.compile(r"\breturn\b|\bexit\s*\(?\s*0|\bnext\b|\bcontinue\b|\bbreak\b|\bexit\b")


def outcome(unit: Unit, offset: int) -> str | None:
    """Say what happens when a test on an address at ``offset`` fails.

    Returns:
        "hard" (the program gives up), "skip" (it goes on as if nothing were), or None when the test does not guard anything.
    """
    start, end = unit.statement(offset)
    head = unit.code[start:offset]
    negated = (
        search(r"!\s*\(?\s*(?:\w+\s*=\s*)?[\w:$&>.\-\s]*\(?[^()!=]*\Z|\bunless\b|\bnot\b|\bguard\b", head) is not None
        or search(
            r"!~|==\s*(?:0|-1|INADDR_NONE|NULL|false|nil|\(in_addr_t\)|FALSE)|<\s*[014]|!=\s*[14]|<=\s*0|is_err|is_none|== None|\|\|\s*(?:die|return|exit)|\bor\s+(?:die|return|exit|next)|err != nil|=== false",
            unit.code[offset : offset + 160],
        )
        is not None
    )
    if not negated:
        return None
    postfix = search(r"^(.*)\b(?:unless|if)\b", head, re.DOTALL)
    if postfix and unit.language in ("perl", "ruby") and postfix[1].strip():
        if _HARD.search(postfix[1]):
            return "hard"
        if _SKIP.search(postfix[1]):
            return "skip"
    cut = search(r"\}", unit.bare[end : end + 300])
    following = unit.code[offset : end + (cut.start() if cut else 160)]
    if _HARD.search(following):
        return "hard"
    if _SKIP.search(following):
        return "skip"
    return None


_SIX: Final = re.compile(
    r"AF_INET6|PF_INET6|sockaddr_in6|in6_addr|INADDR6|ip6_|ip6\b|ipv6|_v6\b|\bv6_|IPv6|INET6|getaddrinfo|getnameinfo|IN6_|sockaddr_storage|Socket6|NetAddr::IP|Net::IP|ss_family|inet6|\bIPV6|To16|Ipv6Addr|is_ipv6|isIPv6"
)
_COLON_TEST: Final = re.compile(
    r"(?:str_?r?chr|index|strpbrk|memchr|byte_chr)\s*\([^;()]{0,40}(?:\([^()]*\))?[^;()]{0,20},\s*(?:':'|\":\")|=~\s*m?[/{]\^?\\?:|\*:\*\)|\.include\?\(?['\"]:|strpos\([^;]{0,40}['\"]:|Contains\([^;]{0,40}\":\"|contains\('?\"?:|'[:]'\s*`elem`|index\(\s*\w+\s*,\s*\":\""
)


def knows_six(unit: Unit, offset: int) -> bool:
    """Say whether the function around ``offset`` treats IPv6 in its own way (a comment does not count)."""
    return _SIX.search(unit.scope_text(offset)) is not None


def tests_colon(unit: Unit, offset: int) -> bool:
    """Say whether the function has looked for a colon, which tells the families apart, before it comes to ``offset``."""
    scope = unit.scope(offset)
    start = unit.functions[scope].head if scope >= 0 else unit.line_starts[max(0, unit.position(offset)[0] - 16)]
    return _COLON_TEST.search(unit.code, start, offset) is not None


def file_knows_six(unit: Unit) -> bool:
    """Say whether the file handles IPv6 sockets or addresses anywhere."""
    return (
        search(
            r"AF_INET6|PF_INET6|sockaddr_in6|in6_addr|sockaddr_storage|getaddrinfo|Socket6|getnameinfo|IN6_IS",
            unit.bare if unit.family == "c" else unit.code,
        )
        is not None
    )
