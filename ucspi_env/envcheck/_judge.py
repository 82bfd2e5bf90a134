"""``try``: what a server's answers mean. Pure.

Two answers are alike if they differ in nothing but what must differ: the two addresses and the port, in whatever
spelling, what follows from their length, words for the family, the time, the process id, and whatever differs between
two answers to the very same caller as well.
"""

from __future__ import annotations

import re
import signal
from ipaddress import IPv6Address
from itertools import zip_longest

from ucspi_env._address import djb_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from ucspi_env._model import Endpoint
    from ucspi_env.envcheck._matrix import Cell
    from ucspi_env.envcheck._play import Run

ALIKE, DIFFERENT, REFUSED, ACCEPTED, CRASHED, HUNG, BROKEN = (
    "alike",
    "different",
    "refused",
    "accepted",
    "crashed",
    "hung",
    "broken",
)
"""What one cell can come to: answered as its reference; answered differently; turned away where the reference was
served; served where the reference was turned away; ended by a signal or an uncaught exception; outlived its time; not
connected at all."""


_OF_IPV6 = ("IPv6", "mapped", "link-local")


class Result:
    """One cell and what the server did in it.

    Attributes:
        cell: the caller.
        run: what the server did, or None where it could not be connected.
        outcome: `ALIKE` and so on.
        detail: one line of evidence.
        log: what is wrong with its log, or empty.
        invented: the made-up address that it shows in place of the caller's, or empty.
        excused: whether a fallback fares the same.
    """

    __slots__ = ("cell", "detail", "excused", "invented", "log", "outcome", "run")

    def __init__(
        self, cell: Cell, run: Run | None, outcome: str, detail: str, log: str = "", invented: str = ""
    ) -> None:
        self.cell = cell
        self.run = run
        self.outcome = outcome
        self.detail = detail
        self.log = log
        self.invented = invented
        self.excused = False

    @property
    def counts(self) -> bool:
        """Whether the outcome speaks against the server's being ready for IPv6."""
        if self.excused or self.outcome in (ALIKE, BROKEN):
            return False
        if self.cell.kind == "hostile":
            return self.outcome in (CRASHED, HUNG, ACCEPTED)
        if self.cell.kind == "missing":
            return self.cell.column != "IPv4"
        return self.cell.kind in _OF_IPV6

    @property
    def log_counts(self) -> bool:
        """Whether the log speaks against it."""
        return bool(self.log) and not self.excused and self.cell.kind in _OF_IPV6


# -- one cell --


def judge(
    cell: Cell,
    run: Run,
    reference: Template | None = None,
    fallbacks: Iterable[Template] = (),
    expect: re.Pattern[bytes] | None = None,
) -> Result:
    """Compare what the server did with what it did for the cell's reference and, where that differs, its fallbacks.

    Args:
        cell: the caller.
        run: what the server did.
        reference: its answers to the reference; None for a reference itself.
        fallbacks: its answers to the fallbacks.
        expect: what the answer to a caller who is served matches; then nothing else about answers counts.
    """
    if reference is None:
        return _fault(cell, run) or Result(cell, run, ALIKE, said(run))
    first = _compared(cell, run, reference, expect)
    for fallback in fallbacks:
        if first.outcome == ALIKE and not first.log:
            break
        second = _compared(cell, run, fallback, expect)
        same = second.outcome == fallback.outcome if first.outcome in (CRASHED, HUNG) else second.outcome == ALIKE
        first.excused = first.excused or (first.outcome != ALIKE and same)
        if not second.log:
            first.log = ""
    return first


def _compared(cell: Cell, run: Run, template: Template, expect: re.Pattern[bytes] | None) -> Result:
    fault = _fault(cell, run)
    if fault is not None:
        return fault
    log = log_fault(cell, run, template)
    if expect is not None:
        now, before = (bool(expect.search(one.output)) for one in (run, template.run))
        if now == before:
            return Result(cell, run, ALIKE, said(run), log)
        return Result(cell, run, ACCEPTED if now else REFUSED, _answer(template.difference(cell, run)[0], run), log)
    same_words = template.matches(cell, run)
    if same_words and run.status == template.run.status:
        return Result(cell, run, ALIKE, said(run), log)
    outcome = DIFFERENT if same_words else _turn(run, template.run)
    ours, theirs = template.difference(cell, run)
    if outcome != DIFFERENT:
        return Result(cell, run, outcome, _answer(ours, run), log)
    return Result(
        cell,
        run,
        DIFFERENT,
        f"{ours} where the reference gets {theirs}",
        log,
        _invented(run.output, template.run.output),
    )


