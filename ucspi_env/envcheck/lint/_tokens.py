"""Where the comments, strings, patterns and heredocs of a source file are, for every language that lint reads.

This is no parser. It answers one question, in linear time and for any text: which characters are code, which are a literal's
content and which are commentary? The answer is two texts of the very same length as the original, so that offsets agree:

* ``code``: commentary is blanked; literals are kept (a shell or Perl string holds variables).
* ``bare``: the content of literals is blanked too; what remains is only syntax.

Newlines are never blanked, so line numbers agree as well.
"""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, pattern or heredoc.

    Attributes:
        start: offset of the opening quote.
        end: offset past the closing quote.
        inner: offset of the first character of the content.
        outer: offset past the last character of the content.
        kind: "string" (may interpolate), "raw", "regex", "subst" (a pattern with its replacement), "tr", "words", "command".
    """

    start: int
    end: int
    inner: int
    outer: int
    kind: str


@dataclass(slots=True)
class Tokens:
    """The three views of one text, and its literals and comments in order."""

    code: str
    bare: str
    literals: list[Literal]
    comments: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])


_DQ: Final = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)'
_DQ_LINE: Final = r'"[^"\\\n]*+(?:\\(?s:.)[^"\\\n]*+)*+"?'
_SQ: Final = r"'[^'\\]*+(?:\\.[^'\\]*+)*+(?:'|\Z)"
_SQ_LINE: Final = r"'[^'\\\n]*+(?:\\(?s:.)[^'\\\n]*+)*+'?"
_C_BLOCK: Final = r"/\*.*?(?:\*/|\Z)"
_SLASHES: Final = r"//(?:[^\n\\]|\\(?s:.))*+"
_HASH: Final = r"\#[^\n]*+"

# Each alternative is named: c… comment, s… string, w… raw string, h… heredoc opening, and the special ones that the driver
# finishes itself, because a regular expression cannot: nested comments, Perl's quotes, a slash that may open a pattern.
_MASTERS: Final[dict[str, str]] = {
    "c": rf"(?P<c>{_C_BLOCK}|{_SLASHES})|(?P<w>\bR\"[^()\\ ]{{0,16}}\()|(?P<s>{_DQ_LINE}|{_SQ_LINE})",
    "sh": rf"(?P<x>\\.)|(?P<c>(?:(?<=[\s;|&()])|\A){_HASH})|(?P<r>\$?'[^']*+(?:'|\Z))|(?P<s>{_DQ})"
    r"|(?P<h><<-?\s*\\?(?P<hq>['\"]?)(?P<hw>[A-Za-z_][\w.-]*)(?P=hq))|(?P<a>\$\#|\$\{\#)",
    "perl": rf"(?P<p>^=[a-zA-Z].*?(?:^=cut\b[^\n]*|\Z))|(?P<e>^__(?:END|DATA)__\b.*)|(?P<a>\$\#|\$[&`'+\"/\\;,!@]|[@%$]\{{|\\[\\\"'/])"
    rf"|(?P<c>{_HASH})|(?P<h><<~?(?P<hq>['\"]?)(?P<hw>[A-Za-z_]\w*)(?P=hq))|(?P<q>(?<![\w$@%&>{{-])(?:m|qr|s|tr|y|q|qq|qw|qx)\b(?!\s*(?:=>|[,;)=]))\s*+[^\w\s])"
    rf"|(?P<s>{_DQ})|(?P<r>{_SQ})|(?P<b>`[^`\\]*+(?:\\.[^`\\]*+)*+(?:`|\Z))|(?P<d>/)",
    "ruby": rf"(?P<p>^=begin\b.*?(?:^=end\b[^\n]*|\Z))|(?P<e>^__END__\b.*)|(?P<a>\?[\"'/#](?=\W)|\$[\"'/`])"
    rf"|(?P<c>{_HASH})|(?P<h><<[~-]?(?P<hq>['\"]?)(?P<hw>[A-Z_]\w*)(?P=hq))|(?P<q>%[rwWqQxi]?[\[({{<|!/])"
    rf"|(?P<s>{_DQ})|(?P<r>{_SQ})|(?P<b>`[^`\\]*+(?:\\.[^`\\]*+)*+(?:`|\Z))|(?P<d>/)",
    "php": rf"(?P<o>\?>.*?(?:<\?(?:php\b|=|(?=\s))|\Z))|(?P<c>{_C_BLOCK}|//(?:(?!\?>)[^\n])*+|\#(?!\[)(?:(?!\?>)[^\n])*+)"
    rf"|(?P<h><<<\s*(?P<hq>['\"]?)(?P<hw>\w+)(?P=hq))|(?P<s>{_DQ})|(?P<r>{_SQ})|(?P<b>`[^`]*+`)",
    "go": rf"(?P<c>{_C_BLOCK}|{_SLASHES})|(?P<s>{_DQ_LINE})|(?P<r>`[^`]*+(?:`|\Z)|'(?:[^'\\\n]|\\.){{1,10}}')",
    "rust": rf"(?P<c>//[^\n]*+)|(?P<n>/\*)|(?P<w>\bb?r\#*+\")|(?P<s>{_DQ})|(?P<r>'(?:[^'\\\n]|\\[^u\n]|\\u\{{[^}}]*\}})')",
    "awk": rf"(?P<c>{_HASH})|(?P<s>{_DQ_LINE})|(?P<d>/)",
    "haskell": rf"(?P<c>--+(?![!#$%&*+./<=>?@\\^|~:])[^\n]*+)|(?P<n>\{{-)|(?P<s>{_DQ_LINE})|(?P<r>(?<![\w'])'(?:[^'\\\n]|\\[^\n]{{1,6}}?)')",
    "sql": rf"(?P<c>--[^\n]*+|{_C_BLOCK}|^[ \t]*\#[^\n]*+)|(?P<r>'[^']*+(?:''[^']*+)*+(?:'|\Z))",
    "python": rf"(?P<c>{_HASH})|(?P<t>[\"']{{3}})|(?P<s>{_DQ_LINE}|{_SQ_LINE})",
}
_COMPILED: Final = {name: re.compile(pattern, re.DOTALL | re.MULTILINE) for name, pattern in _MASTERS.items()}
_LANGUAGE: Final = {"cpp": "c"}

_CLOSING: Final = {"(": ")", "[": "]", "{": "}", "<": ">"}
_BEFORE_PATTERN: Final = re.compile(
    r"(?:[(,=!~&|;{}\[?:<>+\-*%]|\A|\b(?:split|if|unless|and|or|not|return|grep|map|join|while|until|when|push|x|in|case|print|match))\s*\Z"
)
_KIND_OF_QUOTE: Final = {
    "m": "regex",
    "qr": "regex",
    "s": "subst",
    "tr": "tr",
    "y": "tr",
    "q": "raw",
    "qq": "string",
    "qw": "words",
    "qx": "command",
}
_KIND_OF_PERCENT: Final = {
    "%r": "regex",
    "%w": "words",
    "%W": "words",
    "%q": "raw",
    "%Q": "string",
    "%x": "command",
    "%i": "words",
    "%": "string",
}
_NOT_NEWLINE: Final = re.compile(r"[^\n]+")


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match[0])


def blanked(text: str) -> str:
    """Return ``text`` with every character but newlines replaced by a space."""
    return _NOT_NEWLINE.sub(_spaces, text)


def _delimited(text: str, start: int, opening: str) -> int:
    """Return the offset of the delimiter that closes the one before ``start``, or the text's length."""
    closing = _CLOSING.get(opening, opening)
    pattern = re.compile(rf"\\.|[{re.escape(opening)}{re.escape(closing)}]", re.DOTALL)
    depth = 1
    for match in pattern.finditer(text, start):
        mark = match[0]
        if mark == closing:
            depth -= 1
            if not depth:
                return match.start()
        elif mark == opening:
            depth += 1
    return len(text)


