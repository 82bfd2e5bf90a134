"""``try``: the matrix, run. Judgement is in `_judge`, one run in `_play`, the connections come from `_stage`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Lock

from ucspi_env.envcheck._judge import (
    ACCEPTED,
    ALIKE,
    BROKEN,
    DIFFERENT,
    HUNG,
    Result,
    Template,
    Verdict,
    judge,
    said,
    verdict,
)
from ucspi_env.envcheck._matrix import COLUMNS, FIRST_CALLER_PORT
from ucspi_env.envcheck._play import play
from ucspi_env.envcheck._report import Paint, wrapped
from ucspi_env.envcheck._stage import Stage, StageError
from ucspi_env.tools._errtext import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from ucspi_env.envcheck._judge import Finding
    from ucspi_env.envcheck._matrix import Cell
    from ucspi_env.envcheck._play import Run

_FEW = 8
_MORE = 4
SCHEMA = 1
"""The version of the JSON form (docs/envcheck.md); fields are added within one version, never changed."""


class CannotRunError(Exception):
    """The program cannot be started at all; the message is C's."""


class Trial:
    """All cells, and what they add up to.

    Attributes:
        results: one a cell, in the order of the matrix; only the references where they already fail.
        verdict: what they mean together.
        warning: empty, or why the connections were not real ones.
    """

    def __init__(self, results: list[Result], verdict: Verdict, warning: str) -> None:
        self.results = results
        self.verdict = verdict
        self.warning = warning


class Trier:
    """Runs one program for any number of callers.

    Args:
        stage: where the connections come from.
        program: the server and its arguments.
        base: the environment that a caller's own variables are added to.
        dialogue: what each caller says.
        timeout: seconds a caller.
    """

    def __init__(
        self, stage: Stage, program: Sequence[str], base: Mapping[str, str], dialogue: bytes, timeout: float
    ) -> None:
        self._stage = stage
        self._program = program
        self._base = base
        self._dialogue = dialogue
        self._timeout = timeout
        self._turn = Lock()  # the stage has one agent, which answers one question at a time
        self._ports = count(FIRST_CALLER_PORT + 1000)

    def run(self, cell: Cell) -> Run | str:
        """What the program did, or why the connection could not be made.

        Raises:
            CannotRunError: the program cannot be started.
        """
        with self._turn:
            try:
                server, client = self._stage.connect(cell.remote, cell.local, mapped=cell.mapped)
            except StageError as error:
                return str(error)
        try:
            environ = cell.environ(self._base)
            return play(self._program, environ, server, client, dialogue=self._dialogue, timeout=self._timeout)
        except (OSError, ValueError) as error:
            reason = error_text(error) if isinstance(error, OSError) else str(error)
            msg = f"unable to run {self._program[0]}: {reason}"
            raise CannotRunError(msg) from None

    def again(self, cell: Cell) -> tuple[Cell, Run | str]:
        """The same caller once more, from another port."""
        other = cell.again(next(self._ports))
        return other, self.run(other)


