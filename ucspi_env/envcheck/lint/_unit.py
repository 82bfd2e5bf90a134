"""One source file, ready for the rules: its text, its literals, and where the peer's address goes in it.

The flow is followed file-wide through assignments, copies, parameters, returns, members and hash elements, without executing
anything: names are the unit, functions give them scope. It is deliberately simple; each step says what it takes as passing the
value on, and everything else ends the trail.
"""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._names import UCSPI, is_ipish, is_peerish, is_remote, kind_of_tail, kind_of_variable
from ucspi_env.envcheck.lint._tokens import Literal, Tokens, tokenize

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._match import Globbed

FILE: Final = -1
"""The scope of names that no function declares."""

INTERPOLATING: Final = frozenset({"perl", "sh", "ruby", "php"})
SIGILS: Final = frozenset({"perl", "php"})
_STATEMENT_ENDS: Final = {
    "c": r"[;{}]|^[ \t]*#[^\n]*", "cpp": r"[;{}]|^[ \t]*#[^\n]*", "perl": r";|[{}][ \t]*$|^[ \t]*\}", "php": r";|[{}][ \t]*$|^[ \t]*\}",
    "go": r"(?<![,(\[{+\-*/&|=.\\])\n|[{}]\n|;", "rust": r";|[{}][ \t]*$|^[ \t]*\}", "ruby": r"(?<![,(\[{+\\&|=.])\n", "sh": r"(?<!\\)\n|;;?|&&|\|\|",
    "awk": r"\n|;|[{}]", "haskell": r"\n(?=\S)|\n\s*\n", "sql": r";", "python": r"\n",
}  # fmt: skip
_BOUNDARIES: Final = {name: re.compile(pattern, re.MULTILINE) for name, pattern in _STATEMENT_ENDS.items()}
_LONGEST: Final = 800
_DEEPEST: Final = 100
_WINDOW: Final = 12_000
_MOST_USES: Final = 4000
"""A file with more uses than this is generated data; what is wrong with it shows in the first thousands."""
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*")
_BRACKETS: Final = re.compile(r"[()\[\]{}]")
_CALLEE: Final = re.compile(r"([A-Za-z_$@][\w$]*(?:(?:::|->|\.|&\.|\?\.)[A-Za-z_]\w*)*[!?]?)(?:::<[^<>]{0,40}>)?\s*\Z")
_PREFIX_CALLS: Final = re.compile(
    r"\b(split|index|rindex|inet_aton|inet_addr|inet_pton|inet_ntoa|lc|uc|length|substr|unpack|pack|join|reverse|print|printf|warn|die|open|unlink|mkdir|utime|require|push"
    r"|grep|puts|defined|exists|gethostbyname|gethostbyaddr|sockaddr_in|return|echo|system|exec|ord|chomp|quotemeta|sprintf|splitOn|words|read|readMaybe|isPrefixOf|isInfixOf|putStrLn|connect|chop|reverse)\b"
    r"\s*\(?[^;(){}]*\Z"
)