def _fault(cell: Cell, run: Run) -> Result | None:
    if run.hung:
        return Result(cell, run, HUNG, f"still running after {run.seconds:.1f} s")
    crash = _crash(run)
    return Result(cell, run, CRASHED, crash) if crash else None


_DIED = (
    (re.compile(r"^Traceback \(most recent call last\)", re.M), "uncaught exception"),
    (re.compile(r"^.* at \S+ line \d+\.?$", re.M), "died"),  # Perl
    (re.compile(r"^(?:fatal error|panic): |panicked at |^thread .* panicked", re.M), "panic"),  # Go, Rust
    (re.compile(r"^\S+:\d+:in .*\((?:\w|::)+\)", re.M), "uncaught exception"),  # Ruby
    (re.compile(r"^(?:PHP )?Fatal error: ", re.M), "fatal error"),
    (re.compile(r"^\s+at .*\(.*:\d+:\d+\)$|^Exception in thread ", re.M), "uncaught exception"),  # Node.js, Java
    (re.compile(r"AddressSanitizer|runtime error: |\*\*\* (?:buffer overflow|stack smashing)"), "memory error"),
)


def _crash(run: Run) -> str:
    number = -run.status if run.status is not None and run.status < 0 else 0
    if run.status in (128 + 4, 128 + 6, 128 + 7, 128 + 8, 128 + 11):  # as a shell in between tells it
        number = run.status - 128
    if number:
        try:
            return f"ended by {signal.Signals(number).name}"
        except ValueError:
            return f"ended by signal {number}"
    text = run.errors.decode(errors="replace")
    for pattern, what in _DIED:
        if run.status and (found := pattern.search(text)):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            line = lines[-1] if what == "uncaught exception" and lines else found[0]
            return f"{what}: {_short(line, 70)}"
    return ""


_DENIALS = re.compile(
    r"denied|refused|reject|not allowed|not permitted|forbidden|sorry|go away|unauthorized|not authorized"
    r"|bad address|invalid|cannot parse|could not parse|not an? (?:ip )?address|unable to|(?:not |un)supported"
    r"|ipv4[ -]only|only (?:over )?ipv4|no ipv6",
    re.I,
)


def _turn(run: Run, other: Run) -> str:
    """Whether a caller was turned away, or let in, where the other was not; `DIFFERENT` if neither."""
    now, before = list(_replies(run.output)), list(_replies(other.output))
    for this, that in zip(now, before, strict=False):
        if this != that:
            return ACCEPTED if this else REFUSED
    if len(now) != len(before) and (now or before) and all(now) and all(before):
        # One conversation is the other's beginning: somebody hung up.
        return REFUSED if len(now) < len(before) else ACCEPTED
    if len(now) == len(before) and now and run.status == other.status:
        return DIFFERENT
    served, was_served = _served(run), _served(other)
    if served == was_served:
        return DIFFERENT
    return ACCEPTED if served else REFUSED


_REPLY = re.compile(rb"^(?:HTTP/\d(?:\.\d)? )?([2-5])\d\d(?:[ -]|\r?$)|^(\+OK|-ERR)\b|^\S+ (OK|NO|BAD|BYE)\b", re.M)


_LATER = re.compile(rb"4\d\d[ -]")


def _replies(output: bytes) -> Iterable[bool]:
    """For each reply of SMTP, FTP, HTTP, POP3 or IMAP whether it is a good one."""
    for digit, pop, imap in _REPLY.findall(output):
        yield digit in (b"2", b"3") or pop == b"+OK" or imap == b"OK"


