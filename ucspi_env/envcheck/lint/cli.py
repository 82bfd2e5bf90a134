"""The command: ``ucspi-envcheck lint`` (by itself: ``python -m ucspi_env.envcheck.lint``)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from ucspi_env.envcheck.lint import _report
from ucspi_env.envcheck.lint._config import Config, ConfigError, load
from ucspi_env.envcheck.lint._engine import lint_text
from ucspi_env.envcheck.lint._fix import fixed
from ucspi_env.envcheck.lint._languages import guess
from ucspi_env.envcheck.lint._model import Finding
from ucspi_env.envcheck.lint._names import SERVERS, UCSPI
from ucspi_env.envcheck.lint._pages import explain_text, rules_list
from ucspi_env.envcheck.lint._walk import Skipped, files, read

__all__ = ["explain_text", "lint", "rules_list"]

_Job = tuple[str, str, bool]
_FEW = 8


def _lint_job(job: _Job) -> list[Finding]:
    path, text, named = job
    return lint_text(path, text, named=named)


def _gather(paths: Iterable[str], exclude: tuple[str, ...], skipped: Skipped) -> list[_Job]:
    """Return what is to be judged: a tree that names UCSPI or a super-server is judged as strictly as a named file."""
    jobs: list[_Job] = []
    for path in paths:
        texts: list[tuple[str, str]] = []
        for name in files(path, exclude, skipped):
            text = read(name, skipped)
            if text is not None:
                texts.append((name, text))
        whole = not os.path.isdir(path) or any(UCSPI.search(text) or SERVERS.search(text) for _, text in texts)
        jobs.extend((name, text, whole) for name, text in texts)
    return list({name: (name, text, whole) for name, text, whole in jobs}.values())


def _run(jobs: list[_Job], workers: int) -> list[Finding]:
    pool = _pool(workers) if workers > 1 and len(jobs) >= _FEW else None
    if pool is None:
        return [one for found in map(_lint_job, jobs) for one in found]
    with pool:
        return [
            one for found in pool.map(_lint_job, jobs, chunksize=max(1, len(jobs) // (workers * 8))) for one in found
        ]


def _pool(workers: int) -> ProcessPoolExecutor | None:
    """Start processes to judge files in; None, and a line on stderr, where this machine has no semaphores for them."""
    try:
        return ProcessPoolExecutor(workers)
    except (OSError, NotImplementedError) as error:  # /dev/shm is absent or cannot be written to
        click.echo(f"ucspi-envcheck lint: --jobs {workers} is ignored, one process does it all: {error}", err=True)
        return None


def _apply_fixes(jobs: list[_Job]) -> tuple[list[_Job], int]:
    total = 0
    after: list[_Job] = []
    for name, text, named in jobs:
        if guess(name, text) == "python":
            changed, count = fixed(text)
            if count:
                raw = Path(name).read_bytes()
                if raw.decode("utf-8", "replace") == text and "�" not in text:
                    Path(name).write_bytes(changed.encode())
                    total += count
                    after.append((name, changed, named))
                    continue
        after.append((name, text, named))
    return after, total


def _words(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.strip() for value in values for word in value.split(",") if word.strip())


@click.command("lint", short_help="Find code that is not IPv6 ready.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True), metavar="PATH...")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    default="text",
    show_default=True,
    help="How findings are shown.",
)
@click.option(
    "--select",
    multiple=True,
    callback=_words,
    metavar="RULE,...",
    help="Only these rules: codes (U101), beginnings of codes (U1) or names.",
)
@click.option("--ignore", multiple=True, callback=_words, metavar="RULE,...", help="Not these rules.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out, in directories, what matches this .gitignore pattern.",
)
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that judge files at the same time.",
)
@click.option(
    "--fix", is_flag=True, help="Rewrite what can be rewritten with certainty (Python: os.environ['TCPREMOTEIP'])."
)
@click.option("--isolated", is_flag=True, help="Read no settings from pyproject.toml or .ucspi-envcheck.toml.")
def lint(
    paths: tuple[str, ...],
    form: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    exclude: tuple[str, ...],
    jobs: int,
    fix: bool,
    isolated: bool,
) -> None:
    """Find code that is not IPv6 ready in programs that run under a super-server.

    Directories are walked; .gitignore is respected; the language is guessed by name, first line and content. Findings
    go to standard output, a summary to standard error. A comment `envcheck: ignore[CODE]` silences a line.

    Exit codes: 0 nothing found, 1 findings, 2 wrong usage or a file that cannot be read.
    """
    try:
        config = Config() if isolated else load(Path(paths[0]))
        chosen = Config(select or config.select, ignore + config.ignore, exclude + config.exclude)
        codes = chosen.rules()
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    skipped = Skipped()
    work = _gather(paths, chosen.exclude, skipped)
    rewritten = 0
    if fix:
        work, rewritten = _apply_fixes(work)
    findings = [one for one in _run(work, jobs) if one.code in codes]
    _show(findings, work, form)
    _summary(findings, len(work), rewritten, skipped)
    if skipped.unreadable:
        sys.exit(2)
    sys.exit(1 if findings else 0)


def _show(findings: list[Finding], work: list[_Job], form: str) -> None:
    if form == "json":
        click.echo(_report.as_json(findings), nl=False)
    elif form == "github":
        click.echo(_report.github(findings), nl=False)
    elif form == "sarif":
        from ucspi_env import __version__

        click.echo(_report.sarif(findings, __version__), nl=False)
    else:
        wanted = {one.path for one in findings}
        sources = {name: text.split("\n") for name, text, _ in work if name in wanted}
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        click.echo(_report.text(findings, sources, colour=colour), nl=False, color=colour)


def _summary(findings: list[Finding], count: int, rewritten: int, skipped: Skipped) -> None:
    for line in skipped.unreadable:
        click.echo(f"ucspi-envcheck: {line}", err=True)
    parts = [f"{len(findings)} finding{'' if len(findings) == 1 else 's'} in {count} file{'' if count == 1 else 's'}"]
    if rewritten:
        parts.append(f"{rewritten} place{'' if rewritten == 1 else 's'} rewritten")
    for number, what in ((skipped.binary, "binary"), (skipped.huge, "huge")):
        if number:
            parts.append(f"{number} {what} skipped")
    click.echo(f"ucspi-envcheck lint: {', '.join(parts)}", err=True)