GETTER: Final = re.compile(
    r"(?i)(?:^|[.:>_])(?:(?:secure_)?getenv\w*|get_?env\w*|lookup_?env|env_get\w*|env_?find|env_lookup|getprotoenv|fetch|var|var_os|find_environment_variable\w*"
    r"|\w*_getenv|ucspi_getenv|getEnvConfigStr|GetEnv|environ_get|get_environment\w*|env|environ|get|pathexec_getenv|byenv)\Z"
)
SETTER: Final = re.compile(
    r"(?i)(?:^|[.:>_])(?:setenv\w*|putenv\w*|env_put\w*|env_set\w*|env_unset|unsetenv|pathexec_env|mysetenv|set_var|remove_var|setenv_?\w*|xsetenv|env_add\w*|addenv|put_env\w*|env2|set_env\w*)\Z"
)
_PASSING: Final = re.compile(
    r"(?:\b(?:x?strdup\w*|x_?strdup|std::string|string|String|str|lc|uc|lcfirst|trim|chomp|strip|new|const_cast|static_cast|reinterpret_cast|char|const|void|unsigned|my|our|local|let|mut|"
    r"g_strdup|savestring|sdup|str_dup|to_string|String::from|string\.TrimSpace|strings\.TrimSpace|strings\.ToLower|strtolower|trim|wrap_str|ref|BS|T\.pack|pack|if|unless|return|shift|do)\b(?:<[^<>]{0,30}>)?"
    r"|[\s(&*!\"'$@{}\[\]\\`+#%])+"
)
_AFTER: Final = re.compile(
    r"[\s\"')}\]`]*(?:\Z|;|\n|\|\||//(?!/)|\bor\b|\band\b|\bif\b|\bunless\b|&&|\?\?|\?(?!\.)|:(?!:)|,|&?==?\s*(?:NULL|nullptr|0|nil|undef)\b|!=|<\s*0|\{"
    r"|\.(?:clone|to_string|to_owned|unwrap\w*|expect|trim\w*|strip|chomp|dup|to_s|c_str|freeze|downcase|into|as_str|ok|as_deref)\b|\[:\]|>>=|as\b|rescue\b)"
)
_HASKELL_LIFT: Final = re.compile(r"\b(?:fromMaybe|maybe|fmap|liftM)\b(?:\s*\"[^\"]*\")?(?:\s+id)?\s*(?:<\$>|\$)?\s*")
_SPLITTERS: Final = re.compile(r".*(?:\?|\|\||//|\bor\b|\?\?|(?<!:):(?!:)|&&|\bthen\b|\belse\b)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the file: ``start`` and ``end`` of its body, and its parameters' names in order."""

    name: str
    start: int
    end: int
    head: int
    params: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """A place where a value is used that came from the peer.

    Attributes:
        start: offset where the expression begins (with its sigil or the call that fetches it).
        end: offset past it.
        name: the identifier.
        kind: "ip", "host", "port", "info" or "proto".
        strong: whether it is the peer's for sure: by the flow, or by a name that a file with sources uses for nothing else.
        direct: whether the expression fetches the variable itself.
        proved: whether the flow leads here from where the variable is fetched.
    """

    start: int
    end: int
    name: str
    kind: str
    strong: bool
    direct: bool = False
    proved: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """The call that an offset is an argument of."""

    name: str
    index: int
    open: int
    close: int

    @property
    def last(self) -> str:
        """The function's name without object, package or module."""
        return self.name.rpartition("::")[2].rpartition("->")[2].rpartition(".")[2]


class Unit:
    """A source file and what is known about it. Everything expensive is done once, on first use."""

    def __init__(self, path: str, text: str, language: str, *, named: bool = True) -> None:
        self.path = path
        self.text = text
        self.language = language
        self.family = "c" if language in ("c", "cpp") else language
        self.named = named
        tokens: Tokens = tokenize(text, language)
        self.tokens = tokens
        self.code = tokens.code
        self.bare = tokens.bare
        self.literals = tokens.literals
        self._literal_starts = [one.start for one in tokens.literals]
        self.view = self.code if language in INTERPOLATING or language == "rust" else self.bare
        self._lines: list[int] | None = None
        self._boundaries: list[int] | None = None
        self._brackets: tuple[list[int], list[int], list[int]] | None = None
        self._functions: list[Function] | None = None
        self._index: dict[str, list[int]] | None = None
        self._uses: list[Use] | None = None
        self.speaks_ucspi = UCSPI.search(self.code) is not None
        self.returns: dict[str, str] = {}
        self.copies: list[Use] | None = None
        self.branches: list[Globbed] | None = None
        self._calls: dict[int, Call | None] = {}
        self._arguments: dict[int, list[tuple[int, int]]] = {}
        self._scope_texts: dict[tuple[int, int], str] = {}
        self._use_starts: list[int] = []
        self._strong_names: frozenset[str] | None = None
        self._function_names: dict[str, Function] | None = None

    # ---- places

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of ``offset``, both counted from 1."""
        lines = self.line_starts
        line = bisect.bisect_right(lines, offset)
        return line, offset - lines[line - 1] + 1

    @property
    def line_starts(self) -> list[int]:
        if self._lines is None:
            self._lines = [0, *(match.end() for match in re.finditer(r"\n", self.text))]
        return self._lines

    def line_text(self, offset: int) -> str:
        """Return the code of the line that holds ``offset``, without commentary; at most 1,000 characters to each side."""
        start = max(self.code.rfind("\n", 0, offset) + 1, offset - 1000)
        end = self.code.find("\n", offset, offset + 1000)
        return self.code[start : end if end >= 0 else offset + 1000]

    def line_before(self, offset: int) -> str:
        """Return the code between the start of the line and ``offset``, at most the last 400 characters of it."""
        return self.code[max(self.code.rfind("\n", 0, offset) + 1, offset - 400) : offset]

    def line_after(self, offset: int) -> str:
        """Return the code from ``offset`` to the end of the line, at most 400 characters of it."""
        end = self.code.find("\n", offset, offset + 400)
        return self.code[offset : end if end >= 0 else offset + 400]

    def statement(self, offset: int) -> tuple[int, int]:
        """Return the span of the statement that holds ``offset``; at most 800 characters to each side."""
        if self._boundaries is None:
            self._boundaries = [match.end() for match in _BOUNDARIES[self.language].finditer(self.bare)]
        at = bisect.bisect_right(self._boundaries, offset)
        start = self._boundaries[at - 1] if at else 0
        end = self._boundaries[at] if at < len(self._boundaries) else len(self.bare)
        return max(start, offset - _LONGEST), min(end, offset + _LONGEST)

    def statement_text(self, offset: int) -> str:
        """Return the statement that holds ``offset``, without commentary."""
        start, end = self.statement(offset)
        return self.code[start:end]

    def literal_at(self, offset: int) -> Literal | None:
        """Return the literal whose content or quotes hold ``offset``."""
        at = bisect.bisect_right(self._literal_starts, offset) - 1
        while at >= 0 and at > bisect.bisect_right(self._literal_starts, offset) - 4:
            if self.literals[at].start <= offset < self.literals[at].end:
                return self.literals[at]
            at -= 1
        return None

    def literals_in(self, start: int, end: int) -> list[Literal]:
        """Return the literals that begin in the span."""
        return self.literals[
            bisect.bisect_left(self._literal_starts, start) : bisect.bisect_left(self._literal_starts, end)
        ]

    def content(self, literal: Literal) -> str:
        """Return what stands between the literal's quotes."""
        return self.text[literal.inner : literal.outer]

    # ---- brackets and calls

    @property
    def brackets(self) -> tuple[list[int], list[int], list[int]]:
        """Offsets of opening brackets, of what closes each, and the index of the bracket around each (or -1)."""
        if self._brackets is None:
            opens: list[int] = []
            closes: list[int] = []
            parents: list[int] = []
            stack: list[int] = []
            for match in _BRACKETS.finditer(self.bare):
                mark = match[0]
                if mark in "([{":
                    opens.append(match.start())
                    closes.append(len(self.bare))
                    parents.append(stack[-1] if stack else -1)
                    stack.append(len(opens) - 1)
                else:
                    pair = {")": "(", "]": "[", "}": "{"}[mark]
                    # An unmatched bracket (a shell case pattern, a macro) must not upset what is around it.
                    for back in range(1, min(len(stack), 6) + 1):
                        if self.bare[opens[stack[-back]]] == pair:
                            for index in stack[-back:]:
                                closes[index] = match.start()
                            del stack[-back:]
                            break
            self._brackets = opens, closes, parents
        return self._brackets

    def around(self, offset: int) -> Iterator[tuple[int, int]]:
        """Yield the brackets around ``offset``, innermost first, as (opening, closing) offsets."""
        opens, closes, parents = self.brackets
        at = bisect.bisect_left(opens, offset) - 1
        for _ in range(_DEEPEST):
            if at < 0:
                return
            if closes[at] >= offset:
                yield opens[at], closes[at]
            at = parents[at]

    def closing(self, opening: int) -> int:
        """Return the offset of the bracket that closes the one at ``opening``."""
        opens, closes, _ = self.brackets
        at = bisect.bisect_left(opens, opening)
        return closes[at] if at < len(opens) and opens[at] == opening else len(self.bare)

    def callee(self, opening: int) -> str:
        """Return the name of what is called by the parenthesis at ``opening``, or ""."""
        match = _CALLEE.search(self.bare, max(0, opening - 80), opening)
        return match[1] if match else ""

    def call(self, offset: int) -> Call | None:
        """Return the innermost call that ``offset`` is an argument of, or None. Mere parentheses are looked through."""
        if offset not in self._calls:
            self._calls[offset] = self._find_call(offset)
        return self._calls[offset]

    def _find_call(self, offset: int) -> Call | None:
        for opening, closing in self.around(offset):
            mark = self.bare[opening]
            if mark == "{" and self.family in ("c", "go", "rust", "perl", "php") and closing - opening > 300:
                return None
            if mark != "(":
                continue
            name = self.callee(opening)
            if name in (
                "if",
                "while",
                "for",
                "unless",
                "elsif",
                "elseif",
                "switch",
                "foreach",
                "until",
                "return",
                "and",
                "or",
                "not",
                "my",
            ):
                return None
            if name:
                nested = None
                if self.family in ("perl", "ruby", "haskell"):
                    # A call without parentheses may stand inside those of another: reverse(split /x/, $y).
                    nested = _PREFIX_CALLS.search(self.bare, max(opening + 1, offset - 160), offset)
                if nested:
                    return Call(nested[1], self.bare.count(",", nested.end(1), offset), nested.end(1), closing)
                index = self.arguments_before(opening, offset)
                return Call(name, index, opening, closing)
        if self.family in ("perl", "ruby", "haskell"):
            start = self.statement(offset)[0]
            match = _PREFIX_CALLS.search(self.bare, max(start, offset - 160), offset)
            if match:
                return Call(
                    match[1], self.bare.count(",", match.end(1), offset), match.end(1), self.statement(offset)[1]
                )
        return None

    def arguments_before(self, opening: int, offset: int) -> int:
        """Return how many commas of the call's own level stand between its parenthesis and ``offset``."""
        count = depth = 0
        for match in re.compile(r"[,()\[\]{}]").finditer(self.bare, opening + 1, min(offset, opening + 4000)):
            mark = match[0]
            if mark == "," and not depth:
                count += 1
            elif mark in "([{":
                depth += 1
            elif mark in ")]}":
                depth -= 1
        return count

    def arguments(self, call: Call) -> list[tuple[int, int]]:
        """Return the spans of the call's arguments."""
        if call.open not in self._arguments:
            self._arguments[call.open] = self._find_arguments(call)
        return self._arguments[call.open]

    def _find_arguments(self, call: Call) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        start, depth = call.open + 1, 0
        end = min(call.close, call.open + 4000)
        for match in re.compile(r"[,()\[\]{}]").finditer(self.bare, start, end):
            mark = match[0]
            if mark == "," and not depth:
                spans.append((start, match.start()))
                start = match.end()
            elif mark in "([{":
                depth += 1
            elif mark in ")]}":
                depth -= 1
        spans.append((start, end))
        return spans

    def argument_text(self, call: Call, index: int) -> str:
        """Return the text of an argument, stripped, or "" when there is none."""
        spans = self.arguments(call)
        return self.code[slice(*spans[index])].strip() if index < len(spans) else ""

    # ---- functions

    @property
    def functions(self) -> list[Function]:
        if self._functions is None:
            self._functions = sorted(_functions(self), key=lambda one: one.start)
            self._function_starts = [one.start for one in self._functions]
        return self._functions

    def function_named(self, name: str) -> Function | None:
        """Return the file's first function of this name, or None."""
        if self._function_names is None:
            self._function_names = {one.name: one for one in reversed(self.functions)}
        return self._function_names.get(name)

    def scope(self, offset: int) -> int:
        """Return the index of the function around ``offset``, or `FILE`."""
        functions = self.functions
        at = bisect.bisect_right(self._function_starts, offset) - 1
        for back in range(at, max(at - 4, -1), -1):
            if functions[back].head <= offset < functions[back].end:
                return back
        if at + 1 < len(functions) and functions[at + 1].head <= offset < functions[at + 1].end:
            return at + 1
        return FILE

    def scope_text(self, offset: int) -> str:
        """Return the code of the function around ``offset``; outside of functions, of the lines around it.

        The same string object is returned for all offsets of a function, or of a block of lines, so that questions about it
        can be remembered; it is at most 24,000 characters long.
        """
        scope = self.scope(offset)
        key = (scope, offset // _WINDOW) if scope != FILE else (FILE, self.position(offset)[0] // 20)
        if key not in self._scope_texts:
            if scope != FILE:
                function = self.functions[scope]
                start, end = function.head, function.end
            else:
                starts = self.line_starts
                start = starts[min(max(0, key[1] * 20 - 30), len(starts) - 1)]
                end = (
                    starts[min(len(starts) - 1, key[1] * 20 + 50)] if len(starts) > key[1] * 20 + 50 else len(self.code)
                )
            self._scope_texts[key] = self.code[max(start, offset - _WINDOW) : min(end, offset + _WINDOW)]
        return self._scope_texts[key]

    # ---- identifiers and flow

    @property
    def index(self) -> dict[str, list[int]]:
        """Where each identifier stands in code (in interpolating languages: also in strings)."""
        if self._index is None:
            index: dict[str, list[int]] = {}
            for match in _IDENTIFIER.finditer(self.view):
                index.setdefault(match[0], []).append(match.start())
            self._index = {name: places[:_MOST_USES] for name, places in index.items()}
        return self._index

    def places(self, name: str, start: int, end: int) -> list[int]:
        """Return where an identifier stands in the span."""
        known = self.index.get(name, [])
        return known[bisect.bisect_left(known, start) : bisect.bisect_left(known, end)]

    @property
    def uses(self) -> list[Use]:
        """Every use of a value from the peer, in order."""
        if self._uses is None:
            self._uses = _Flow(self).run()[:_MOST_USES] if self.language not in ("python", "sql") else []
            self._use_starts = [one.start for one in self._uses]
        return self._uses

    def uses_between(self, start: int, end: int) -> list[Use]:
        """Return the uses that begin in the span."""
        uses = self.uses
        return uses[bisect.bisect_left(self._use_starts, start) : bisect.bisect_left(self._use_starts, end)]

    @property
    def strong_names(self) -> frozenset[str]:
        """The identifiers that hold the peer's address somewhere, by the flow."""
        if self._strong_names is None:
            found = (one.name.lstrip(".") for one in self.uses if one.kind == "ip" and one.strong and not one.direct)
            self._strong_names = frozenset(found)
        return self._strong_names

    def uses_of(self, *kinds: str, strong: bool = False) -> Iterator[Use]:
        """Yield the uses of these kinds; with ``strong`` only those that the flow proves."""
        for use in self.uses:
            if use.kind in kinds and (use.strong or not strong):
                yield use

    @property
    def in_scope(self) -> bool:
        """Whether constructs that are IPv4-only by themselves are of interest here: the file was named, or it speaks UCSPI."""
        return self.named or self.speaks_ucspi


# ---- functions of a file

_C_HEAD: Final = re.compile(
    r"([A-Za-z_~][\w:~]*)\s*\(([^(){};]*(?:\([^(){};]*\)[^(){};]*)*)\)\s*(?:const\s*|noexcept\s*|override\s*|throw\s*\([^()]*\)\s*|__attribute__\s*\(\([^()]*\)\)\s*|(?:[A-Za-z_][^(){};=]*;\s*)*|:[^{};]*)\Z"
)
_TRANSPARENT: Final = re.compile(
    r"\b(?:namespace|class|extern|struct|union|impl|trait|mod)\b[^;(){}=]*\Z|extern\s+\"\s*\"\s*\Z"
)
_KEYWORDS: Final = frozenset({"if", "while", "for", "switch", "return", "sizeof", "catch", "else", "do"})
_DEFINITIONS: Final = {
    "perl": re.compile(r"\bsub\s+(?P<name>[\w:]+)\s*(?:\((?P<params>[^(){}]{0,300})\)\s*)?\{"),
    "php": re.compile(r"\bfunction\s+&?(?P<name>\w+)\s*\((?P<params>[^{};]{0,600}?)\)\s*(?::\s*\??[\w|\\]+\s*)?\{"),
    "go": re.compile(r"\bfunc\s+(?:\([^()]*\)\s*)?(?P<name>\w+)\s*\((?P<params>[^(){}]{0,400}(?:\([^(){}]{0,200}\)[^(){}]{0,200}){0,8})\)[^{}\n]{0,120}\{"),
    "rust": re.compile(r"\bfn\s+(?P<name>\w+)\s*(?:<[^<>(){}]*(?:<[^<>(){}]*>[^<>(){}]*)*>)?\s*\((?P<params>[^{};]{0,400}?)\)\s*(?:(?:->|where\b)[^{};]{0,300})?\{"),
    "awk": re.compile(r"\bfunc(?:tion)?\s+(?P<name>\w+)\s*\((?P<params>[^(){}]*)\)\s*\{"),
    "sh": re.compile(r"^[ \t]*(?:function[ \t]+(?P<name2>[\w.-]+)[ \t]*(?:\(\s*\))?|(?P<name>[\w.-]+)[ \t]*\(\s*\))\s*\{", re.MULTILINE),
}  # fmt: skip
_RUBY_DEF: Final = re.compile(
    r"^(?P<indent>[ \t]*)def\s+(?:self\.)?(?P<name>\w+[?!=]?)[ \t]*(?:\(?(?P<params>[^()\n]*)\)?)", re.MULTILINE
)
_PERL_PARAMS: Final = re.compile(r"\bmy\s*\(([^()]*)\)\s*=\s*@_|\bmy\s+([$@%]\w+)\s*=\s*(?:shift\b|\$_\[\d+\])")


def _parameter_name(text: str, language: str) -> str:
    text = text.split("=", maxsplit=1)[0].strip()
    if language == "rust":
        text = text.partition(":")[0].replace("mut ", "")
    if language == "go":
        text = text.split(" ")[0]
    names = re.findall(r"[A-Za-z_]\w*", text.partition("[")[0] if language in ("c", "cpp") else text)
    return names[-1] if names else ""


def _functions(unit: Unit) -> Iterator[Function]:
    language, bare = unit.language, unit.bare
    if language in ("c", "cpp"):
        yield from _c_functions(unit)
        return
    if language == "ruby":
        for match in _RUBY_DEF.finditer(bare):
            end = re.compile(rf"^{match['indent']}end\b", re.MULTILINE).search(bare, match.end())
            params = (
                tuple(_parameter_name(one, language) for one in match["params"].split(","))
                if match["params"].strip()
                else ()
            )
            yield Function(match["name"], match.end(), end.end() if end else len(bare), match.start(), params)
        return
    pattern = _DEFINITIONS.get(language)
    if pattern is None:
        return
    for match in pattern.finditer(bare):
        opening = match.end() - 1
        closing = unit.closing(opening)
        groups = match.groupdict()
        listed = groups.get("params") or ""
        params = tuple(_parameter_name(one, language) for one in listed.split(",")) if listed.strip() else ()
        if language == "perl":
            params = _perl_parameters(unit, opening, closing)
        yield Function(groups["name"] or groups.get("name2") or "", opening, closing, match.start(), params)


def _perl_parameters(unit: Unit, opening: int, closing: int) -> tuple[str, ...]:
    names: list[str] = []
    for match in _PERL_PARAMS.finditer(unit.bare, opening, min(closing, opening + 1200)):
        listed = match[1] if match[1] is not None else match[2]
        if match[1] is not None and re.search(r"\bshift\b", unit.bare[match.start() : match.end()]):
            continue
        names.extend(re.findall(r"\w+", listed))
    pair = re.search(
        r"\bmy\s*\(([^()]*)\)\s*=\s*\(([^;]*\bshift\b[^;]*)\)", unit.bare[opening : min(closing, opening + 600)]
    )
    if pair:
        names.extend(re.findall(r"\w+", pair[1]))
    return tuple(dict.fromkeys(names))


def _c_functions(unit: Unit) -> Iterator[Function]:
    bare = unit.bare
    opens, closes, _ = unit.brackets
    position = previous = 0
    for opening, closing in zip(opens, closes, strict=True):
        if bare[opening] != "{" or opening < position:
            continue
        head = bare[max(previous, opening - 1200) : opening]
        head = re.sub(r"^[ \t]*#[^\n]*", lambda one: " " * len(one[0]), head, flags=re.MULTILINE)
        if _TRANSPARENT.search(head) and "(" not in head.rpartition(";")[2]:
            previous = position = opening + 1
            continue
        begin = max(0, len(head) - 700)
        match = _C_HEAD.search(head, begin)
        if match and match[1] not in _KEYWORDS and not head.rstrip().endswith("="):
            params = (
                ()
                if match[2].strip() in ("", "void")
                else tuple(_parameter_name(one, "c") for one in match[2].split(","))
            )
            yield Function(match[1].rpartition("::")[2], opening, closing, opening - len(head) + match.start(), params)
        position = previous = closing + 1


# ---- the flow

_COPIES: Final = re.compile(
    r"(?:str(?:n|l)?cpy|stp(?:n)?cpy|strlcpy|strncpy|memcpy|bcopy|memmove|byte_copy|stralloc_copys|stralloc_copy|str_copys|str_copy|xstrncpy|safe_strncpy|string_copy|sstrncpy|snprintf|sprintf|strcat|stralloc_cats|str_cats|copy)\Z"
)
_MEMBER: Final = {"perl": re.compile(r"->\s*\{?['\"]?\Z|\{['\"]?\Z"), "php": re.compile(r"->\Z|\[['\"]\Z")}
_ACCESSOR: Final = re.compile(r"(?i)(?:(?:remote|client|peer)_?(?:ip|addr)|peerhost|peer_addr_string)\Z")
_ROUNDS: Final = 6
_BASE: Final = re.compile(r"(?:[\w$>.\[\]-]|\(\)){0,60}\Z")
_ASSIGNS: Final = re.compile(r"\s*(?:\[[^\[\]]*\])?\s*:?=(?![=~>])\s*")
_OTHER_VALUE: Final = re.compile(
    r"(?:\(\s*[\w\s*]+\)\s*)?(?:&?\*?[A-Za-z_$]\w*(?:(?:->|\.|::)\w+)*\s*(?:\(|\[|;|\+)|\()"
)


_PARAMETER: Final = re.compile(r"shift\b|@_|\$_\[")


class _Flow:
    """Follows the sources of one unit to every name that holds their value."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.known: dict[tuple[int, str], str] = {}
        self.sources: list[Use] = []
        self.by_name: dict[str, list[Function]] = {}
        self.tainting: dict[tuple[int, str], dict[int, str]] = {}
        self.assignments: dict[tuple[int, str], tuple[list[int], list[bool | None]]] = {}
        self.positional: dict[tuple[int, int], str] = {}

    def run(self) -> list[Use]:
        unit = self.unit
        self.sources = list(self.find_sources())
        if unit.in_scope:
            # A function whose parameter is called remoteip is given the peer's address by some other file.
            for function in unit.functions:
                for name in function.params:
                    if is_peerish(name) and is_remote(name):
                        self.learn(unit.scope(function.start), name, "ip")
        if self.sources or self.known:
            for function in unit.functions:
                self.by_name.setdefault(function.name, []).append(function)
            self.spread()
        return self.collect()

    # -- where values come from

    def find_sources(self) -> Iterator[Use]:
        unit, bare = self.unit, self.unit.bare
        for literal in unit.literals:
            if literal.kind not in ("string", "raw") or not 4 < literal.outer - literal.inner < 24:
                continue
            content = unit.text[literal.inner : literal.outer]
            kind = kind_of_variable(content)
            glued = kind is None and kind_of_tail(content) is not None
            if glued:
                kind = kind_of_tail(content)
            if kind is None:
                continue
            before = bare[max(0, literal.start - 60) : literal.start]
            subscript = re.search(
                r"(?:\$?\b(?:ENV|ENVIRON|_SERVER|_ENV|environ|env)\s*[\[{]\s*|\bos\.environ\[\s*)\Z", before
            )
            if subscript:
                if glued:
                    continue
                after = unit.closing(
                    literal.start - len(before) + subscript.end() - 1 - (len(subscript[0]) - len(subscript[0].rstrip()))
                )
                start = literal.start - len(before) + subscript.start()
                yield Use(start, min(after + 1, len(bare)), content, kind, strong=True, direct=True)
                continue
            call = unit.call(literal.start)
            if call is None:
                if unit.language == "haskell":
                    word = re.search(r"(lookupEnv|getEnv|lookup)\s*\Z", before)
                    if word:
                        yield Use(
                            literal.start - len(before) + word.start(),
                            literal.end,
                            content,
                            kind,
                            strong=True,
                            direct=True,
                        )
                continue
            if (
                (glued and not re.search(r"(?i)env", call.last))
                or not (GETTER.search(call.name) or self.fetches(call.last))
                or SETTER.search(call.name)
            ):
                continue
            if call.last.lower() in ("get", "fetch", "env") and not re.search(r"(?i)env", call.name):
                continue
            gap = bare[max(0, call.open - 20) : call.open]
            start = call.open - (len(gap) - len(gap.rstrip())) - len(call.name)
            yield Use(max(start, 0), min(call.close + 1, len(bare)), content, kind, strong=True, direct=True)
        if self.unit.family == "c" and "getprotoenv" in bare:
            for match in re.finditer(r"\bgetprotoenv\s*\(\s*(?:0|NULL)\s*\)", bare):
                yield Use(match.start(), match.end(), "PROTO", "proto", strong=True, direct=True)
        if unit.language in ("perl", "sh"):
            for name in unit.index:
                kind = kind_of_variable(name)
                if kind is None:
                    continue
                for offset in unit.index[name]:
                    use = self.bare_source(name, kind, offset)
                    if use:
                        yield use
        if unit.language == "perl":
            for name, offsets in unit.index.items():
                if _ACCESSOR.match(name):
                    for offset in offsets:
                        yield from self.accessor(name, offset)

    def fetches(self, name: str) -> bool:
        """Say whether a function of this file looks its parameter up in the environment."""
        function = self.unit.function_named(name)
        if function is None or not function.params or function.end - function.start > 2000:
            return False
        body = self.unit.bare[function.start : function.end]
        return any(
            re.search(
                rf"(?i)(?:getenv|lookupenv|env_get|\benv::var|\benviron|\bENV)\w*\s*[\[({{]+\s*[$&]?{re.escape(one)}\b",
                body,
            )
            for one in function.params
            if one
        )

    def bare_source(self, name: str, kind: str, offset: int) -> Use | None:
        view = self.unit.view
        if self.unit.language == "perl":
            match = re.compile(r"\$(?:main::|::)?ENV\s*\{\s*['\"]?\Z").search(view, max(0, offset - 24), offset)
            if not match:
                return None
            end = view.find("}", offset + len(name), offset + len(name) + 8)
            return Use(match.start(), end + 1 if end >= 0 else offset + len(name), name, kind, strong=True, direct=True)
        return self.shell_use(name, kind, offset, strong=True)

    def shell_use(self, name: str, kind: str, offset: int, *, strong: bool) -> Use | None:
        view = self.unit.view
        if view[max(0, offset - 1) : offset] == "$":
            start, end = offset - 1, offset + len(name)
        elif re.search(r"\$\{[#!]?\Z", view[max(0, offset - 3) : offset]):
            start = view.rfind("$", 0, offset)
            close = view.find("}", offset)
            end = close + 1 if 0 <= close < offset + 120 else offset + len(name)
        else:
            return None
        literal = self.unit.literal_at(offset)
        if literal is not None and literal.kind == "raw":
            return None
        return Use(start, end, name, kind, strong=strong, direct=kind_of_variable(name) is not None)

    def accessor(self, name: str, offset: int) -> Iterator[Use]:
        view = self.unit.view
        match = re.compile(r"(?:\$\w+(?:->\w+(?:\(\))?)*\s*->\s*\{?['\"]?|\$\w+\{['\"]?)\Z").search(
            view, max(0, offset - 60), offset
        )
        if match:
            end = offset + len(name)
            closing = re.compile(r"['\"]?\}|\(\)").match(view, end)
            yield Use(match.start(), closing.end() if closing else end, name, "ip", strong=True, direct=True)

    # -- where they go

    def spread(self) -> None:
        seen: set[tuple[int, int]] = set()
        for _ in range(_ROUNDS):
            before = len(self.known) + len(self.unit.returns)
            for use in [*self.sources, *self.tainted()]:
                if (use.start, use.end) not in seen:
                    seen.add((use.start, use.end))
                    self.follow(use)
            if len(self.known) + len(self.unit.returns) == before:
                break

    def tainted(self) -> Iterator[Use]:
        unit = self.unit
        for scope, name in list(self.known):
            places = unit.index.get(name.lstrip("."), [])
            if scope != FILE:
                places = unit.places(name, unit.functions[scope].head, unit.functions[scope].end)
            for offset in places:
                use = self.use_at(scope, name, offset)
                if use:
                    yield use
        for (scope, position), kind in list(self.positional.items()):
            function = unit.functions[scope]
            for match in re.compile(rf"\$(?:{position}(?!\d)|\{{{position}(?=[}}:%#/]))").finditer(
                unit.code, function.start, min(function.end, function.start + 8000)
            ):
                literal = unit.literal_at(match.start())
                if literal is None or literal.kind != "raw":
                    brace = unit.code.find("}", match.end(), match.end() + 80) + 1 if "{" in match[0] else 0
                    yield Use(match.start(), brace or match.end(), f"${position}", kind, strong=True)
        for name, kind in list(unit.returns.items()):
            for offset in unit.index.get(name, ()):
                opening = re.compile(r"\s*\(").match(unit.bare, offset + len(name))
                if opening and not any(
                    function.head <= offset <= function.start for function in self.by_name.get(name, ())
                ):
                    yield Use(offset, unit.closing(opening.end() - 1) + 1, name, kind, strong=True)

    def use_at(self, scope: int, name: str, offset: int) -> Use | None:
        """Return the use of a known name at ``offset``, if it is that name there."""
        unit, view = self.unit, self.unit.view
        kind = self.kind_at(scope, name, offset)
        length = len(name.lstrip("."))
        previous = view[max(0, offset - 2) : offset]
        member = (
            previous.endswith(".")
            or previous == "->"
            or (
                unit.language == "perl"
                and previous.endswith("{")
                and view[offset + length : offset + length + 1] == "}"
            )
        )
        if name.startswith("."):
            if not member:
                return None
            start = offset
            base = _BASE.search(view, max(0, offset - 60), offset)
            start = base.start() if base else offset
            while start < offset and view[start] in "->.)]":
                start += 1
            return Use(start, offset + length, name, kind, strong=True)
        if member and not (unit.language == "perl" and previous == "${"):
            return None
        here = unit.scope(offset)
        if scope not in (FILE, here):
            return None
        if scope == FILE and here != FILE and name in unit.functions[here].params:
            return None
        if unit.language == "sh":
            return self.shell_use(name, kind, offset, strong=True)
        if scope != FILE and self.overwritten(scope, name, offset):
            return None
        start = offset
        if unit.language in SIGILS:
            sigil = view[max(0, offset - 1) : offset]
            if sigil not in ("$", "@") and previous not in ("${", "@{"):
                return None
            start = offset - (2 if previous in ("${", "@{") else 1)
        elif unit.language in ("ruby", "rust") and unit.bare[offset] != view[offset] and not previous.endswith("{"):
            return None
        return Use(start, offset + length, name, kind, strong=True)

    def kind_at(self, scope: int, name: str, offset: int) -> str:
        """Return what the name holds at ``offset``: a scratch variable is given the host name first and the address later."""
        known = self.tainting.get((scope, name))
        if known is None or len(set(known.values())) < 2:
            return self.known[scope, name]
        before = [place for place in known if place < offset and not self.left(place, offset)]
        return known[max(before) if before else min(known)]

    def left(self, place: int, offset: int) -> bool:
        """Say whether the block around ``place`` ends before ``offset`` and leaves the function: its assignments end there too."""
        unit = self.unit
        for opening, closing in unit.around(place):
            if unit.bare[opening] == "{":
                return closing < offset and re.search(r"\b(?:return|exit|die)\b", unit.bare[place:closing]) is not None
        return False

    def overwritten(self, scope: int, name: str, offset: int) -> bool:
        """Say whether the last assignment before ``offset``, in the order of the text, gave the name some other value."""
        key = scope, name
        if key not in self.assignments:
            unit, function = self.unit, self.unit.functions[scope]
            places: list[int] = []
            foreign: list[bool | None] = []
            for place in unit.places(name, function.start, function.end):
                match = _ASSIGNS.match(unit.bare, place + len(name))
                if match and unit.bare[max(0, place - 1) : place] not in (".", ">"):
                    places.append(place)
                    other = (
                        _OTHER_VALUE.match(unit.bare, match.end()) is not None
                        and _PARAMETER.match(unit.bare, match.end()) is None
                    )
                    mentions = (
                        re.search(rf"\b{name}\b", re.split(r"[;)]", unit.bare[match.end() : match.end() + 60])[0])
                        is not None
                    )
                    constant = re.match(
                        r"(?:\([\w\s*]+\)\s*)?(?:[\"'0-9]|NULL|nil|undef)", unit.bare[match.end() : match.end() + 30]
                    )
                    foreign.append(None if constant else other and not mentions)
            self.assignments[key] = places, foreign
        places, foreign = self.assignments[key]
        at = bisect.bisect_left(places, offset) - 1
        # A constant is what a missing address is replaced by: the name stays what it was.
        while at >= 0 and foreign[at] is None:
            at -= 1
        if at < 0:
            return False
        learned = self.tainting.get(key, {})
        return foreign[at] is True and not any(places[at] - 40 <= one <= places[at] + 40 for one in learned)

    def follow(self, use: Use) -> None:
        unit = self.unit
        start, _ = unit.statement(use.start)
        if unit.language == "sh":
            self.follow_shell(use)
            return
        self.follow_assignment(use, start)
        self.follow_call(use)

    def follow_shell(self, use: Use) -> None:
        unit = self.unit
        line = max(unit.code.rfind("\n", 0, use.start) + 1, use.start - 300)
        match = re.search(
            r"(?:^|[\s;&|({])(?:export\s+|local\s+|readonly\s+|declare\s+(?:-\w+\s+)*|typeset\s+)?([A-Za-z_]\w*)=[\"']?\Z",
            unit.code[line : use.start],
        )
        if (
            match
            and re.match(r"[\"']?(?:\s|;|$|\))", unit.code[use.end : use.end + 2] + "\n")
            and (
                not re.search(r"[%#/:]", unit.code[use.start + 2 : use.end - 1])
                or re.search(r"#{1,2}::ffff:\}|%{1,2}\\?%\*\}", unit.code[use.start : use.end])
                or re.search(r":[-?=+]", unit.code[use.start : use.end])
            )
            and kind_of_variable(match[1]) is None
        ):
            self.learn(FILE, match[1], use.kind)
        call = re.search(
            r"(?:^|[;&|({]|\b(?:if|then|elif|else|while|until|do)\b|!)\s*(?!(?:if|then|elif|else|while|until|do)\b)([A-Za-z_][\w-]*)((?:\s+(?:\"[^\"]*\"|[^\s\";|&]+))*)\s*\"?\Z",
            unit.code[line : use.start],
        )
        if call and call[1] in self.by_name:
            position = len(re.findall(r"\"[^\"]*\"|[^\s\"]+", call[2])) + 1
            for function in self.by_name[call[1]]:
                self.positional.setdefault((unit.scope(function.start), position), use.kind)
                body = unit.code[function.start : function.end]
                for local in re.finditer(rf"\b(?:local\s+)?(\w+)=\"?\$\{{?{position}\b", body):
                    self.learn(FILE, local[1], use.kind)
        loop = re.search(
            r"(?:^|[;&|])\s*for\s+([A-Za-z_]\w*)\s+in\s[^;|&]*\Z",
            unit.code[max(0, use.start - 300) : use.start],
            re.MULTILINE,
        )
        if loop and not re.search(r"[|`]|\$\(", loop[0]):
            self.learn(FILE, loop[1], use.kind)

    def follow_assignment(self, use: Use, start: int) -> None:
        unit = self.unit
        text = unit.code[start : use.start]
        if unit.language == "haskell":
            text = unit.line_before(use.start)
        last = None
        for match in re.finditer(r"(?<![=!<>~])(?:\|\|=|//=|\?\?=|:=|<-|=(?![=~>]))|=>|(?<=[\w'\"]):(?=\s)", text):
            last = match
        if last is not None and self.passes(text[last.end() :], unit.code[use.end : use.end + 60], last[0]):
            self.learn_left(text[: last.start()], use, start + last.start(), last[0])
        returned = re.search(r"\breturn\b(.{0,80})\Z", text, re.DOTALL)
        if returned and self.passes(returned[1], unit.code[use.end : use.end + 60], "="):
            scope = unit.scope(use.start)
            if scope != FILE and unit.functions[scope].name not in ("main", "run"):
                self.unit.returns.setdefault(unit.functions[scope].name, use.kind)

    @staticmethod
    def passes(before: str, after: str, operator: str) -> bool:
        """Say whether what stands around the value leaves it as it is."""
        split = _SPLITTERS.match(before)
        if split and operator != "=>":
            before = before[split.end() :]
        before = _HASKELL_LIFT.sub("", before)
        if len(before) > 120 or _PASSING.sub("", before).strip():
            return False
        return _AFTER.match(after) is not None

    def learn_left(self, left: str, use: Use, offset: int, operator: str) -> None:
        unit = self.unit
        left = left.rstrip()
        pair = re.search(r"([A-Za-z_]\w*)\s*,\s*(?:ok|err|_|exists|found|present|\w{1,5})\Z", left)
        if pair and unit.language == "go":
            left = left[: pair.end(1)]
        match = re.search(
            r"(?P<base>(?:[$@%*&]*[A-Za-z_]\w*(?:\[[^\[\]]{0,40}\])?(?:->|\.|::))*(?:\{['\"]?)?)?(?P<name>[A-Za-z_]\w*)(?P<tail>['\"]?\}?(?:\[[^\[\]]{0,40}\])?)(?:\s*:\s*[^=:]{1,40})?\s*\Z",
            left,
        )
        if not match:
            return
        name = match["name"]
        if kind_of_variable(name) is not None:
            return
        base = match["base"] or ""
        if (
            operator in ("=>", ":")
            or base.endswith((".", "->", "{", "{'", '{"'))
            or (unit.language == "ruby" and left.rstrip().endswith("@" + name))
        ):
            if base.endswith(("$ENV{",)):
                return
            self.learn(FILE, "." + name, use.kind)
            return
        home = self.home(name, offset)
        self.tainting.setdefault((home, name), {}).setdefault(offset, use.kind)
        self.learn(home, name, use.kind)

    def home(self, name: str, offset: int) -> int:
        """Return the scope that declares ``name``, seen from ``offset``."""
        unit = self.unit
        scope = unit.scope(offset)
        if scope == FILE:
            return FILE
        function = unit.functions[scope]
        if name in function.params:
            return scope
        body = unit.bare[function.head : function.end]
        declared = {
            "perl": rf"\bmy\s*\(?[^;=()]*[$@%]{name}\b",
            "c": rf"(?:\b(?!return|else|goto|case|sizeof)[A-Za-z_]\w*[\s*&>]+|,\s*\**\s*){name}\b\s*(?:[=;,)\[:]|\Z)",
            "go": rf"\b{name}\b[\w\s,]*:=|\bvar\s+{name}\b",
            "rust": rf"\blet\s+(?:mut\s+)?\(?[\w\s,]*\b{name}\b",
        }.get(unit.family)
        if declared is None:
            return scope
        return scope if re.search(declared, body) else FILE

    def learn(self, scope: int, name: str, kind: str) -> None:
        if len(name.lstrip(".")) > 1 or scope != FILE or self.unit.family != "c":
            self.known.setdefault((scope, name), kind)

    def follow_call(self, use: Use) -> None:
        unit = self.unit
        call = unit.call(use.start)
        if call is None:
            return
        last = call.last
        spans = unit.arguments(call)
        if call.index >= len(spans):
            return
        begin, finish = spans[call.index]
        argument = unit.code[begin:finish].strip()
        whole = argument.strip('&*$@\\"() \t\n!') in (
            unit.code[use.start : use.end].strip('&*$@\\"() '),
        ) or re.fullmatch(r"(?:\(\s*[\w\s*]+\)\s*)?[&*\\$@]*[\w.>()-]+", argument)
        if not whole:
            return
        if last in self.by_name:
            shift = 1 if unit.language == "perl" and ("->" in call.name) else 0
            for function in self.by_name[last]:
                if call.index + shift < len(function.params) and function.params[call.index + shift]:
                    self.learn(unit.scope(function.start), function.params[call.index + shift], use.kind)
        if _COPIES.match(last) and call.index > 0:
            target = unit.code[slice(*spans[0])].strip()
            if last in ("bcopy", "byte_copy") and len(spans) > 2:
                target = (
                    unit.code[slice(*spans[0])].strip() if last == "byte_copy" else unit.code[slice(*spans[1])].strip()
                )
            if last in ("snprintf", "sprintf"):
                texts = [unit.content(one) for one in unit.literals_in(spans[0][1], finish)]
                if texts[:1] != ["%s"]:
                    return
            if last in ("strcat", "stralloc_cats", "str_cats"):
                return
            self.learn_left(target.lstrip("&*( "), use, call.open, "=")

    # -- all uses

    def collect(self) -> list[Use]:
        unit = self.unit
        uses: dict[tuple[int, int], Use] = {(one.start, one.end): one for one in self.sources}
        for use in self.tainted():
            uses.setdefault((use.start, use.end), use)
        covered = sorted((one.start, one.end) for one in uses.values())
        starts = [start for start, _ in covered]
        has_source = any(one.kind == "ip" for one in self.sources) or unit.speaks_ucspi
        for name, offsets in unit.index.items() if unit.in_scope else ():
            if not is_ipish(name) or kind_of_variable(name) is not None:
                continue
            peerish = is_peerish(name)
            for offset in offsets:
                at = bisect.bisect_right(starts, offset) - 1
                if at >= 0 and covered[at][0] <= offset < covered[at][1]:
                    continue
                weak = self.weak_use(
                    name, offset, strong=peerish and (has_source or (unit.in_scope and is_remote(name)))
                )
                if weak:
                    uses.setdefault((weak.start, weak.end), weak)
        return sorted(uses.values(), key=lambda one: one.start)

    def weak_use(self, name: str, offset: int, *, strong: bool) -> Use | None:
        unit, view = self.unit, self.unit.view
        if unit.language == "sh":
            return self.shell_use(name, "ip", offset, strong=strong)
        previous = view[max(0, offset - 2) : offset]
        if unit.language in SIGILS:
            if previous[-1:] in ("$", "@"):
                return Use(offset - 1, offset + len(name), name, "ip", strong=strong, proved=False)
            if previous in ("${", "@{"):
                return Use(offset - 2, offset + len(name), name, "ip", strong=strong, proved=False)
            if previous == "->" or (
                previous.endswith("{") and view[offset + len(name) : offset + len(name) + 1] == "}"
            ):
                return Use(offset, offset + len(name), name, "ip", strong=strong, proved=False)
            return None
        if unit.bare[offset] != view[offset] and not previous.endswith("{"):
            return None
        following = re.compile(r"\s*(\(|:(?!:))?").match(view, offset + len(name))
        if following and following[1] == "(":
            return None
        return Use(offset, offset + len(name), name, "ip", strong=strong, proved=False)