def _served(run: Run) -> bool:
    text = run.output.decode(errors="replace")
    replies = list(_replies(run.output))
    denied = not replies[0] if replies else bool(_DENIALS.search(text[:2000]))
    if _LATER.match(run.output):
        denied = False  # a grey list says so to every stranger
    return not run.status and bool(text.strip()) and not denied


_SHOWN = 60


def _short(text: str, length: int) -> str:
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def said(run: Run) -> str:
    """What a server said, for people: its first line and its exit status."""
    if run.status is None:
        return f"still running after {run.seconds:.1f} s"
    first = run.output.partition(b"\n")[0].decode(errors="replace").strip()
    text = f"'{_short(first, _SHOWN)}'" if first else "nothing" if not run.output else "an empty line"
    if run.status < 0:
        return f"{text} (signal {-run.status})"
    return f"{text} (exit {run.status})" if run.status else text


def _answer(line: str, run: Run) -> str:
    return f"{line} (exit {run.status})" if run.status and not line.startswith("exit ") else line


_INVENTED = ("0.0.0.0", "255.255.255.255", "127.0.0.1")  # noqa: S104 - read, not bound
_NOBODY = ("(null)", "None", "unknown")


def _invented(output: bytes, other: bytes, words: Iterable[str] = _INVENTED) -> str:
    """The made-up address that is in one answer and not in the other."""
    for text in words:
        word = re.compile(rb"(?<![\w.])" + re.escape(text.encode()) + rb"(?![\w.])")
        if word.search(output) and not word.search(other):
            return text
    return ""


def log_fault(cell: Cell, run: Run, template: Template) -> str:
    """What is wrong with the log, where the reference's log names the caller; empty if nothing is."""
    if not names(template.run.errors, template.cell.remote) or names(run.errors, cell.remote):
        return ""
    invented = _invented(run.errors, template.run.errors, _INVENTED + _NOBODY)
    if invented:
        return f"the log says {invented} in place of {cell.remote.ip}"
    return f"the log does not name {cell.remote.ip}"


# -- neutral answers --


def spellings(end: Endpoint) -> list[str]:
    """Every way in which a server may have written an address down, the longest first."""
    ip = end.ip
    texts = {str(ip), ip.exploded, djb_text(ip), ip.packed.hex()}
    if isinstance(ip, IPv6Address):
        texts.add(":".join(f"{int(group, 16):x}" for group in ip.exploded.split(":")))
        texts |= {f"{text}%{end.zone}" for text in tuple(texts) if end.zone and ":" in text}
    else:
        high, low = divmod(int(ip), 65536)
        for tail in (str(ip), f"{high:x}:{low:x}", f"{high:04x}:{low:04x}"):
            texts |= {f"{zeros}:ffff:{tail}" for zeros in (":", "0:0:0:0:0", ":".join(["0000"] * 5))}
    network = end.network()
    derived = {ip.reverse_pointer, end.key(), str(network), str(network.network_address)}
    return sorted(texts | derived, key=len, reverse=True)


def _address_pattern(end: Endpoint, *ports: int | None) -> re.Pattern[str]:
    """The address in any spelling, with its brackets and one of these ports, and not as a part of a longer one."""
    alternatives = "|".join(re.escape(text) for text in spellings(end))
    reversed_labels = re.escape(end.ip.reverse_pointer.rpartition(".")[0].rpartition(".")[0])
    port = "|".join(str(port) for port in (end.port, *ports) if port)
    return re.compile(
        rf"(?:\[(?:IPv6:)?(?:{alternatives})\]|(?<![\w.]){reversed_labels}(?=\.[A-Za-z])"
        rf"|(?<![\w:.%])(?:{alternatives})(?![\w%]|[:.](?!(?:{port})\b)[0-9A-Fa-f]|::))"
        rf"(?:[:.](?:{port})\b)?",
        re.IGNORECASE,
    )


def names(text: bytes, end: Endpoint) -> bool:
    """Whether the address stands in ``text``."""
    return bool(_address_pattern(end).search(text.decode(errors="replace")))