_SLASH_END: Final = re.compile(r"[^/\\\n\[]*+(?:(?:\\.|\[\^?\]?[^\]\n]*+\]?)[^/\\\n\[]*+)*+/")
_SHELL_MARK: Final = re.compile(r"\\.|\"|\$\((?!\()", re.DOTALL)
_SHELL_CODE: Final = re.compile(r"\\.|[()\"]|'[^']*+(?:'|\Z)|(?<=[\s;|&()])#[^\n]*+", re.DOTALL)
_DEEPEST: Final = 20
_NESTED: Final = {"/*": re.compile(r"/\*|\*/"), "{-": re.compile(r"\{-|-\}")}


def _nested_end(text: str, start: int, opening: str) -> int:
    depth = 0
    for match in _NESTED[opening].finditer(text, start):
        depth += 1 if match[0] == opening else -1
        if not depth:
            return match.end()
    return len(text)


class _Scanner:
    """One pass over one text; the only state is the position and the heredocs that wait for the end of their line."""

    def __init__(self, text: str, language: str) -> None:
        self.text = text
        self.master = _COMPILED[_LANGUAGE.get(language, language)]
        self.language = language
        self.literals: list[Literal] = []
        self.comments: list[tuple[int, int]] = []
        self.waiting: list[tuple[str, bool, str]] = []
        self.waiting_from = -1

    def run(self) -> None:
        text, length = self.text, len(self.text)
        position = 0
        if self.language == "php":
            opened = re.search(r"<\?(?:php\b|=|(?=\s))", text)
            position = opened.end() if opened else 0
            if opened:
                self.comments.append((0, opened.end()))
        while position < length:
            match = self.master.search(text, position)
            if self.waiting and (match is None or match.start() > self.waiting_from):
                newline = text.find("\n", self.waiting_from)
                if newline < 0:
                    return
                if match is None or match.start() > newline:
                    position = self.heredocs(newline + 1)
                    continue
            if match is None:
                return
            position = max(self.token(match), match.start() + 1)

    def heredocs(self, position: int) -> int:
        """Take the bodies of the waiting heredocs, which begin at ``position``; return where code goes on."""
        for word, indented, kind in self.waiting:
            blank = r"[ \t]*" if indented else ""
            tail = r"\b" if self.language == "php" else r"[ \t\r]*$"
            closing = re.compile(rf"^{blank}{re.escape(word)}{tail}", re.MULTILINE).search(self.text, position)
            stop, after = (closing.start(), closing.end()) if closing else (len(self.text),) * 2
            self.literals.append(Literal(position, after, position, stop, kind))
            position = min(after, len(self.text))
        self.waiting = []
        return position

    def token(self, match: re.Match[str]) -> int:
        text, kind, start, end = self.text, match.lastgroup or "", match.start(), match.end()
        if kind in ("hq", "hw"):
            kind = "h"
        if kind in "cpeo":
            self.comments.append((start, end))
            return end
        if kind in "xa":
            return end
        if kind == "s" and self.language == "sh":
            return self.shell_string(start, 0)
        if kind in "srb":
            return self.string(start, end, kind)
        if kind == "h":
            return self.heredoc(match)
        if kind == "n":
            end = _nested_end(text, start, match[0])
            self.comments.append((start, end))
            return end
        if kind == "t":
            return self.triple(match)
        if kind == "w":
            return self.raw_string(match)
        if kind == "q":
            return self.quote_like(match)
        return self.slash(start)

    def string(self, start: int, end: int, kind: str) -> int:
        inner = start + (2 if self.text.startswith("$'", start) else 1)
        closed = end > inner and self.text[end - 1] == self.text[inner - 1]
        name = {"s": "string", "r": "raw", "b": "command"}[kind]
        self.literals.append(Literal(start, end, inner, end - 1 if closed else end, name))
        return end

    def shell_string(self, start: int, depth: int) -> int:
        """Take a double-quoted word: the commands inside ``$(…)`` are code with quotes of their own."""
        inner, text = start + 1, self.text
        position = inner
        while True:
            match = _SHELL_MARK.search(text, position)
            if match is None or depth > _DEEPEST:
                self.literals.append(Literal(start, len(text), inner, len(text), "string"))
                return len(text)
            position = match.end()
            if match[0] == '"':
                self.literals.append(Literal(start, position, inner, match.start(), "string"))
                return position
            if match[0] == "$(":
                self.literals.append(Literal(start, match.start(), inner, match.start(), "string"))
                position = self.shell_command(match.end(), depth + 1)
                start = inner = position

    def shell_command(self, position: int, depth: int) -> int:
        """Take the commands of a substitution up to the parenthesis that ends it."""
        text, open_ = self.text, 1
        while match := _SHELL_CODE.search(text, position):
            position = match.end()
            mark = match[0]
            if mark == "(":
                open_ += 1
            elif mark == ")":
                open_ -= 1
                if not open_:
                    return match.start()
            elif mark == '"':
                position = self.shell_string(match.start(), depth)
            elif mark[0] == "'":
                self.string(match.start(), position, "r")
            elif mark[0] == "#":
                self.comments.append((match.start(), position))
        return len(text)

    def heredoc(self, match: re.Match[str]) -> int:
        word, quote = match["hw"], match["hq"]
        if self.language in ("perl", "ruby") and not quote and not word.isupper():
            return match.end()
        opening = match[0]
        indented = "-" in opening[:4] or "~" in opening[:4] or self.language == "php"
        self.waiting.append((word, indented, "raw" if quote == "'" or "\\" in opening else "string"))
        self.waiting_from = match.end()
        return match.end()

    def triple(self, match: re.Match[str]) -> int:
        quote = match[0]
        if len(set(quote)) != 1:
            # Two different quotes side by side: an empty string, or the end of one; let the line rule take it.
            end = match.start() + 2 if quote[0] == quote[1] else match.start() + 1
            single = re.compile(_DQ_LINE if quote[0] == '"' else _SQ_LINE).match(self.text, match.start())
            return self.string(match.start(), single.end() if single else end, "s")
        found = self.text.find(quote, match.end())
        stop, end = (found, found + 3) if found >= 0 else (len(self.text),) * 2
        self.literals.append(Literal(match.start(), end, match.end(), stop, "string"))
        return end

    def raw_string(self, match: re.Match[str]) -> int:
        opening = match[0]
        closing = '"' + "#" * opening.count("#") if self.language == "rust" else ")" + opening[2:-1] + '"'
        found = self.text.find(closing, match.end())
        stop, end = (found, found + len(closing)) if found >= 0 else (len(self.text),) * 2
        self.literals.append(Literal(match.start(), end, match.end(), stop, "raw"))
        return end

    def quote_like(self, match: re.Match[str]) -> int:
        text, opening = self.text, match[0][-1]
        word = match[0][:-1].strip()
        if self.language == "ruby":
            if word == "%" and not _BEFORE_PATTERN.search(text[max(0, match.start() - 16) : match.start()]):
                return match.end()
            kind = _KIND_OF_PERCENT.get(word, "string")
        else:
            if opening == "#" and match[0][-2:-1].isspace():
                return match.start() + len(word)
            if opening in "=,;)>":
                return match.start() + len(word)
            kind = _KIND_OF_QUOTE[word]
        stop = _delimited(text, match.end(), opening)
        end = min(stop + 1, len(text))
        if kind in ("subst", "tr"):
            if opening in _CLOSING:
                second = re.compile(r"\s*").match(text, end)
                begin = second.end() if second else end
                if begin < len(text) and text[begin] in "([{</|!'\",":
                    end = min(_delimited(text, begin + 1, text[begin]) + 1, len(text))
            else:
                end = min(_delimited(text, end, opening) + 1, len(text))
        self.literals.append(Literal(match.start(), end, match.end(), stop, kind))
        return end

    def slash(self, start: int) -> int:
        text = self.text
        if not _BEFORE_PATTERN.search(text[max(0, start - 16) : start]):
            return start + 1
        closing = _SLASH_END.match(text, start + 1)
        if not closing:
            return start + 1
        self.literals.append(Literal(start, closing.end(), start + 1, closing.end() - 1, "regex"))
        return closing.end()