def trial(
    program: Sequence[str],
    matrix: Sequence[Cell],
    *,
    base: Mapping[str, str],
    dialogue: bytes = b"",
    timeout: float = 5.0,
    jobs: int = 8,
    expect: re.Pattern[bytes] | None = None,
    step: Callable[[int], None] | None = None,
) -> Trial:
    """Run ``program`` in every cell.

    Args:
        program: the server and its arguments.
        matrix: what `ucspi_env.envcheck._matrix.cells` gave.
        base: the environment that a caller's own variables are added to.
        dialogue: what each caller says.
        timeout: seconds a caller.
        jobs: callers at once.
        expect: what the answer to a caller who is served matches.
        step: called with the number of cells that are done.

    Raises:
        CannotRunError: the program cannot be started.
    """
    references = [cell for cell in matrix if not cell.reference]
    with Stage() as stage:
        warning = f"{stage.reason}: the servers got unnamed socket pairs" if stage.reason else ""
        trier = Trier(stage, program, base, dialogue, timeout)
        runs: dict[str, Run | str] = {cell.name: trier.run(cell) for cell in references}
        first = [_judged(cell, runs[cell.name]) for cell in references]
        answers = [result.run for result in first if result.run is not None]
        unlike = expect is not None and not any(expect.search(run.output) for run in answers)
        if unlike or any(result.outcome != ALIKE for result in first):
            summary = verdict(first)
            if unlike and summary.ready is not None:
                reason = f"--expect does not match the answer to a plain IPv4 caller: {first[0].detail}"
                summary = Verdict(None, reason=reason)
            return Trial(first, summary, warning)
        known = {cell.name: Template(cell, run) for cell in references if not isinstance(run := runs[cell.name], str)}
        _learn(trier, references, known)
        pool = ThreadPoolExecutor(jobs)
        try:
            others = [cell for cell in matrix if cell.reference]
            for done, (cell, run) in enumerate(zip(others, pool.map(trier.run, others), strict=True), len(first) + 1):
                runs[cell.name] = run
                if step is not None:
                    step(done)
            _learn(trier, references, known)
            for cell in others:
                run = runs[cell.name]
                if not isinstance(run, str):
                    known[cell.name] = Template(cell, run)
            results = [*first, *(_judged(cell, runs[cell.name], known, expect) for cell in others)]
            # Nobody is accused of what does not happen twice; many that hang need no second proof.
            many = sum(result.outcome == HUNG for result in results) > _FEW
            sure = (ALIKE, BROKEN, HUNG) if many else (ALIKE, BROKEN)
            doubted = [at for at, result in enumerate(results) if result.outcome not in sure or result.log]
            # What differs by itself shows when those that they are compared with call more often.
            compared = {name for at in doubted for name in (results[at].cell.reference, *results[at].cell.fallbacks)}
            teachers = [cell for cell in matrix if cell.name in compared and cell.name in known]
            for cell, run in pool.map(
                trier.again, [cell for cell in teachers if known[cell.name].outcome == ALIKE] * _MORE
            ):
                if not isinstance(run, str):
                    known[cell.name].learn(cell, run)
            for at in doubted:
                cell = results[at].cell
                results[at] = _judged(cell, runs[cell.name], known, expect)
            repeated = pool.map(trier.again, [results[at].cell for at in doubted])
            for at, (cell, run) in zip(doubted, repeated, strict=True):
                second = _judged(cell, run, known, expect)
                if second.outcome == ALIKE and not second.log:
                    results[at] = second
        finally:
            pool.shutdown(cancel_futures=True)
    return Trial(results, verdict(results, expected=expect is not None), warning)


def _learn(trier: Trier, references: Sequence[Cell], known: Mapping[str, Template]) -> None:
    """Run the references once more, to see what differs by itself."""
    for cell in references:
        again, run = trier.again(cell)
        if not isinstance(run, str):
            known[cell.name].learn(again, run)


def _judged(
    cell: Cell,
    run: Run | str,
    known: Mapping[str, Template] | None = None,
    expect: re.Pattern[bytes] | None = None,
) -> Result:
    if isinstance(run, str):
        return Result(cell, None, BROKEN, run)
    known = known or {}
    fallbacks = [known[name] for name in cell.fallbacks if name in known]
    return judge(cell, run, known.get(cell.reference), fallbacks, expect)


# -- for people and programs --


def as_data(trial: Trial) -> dict[str, Any]:
    """The JSON form of a trial (docs/envcheck.md)."""
    return {
        "schema": SCHEMA,
        "ready": trial.verdict.ready,
        "verdict": str(trial.verdict),
        "reason": trial.verdict.reason or None,
        "findings": [finding.as_data() for finding in trial.verdict.findings],
        "notes": [finding.as_data() for finding in trial.verdict.notes],
        "warning": trial.warning or None,
        "callers": [_caller(result) for result in trial.results],
    }


def _caller(result: Result) -> dict[str, Any]:
    cell, run = result.cell, result.run
    return {
        "name": cell.name,
        "dialect": cell.dialect,
        "kind": cell.kind,
        "remote": str(cell.remote),
        "local": str(cell.local),
        "reference": cell.reference or None,
        "outcome": result.outcome,
        "counts": result.counts,
        "detail": result.detail,
        "log": result.log or None,
        "status": run.status if run else None,
        "seconds": round(run.seconds, 4) if run else None,
        "output": run.output.decode(errors="backslashreplace") if run else None,
        "errors": run.errors.decode(errors="backslashreplace") if run else None,
    }