_CLOCK = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T _]\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?)?|(?<![\d:])\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?![\d:])"
    r"|\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,?(?= )|@4[0-9a-f]{23}\b|(?<= )(?:[AP]M|UTC|GMT|[+-]\d{4})\b"
)
_FAMILY = re.compile(r"(?<![A-Za-z])(TCP|UDP|SSL|IPv|IP|INET|AF_INET)[46]?(?![0-9])", re.IGNORECASE)
_SIZE = re.compile(r"(?<=content-length: )\d+", re.IGNORECASE)
_TOKEN = re.compile(r"<\w+>|\w+|[^\w\s]")
_DAY = 86400


def neutral(cell: Cell, run: Run) -> list[str]:
    """The words of an answer, with signs for what must differ."""
    text = run.output.decode("utf-8", "surrogateescape")
    # A local caller has the address that it calls: either port may stand beside it.
    both = (cell.local.port,) if cell.remote.ip == cell.local.ip else ()
    text = _address_pattern(cell.remote, *both).sub("<caller>", text)
    text = _address_pattern(cell.local).sub("<called>", text)
    text = re.sub(rf"(?<!\d){cell.remote.port}(?!\d)", "<port>", text)
    if run.pid > 99:
        text = re.sub(rf"(?<!\d){run.pid}(?!\d)", "<pid>", text)

    def epoch(found: re.Match[str]) -> str:
        return "<time>" if abs(int(found[0][:10]) - run.start) < _DAY else found[0]

    text = re.sub(r"(?<!\w)\d{10}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?(?!\w)", epoch, text)
    text = _SIZE.sub("<size>", _CLOCK.sub("<time>", text))
    text = _FAMILY.sub(lambda found: found[1].lower().replace("ipv", "ip").replace("af_", ""), text)
    return _TOKEN.findall(text)


class Template:
    """What a server's answer to one caller looks like, learnt from one run or several.

    Attributes:
        cell: the caller.
        run: the first run.
        steady: whether all runs have the same number of words; if not, only the first line of an answer, and the lines
            that all runs have, are looked for.
    """

    def __init__(self, cell: Cell, run: Run, *more: tuple[Cell, Run]) -> None:
        self.cell = cell
        self.run = run
        self._words: list[str | None] = [*neutral(cell, run)]
        lines = _lines(cell, run)
        self._first: tuple[str | None, ...] | None = lines[0][0] if lines else ()
        self._always = dict(lines)
        self.steady = True
        for other_cell, other in more:
            self.learn(other_cell, other)

    def learn(self, cell: Cell, run: Run) -> None:
        """Take what differs in this run, which should be the same, for something that differs by itself."""
        if _fault(cell, run):
            return
        lines = _lines(cell, run)
        present = {words for words, _ in lines}
        self._always = {words: line for words, line in self._always.items() if words in present}
        self._first = _common(self._first, lines[0][0] if lines else ())
        words = neutral(cell, run)
        if len(words) != len(self._words):
            self.steady = False
        else:
            self._words = list(_common(tuple(self._words), words) or ())

    @property
    def outcome(self) -> str:
        """`HUNG`, `CRASHED`, or `ALIKE` for any answer at all."""
        fault = _fault(self.cell, self.run)
        return fault.outcome if fault else ALIKE

    def matches(self, cell: Cell, run: Run) -> bool:
        """Whether an answer is one of these."""
        if not self.steady:
            return self._unlike(_lines(cell, run)) is None
        words = neutral(cell, run)
        if len(words) != len(self._words):
            return False
        lengths = self._lengths(cell, run)
        return all(
            mine is None
            or word == mine
            or (word.isdecimal() and mine.isdecimal() and int(word[:18]) - int(mine[:18]) in lengths)
            for word, mine in zip(words, self._words, strict=True)
        )

    def difference(self, cell: Cell, run: Run) -> tuple[str, str]:
        """The first line that differs, and not by itself, in both answers, for people."""
        lines, others = _lines(cell, run), _lines(self.cell, self.run)
        if not self.steady:
            missing = self._unlike(lines)
            if missing is not None:
                usual = {words for words, _ in others}
                behind = lines[self._begins(lines) :]  # a first line may differ by itself
                odd = next((line for words, line in behind if words not in usual), "")
                return _excerpt(odd, [], 0), _excerpt(missing, [], 0)
        at = 0
        for (ours, line), (theirs, other) in zip_longest(lines, others, fillvalue=((), "")):
            unlike = (
                n
                for n, (word, mine) in enumerate(zip_longest(ours, theirs))
                if word != mine and (len(ours) != len(theirs) or self._words[at + n : at + n + 1] != [None])
            )
            n = next(unlike, None)
            if n is not None:
                return _excerpt(line, list(ours), n), _excerpt(other, list(theirs), n)
            at += len(theirs)
        return f"exit {run.status}", f"exit {self.run.status}"

    def _unlike(self, lines: Sequence[tuple[tuple[str, ...], str]]) -> str | None:
        """The first line that should be among ``lines``, which have no steady shape, and is not."""
        if not self._begins(lines):
            return next((line for _, line in _lines(self.cell, self.run)), "")
        present = {words for words, _ in lines}
        return next((line for words, line in self._always.items() if words not in present), None)

    def _begins(self, lines: Sequence[tuple[tuple[str, ...], str]]) -> bool:
        """Whether the first line is as it should be, if anything is known about that."""
        first = lines[0][0] if lines else ()
        if self._first is None:
            return True
        return len(first) == len(self._first) and all(
            mine in (None, word) for word, mine in zip(first, self._first, strict=True)
        )

    def _lengths(self, cell: Cell, run: Run) -> set[int]:
        """By how much a number may differ that counts bytes: an address or the whole answer is longer."""
        whole = len(run.output) - len(self.run.output)
        mine, other = spellings(cell.remote), spellings(self.cell.remote)
        return {whole, *(len(a) - len(b) for a in mine for b in other)} - {0} if whole else set()


