"""``try``: the matrix, run. Pure judgement is in `_matrix`, one run in `_play`, the connections come from `_stage`."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from ucspi_env.envcheck._matrix import BROKEN, DIFFERENT, Result, Verdict, judge, verdict
from ucspi_env.envcheck._play import play
from ucspi_env.envcheck._stage import Stage, StageError
from ucspi_env.tools._errtext import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any

    from ucspi_env.envcheck._matrix import Cell
    from ucspi_env.envcheck._play import Run


class CannotRunError(Exception):
    """The program cannot be started at all; the message is C's."""


class Trial:
    """All cells, and what they add up to.

    Attributes:
        results: one a cell, in the order of the matrix.
        verdict: what they mean together.
        warning: empty, or why the connections were not real ones.
    """

    def __init__(self, results: list[Result], verdict: Verdict, warning: str) -> None:
        self.results = results
        self.verdict = verdict
        self.warning = warning


def trial(
    program: Sequence[str],
    matrix: Sequence[Cell],
    *,
    dialogue: bytes = b"",
    timeout: float = 5.0,
    jobs: int = 2,
    expect: re.Pattern[bytes] | None = None,
    step: Callable[[int], None] | None = None,
) -> Trial:
    """Run ``program`` in every cell.

    Args:
        program: the server and its arguments.
        matrix: what `ucspi_env.envcheck._matrix.cells` gave.
        dialogue: what each caller says.
        timeout: seconds a caller.
        jobs: callers at once.
        expect: what the answer to the first caller must match, or nothing can be judged.
        step: called with the number of cells that are done.

    Raises:
        CannotRunError: the program cannot be started.
    """
    with Stage() as stage:
        # One agent makes the connections, so they are made one after the other, before any server runs.
        staged = [_staged(stage, cell) for cell in matrix]
        warning = f"{stage.reason}: the servers got unnamed socket pairs" if stage.reason else ""
        with ThreadPoolExecutor(jobs) as pool:
            waiting = [
                pool.submit(_run, program, cell, ends, dialogue, timeout) if isinstance(ends, tuple) else ends
                for cell, ends in zip(matrix, staged, strict=True)
            ]
            runs: list[Run | str] = []
            error: OSError | None = None
            for done, future in enumerate(waiting, 1):
                try:
                    runs.append(future if isinstance(future, str) else future.result())
                except OSError as failure:
                    error = error or failure
                    runs.append(error_text(failure))
                if step is not None:
                    step(done)
        if error is not None:
            msg = f"unable to run {program[0]}: {error_text(error)}"
            raise CannotRunError(msg)
    known = {cell.name: (cell, run) for cell, run in zip(matrix, runs, strict=True) if not isinstance(run, str)}
    results = [
        Result(cell, None, BROKEN, run) if isinstance(run, str) else judge(cell, run, known.get(cell.reference))
        for cell, run in zip(matrix, runs, strict=True)
    ]
    first = results[0]
    if expect is not None and first.run is not None and not expect.search(first.run.output):
        results[0] = Result(first.cell, first.run, DIFFERENT, f"{first.detail}, which --expect does not match")
    return Trial(results, verdict(results), warning)


def _staged(stage: Stage, cell: Cell) -> tuple[socket.socket, socket.socket] | str:
    try:
        return stage.connect(cell.remote, cell.local, mapped=cell.mapped)
    except StageError as error:
        return str(error)


def _run(
    program: Sequence[str], cell: Cell, ends: tuple[socket.socket, socket.socket], dialogue: bytes, timeout: float
) -> Run:
    return play(program, cell.environ(os.environ), *ends, dialogue=dialogue, timeout=timeout)


def as_data(trial: Trial) -> dict[str, Any]:
    """The JSON form of a trial (docs/envcheck.md)."""
    return {
        "schema": 1,
        "ready": trial.verdict.ready,
        "verdict": str(trial.verdict),
        "findings": trial.verdict.findings,
        "warning": trial.warning,
        "callers": [
            {
                "name": result.cell.name,
                "dialect": result.cell.dialect,
                "kind": result.cell.kind,
                "remote": str(result.cell.remote),
                "local": str(result.cell.local),
                "reference": result.cell.reference or None,
                "outcome": result.outcome,
                "detail": result.detail,
                "log": result.log or None,
                "status": result.run.status if result.run else None,
                "seconds": round(result.run.seconds, 4) if result.run else None,
                "output": result.run.output.decode(errors="backslashreplace") if result.run else None,
                "errors": result.run.errors.decode(errors="backslashreplace") if result.run else None,
            }
            for result in trial.results
        ],
    }