_DIRECTIVE: Final = re.compile(r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b([^\n]*)", re.MULTILINE)
_SIX: Final = re.compile(r"(?i)ipv6|inet6|ip6|v6|getaddrinfo|getnameinfo")


def _dead_branches(code: str) -> list[tuple[int, int]]:
    """Return the spans that ``#if 0`` switches off, and those built only where a compiler switch leaves IPv6 out."""
    dead: list[tuple[int, int]] = []
    stack: list[tuple[str, int]] = []
    for match in _DIRECTIVE.finditer(code):
        word, condition = match[1], match[2].strip()
        if word in ("if", "ifdef", "ifndef"):
            state = "live"
            if word == "if" and condition.strip("() ") == "0":
                state = "dead"
            elif _SIX.search(condition):
                # `#ifndef NO_IPV6` is the branch with IPv6: two negations are none.
                inverted = word == "ifndef" or condition.startswith("!")
                negative = inverted != (re.search(r"(?i)(?:\b|_)(?:no|without|disable)_?\w*6", condition) is not None)
                state = "dead" if negative else "six"
            stack.append((state, match.end()))
        elif word in ("else", "elif") and stack:
            state, begin = stack[-1]
            if state == "dead":
                dead.append((begin, match.start()))
            stack[-1] = ("dead" if state == "six" and word == "else" else "live", match.end())
        elif word == "endif" and stack:
            state, begin = stack.pop()
            if state == "dead":
                dead.append((begin, match.start()))
    return dead


def _blank_spans(text: str, spans: list[tuple[int, int]]) -> str:
    parts: list[str] = []
    position = 0
    for begin, end in spans:
        start = max(begin, position)
        if end <= start:
            continue
        parts.append(text[position:start])
        parts.append(blanked(text[start:end]))
        position = end
    parts.append(text[position:])
    return "".join(parts)


def tokenize(text: str, language: str) -> Tokens:
    """Tell code, literals and commentary apart in ``text``; any text is accepted."""
    scanner = _Scanner(text, language)
    scanner.run()
    comments = sorted(scanner.comments)
    code = _blank_spans(text, comments)
    literals = scanner.literals
    if language in ("c", "cpp") and "#" in code:
        dead = sorted(_dead_branches(code))
        if dead:
            code = _blank_spans(code, dead)
            literals = [one for one in literals if not any(start <= one.start < end for start, end in dead)]
    literals.sort(key=lambda one: one.start)
    bare = _blank_spans(code, [(one.inner, one.outer) for one in literals])
    return Tokens(code, bare, literals, comments)