def _excerpt(line: str, words: list[str], at: int) -> str:
    """A line as it is, where the difference shows at its beginning; else the words around number ``at``."""
    if not line:
        return "nothing"
    late = len(line) > _SHOWN and len(" ".join(words[:at])) > _SHOWN // 2
    return f"'{_short('… ' + ' '.join(words[at - 3 : at + 5]) if late else line, _SHOWN)}'"


def _lines(cell: Cell, run: Run) -> list[tuple[tuple[str, ...], str]]:
    """The lines of an answer that are not empty: their words with signs for what must differ, and their text."""
    found: list[tuple[tuple[str, ...], str]] = []
    for line in run.output.splitlines():
        if line.strip():
            alone = type(run)(line, b"", run.status, run.seconds, run.pid, run.start)
            found.append((tuple(neutral(cell, alone)), line.decode(errors="replace").strip()))
    return found


def _common(words: tuple[str | None, ...] | None, others: Sequence[str]) -> tuple[str | None, ...] | None:
    """``words`` with None wherever ``others`` has another one; None if they are not as many."""
    if words is None or len(words) != len(others):
        return None
    return tuple(mine if mine == theirs else None for mine, theirs in zip(words, others, strict=True))


# -- all cells --


class Finding:
    """One fault: what it is, for whom, and the evidence.

    Attributes:
        code: ``"crashes"``, ``"hangs"``, ``"bypass"``, ``"rejects"``, ``"invents"``, ``"differs"`` or ``"wrong-log"``.
        kind: the kind of callers, one of `ucspi_env.envcheck._matrix.KINDS`.
        callers: the names of the cells that show it.
        of: how many cells of that kind there are.
        detail: the evidence of the first.
        counts: whether it speaks against the server's being ready for IPv6.
    """

    __slots__ = ("callers", "code", "counts", "detail", "kind", "of")

    def __init__(self, code: str, kind: str, callers: list[str], of: int, detail: str, *, counts: bool) -> None:
        self.code = code
        self.kind = kind
        self.callers = callers
        self.of = of
        self.detail = detail
        self.counts = counts

    def __str__(self) -> str:
        return f"{_VERBS[self.code].format(_WHO[self.kind])}: {self.detail}"

    def as_data(self) -> dict[str, Any]:
        """The JSON form."""
        return {name: getattr(self, name) for name in ("code", "kind", "detail", "callers", "of")}