def render(trial: Trial, *, colour: bool = False, verbose: bool = False, width: int = 80) -> str:
    """The results for a person: a table of what is not alike (``verbose``: of all), then the verdict."""
    paint = Paint(colour)
    lines: list[str] = []
    if verbose:
        for result in trial.results:
            lines.extend(_told(result, paint, width))
        lines.append("")
    if len(trial.results) > 2:
        lines.extend(_table(trial.results, paint, verbose=verbose))
        lines.append("")
    if trial.warning:
        lines.extend(wrapped("note: ", trial.warning, width))
    if trial.verdict.ready is None:
        lines.extend(wrapped("", str(trial.verdict), width))
    elif trial.verdict.ready:
        lines.append(f"IPv6 ready: {paint.good('yes')}")
    else:
        lines.append(f"IPv6 ready: {paint.bad('no')}, because it")
    for finding in trial.verdict.findings:
        lines.extend(_listed(finding, width))
    if trial.verdict.notes:
        lines.append("no matter of IPv6, but good to know: it")
        for finding in trial.verdict.notes:
            lines.extend(_listed(finding, width))
    return "\n".join(lines) + "\n"


def _listed(finding: Finding, width: int) -> Iterator[str]:
    yield from wrapped("- ", str(finding), width)
    example = f"{finding.callers[0]} ({len(finding.callers)} of {finding.of} such callers)"
    yield from wrapped("  e.g. ", example, width)


def _told(result: Result, paint: Paint, width: int) -> Iterator[str]:
    run = result.run
    seconds = f" {1000 * run.seconds:.0f} ms" if run else ""
    head = f"{_painted(result, paint)}{' ' * (10 - len(result.outcome))}"
    yield from wrapped(head, f"{result.cell.name} ({result.cell.remote}){seconds}", width)
    yield from wrapped(" " * 10, f"said {said(run)}" if run else result.detail, width)
    if run and run.errors:
        errors = ascii(run.errors.decode(errors="replace").strip())[1:-1]
        yield from wrapped(" " * 10, f"log  {errors[:200]}", width)


def _painted(result: Result, paint: Paint) -> str:
    if result.outcome == ALIKE:
        return paint.good(result.outcome)
    return paint.bad(result.outcome) if result.counts else result.outcome


_IN_TABLE = {DIFFERENT: "differs", ACCEPTED: "let in"}  # ten columns, parentheses and a blank


def _table(results: Sequence[Result], paint: Paint, *, verbose: bool) -> Iterator[str]:
    rows: dict[str, dict[str, Result]] = {}
    for result in results:
        rows.setdefault(result.cell.row, {})[result.cell.column] = result
    shown = {
        row: cells
        for row, cells in rows.items()
        if verbose or any(cell.outcome != ALIKE or cell.log for cell in cells.values())
    }
    first = max(map(len, shown), default=0)
    if shown:
        yield f"{'':{first}} {''.join(f'{column:<10}' for column in COLUMNS)}".rstrip()
    for row, cells in shown.items():
        words: list[str] = []
        for column in COLUMNS:
            cell = cells.get(column)
            if cell is None:
                words.append(f"{'-':<10}")
                continue
            bad = cell.counts or cell.log_counts
            fair = cell.outcome == ALIKE
            word = "bad log" if fair and cell.log else _IN_TABLE.get(cell.outcome, cell.outcome)
            # In parentheses: an IPv4 caller of the same super-server fares the same, or it is one.
            word = word if bad or (fair and not cell.log) else f"({word})"
            plain = f"{word:<10}"
            words.append(plain.replace(word, paint.bad(word)) if bad else plain)
        yield f"{row:<{first}} {''.join(words)}".rstrip()
    quiet = len(rows) - len(shown)
    alike = sum(result.outcome == ALIKE and not result.log for result in results)
    others = f"; {quiet} rows of nothing else are left out" if quiet else ""
    yield f"{alike} of {len(results)} callers were answered alike{others}"