_VERBS = {
    "crashes": "crashes on {}",
    "hangs": "hangs on {}",
    "bypass": "lets in {} whose like it turns away over IPv4 (its access list is bypassed)",
    "invents": "takes {} for somebody else",
    "rejects": "rejects {}",
    "differs": "answers {} differently",
    "wrong-log": "writes wrong log text for {}",
}
_WHO = {
    "IPv4": "IPv4 callers",
    "IPv6": "IPv6 callers",
    "mapped": "IPv4-mapped callers",
    "link-local": "link-local IPv6 callers",
    "missing": "callers of super-servers that set fewer variables",
    "hostile": "callers with a hostile host name or ident answer",
    "other": "IPv4 callers of super-servers with other variables",
}
_WORST_FIRST = tuple(_VERBS)


class Verdict:
    """The answer to "is this server IPv6 ready?".

    Attributes:
        ready: True, False, or None where nothing can be said.
        findings: why not, the worst first.
        notes: what is worth knowing although it is no matter of IPv6.
        reason: why nothing can be said.
    """

    def __init__(
        self, ready: bool | None, findings: Sequence[Finding] = (), notes: Sequence[Finding] = (), reason: str = ""
    ) -> None:
        self.ready = ready
        self.findings = list(findings)
        self.notes = list(notes)
        self.reason = reason

    def __str__(self) -> str:
        if self.ready is None:
            return f"cannot judge: {self.reason}"
        if self.ready:
            return "IPv6 ready: yes"
        return f"IPv6 ready: no, because it {'; '.join(map(str, self.findings))}"


def _last_words(run: Run) -> str:
    text = run.errors.decode(errors="replace").strip()
    return f" ({_short(text.splitlines()[-1], 70)})" if text else ""


def verdict(results: Sequence[Result], *, expected: bool = False) -> Verdict:
    """Sum up; ``expected`` says that ``--expect`` has found a plain IPv4 caller served."""
    for result in results:
        if not result.cell.reference and result.outcome != ALIKE:
            reason = f"a plain IPv4 caller ({result.cell.remote.ip}) already: {result.outcome}: {result.detail}"
            return Verdict(None, reason=reason)
    references = [result.run for result in results if not result.cell.reference and result.run]
    if not any(run.output or run.errors for run in references):
        return Verdict(None, reason="it says nothing at all to a plain IPv4 caller; say something to it with --input")
    found = list(_findings(results))
    if not expected and not any(map(_served, references)) and not any(finding.counts for finding in found):
        reason = f"it turns plain IPv4 callers away already: {said(references[0])}{_last_words(references[0])}"
        return Verdict(None, reason=f"{reason}; see --input, --from4 and --expect")
    findings = [finding for finding in found if finding.counts]
    broken = [result for result in results if result.outcome == BROKEN and result.cell.kind != "hostile"]
    if broken and not findings:
        return Verdict(None, reason=f"{broken[0].cell.name}: {broken[0].detail}")
    return Verdict(not findings, findings, [finding for finding in found if not finding.counts])


def _findings(results: Sequence[Result]) -> Iterable[Finding]:
    hits: dict[tuple[str, str, bool], list[Result]] = {}
    for result in results:
        if result.outcome not in (ALIKE, BROKEN) and not result.excused:
            hits.setdefault((_code(result), result.cell.kind, result.counts), []).append(result)
        if result.log_counts:
            hits.setdefault(("wrong-log", result.cell.kind, True), []).append(result)
    for code in _WORST_FIRST:
        for kind in _WHO:
            of = sum(result.cell.kind == kind for result in results)
            for counts in (True, False):
                found = hits.get((code, kind, counts))
                # A host name may show in an answer; only what it breaks is worth a word.
                if found and not (kind == "hostile" and not counts):
                    detail = found[0].log if code == "wrong-log" else found[0].detail
                    callers = [result.cell.name for result in found]
                    yield Finding(code, kind, callers, of, detail, counts=counts)


def _code(result: Result) -> str:
    if result.outcome == DIFFERENT:
        return "invents" if result.invented else "differs"
    return {CRASHED: "crashes", HUNG: "hangs", ACCEPTED: "bypass", REFUSED: "rejects"}[result.outcome]
