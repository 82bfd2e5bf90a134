"""tcprules: compile rules for tcpserver.

Interface::

    tcprules rules.cdb rules.tmp < rules     compile; rules.cdb is replaced at one stroke or not at all
    tcprules --to-dir DIR < rules            write the same rules as a directory (s6's accessrules layout)
    tcprules --from-dir DIR > rules          write the rules of such a directory as lines

The rules are described in docs/rules-language.md. rules.tmp must be on the file system of rules.cdb; it is
overwritten, and stays behind where compiling fails. DIR must not exist for ``--to-dir``, or be a symbolic link, which
is switched to the new directory. A conversion refuses what the other form cannot say exactly.

Exit codes: 0 done; 100 wrong usage, a line that is not a rule, or rules that cannot be converted; 111 trouble with
files.

Output: errors as C has them, ``tcprules: fatal: unable to parse this line: LINE``, followed by a line with its number
and what is wrong with it. Rules that a C tcpserver would not see, or not for all callers, are named in warnings, which
change nothing.
"""

from __future__ import annotations

import os

from ucspi_env.tools._cdb import HEADER_SIZE, CdbError, Writer
from ucspi_env.tools._exec import restore_interrupt
from ucspi_env.tools._program import EXIT_TROUBLE, EXIT_USAGE, Stop, fatal, start, usage, write_line
from ucspi_env.tools._rules import Compiler, RulesError, RuleSyntaxError, to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

PROGRAM = "tcprules"
SYNOPSIS = "tcprules rules.cdb rules.tmp"
_LINES_AT_ONCE = 1 << 20  # bytes
_MAX_WARNINGS = 20


def main(arguments: Sequence[str]) -> int:
    """Compile standard input, or convert."""
    if len(arguments) < 2:
        raise usage(PROGRAM, SYNOPSIS)
    try:
        if arguments[0] == "--to-dir":
            _to_directory(arguments[1])
        elif arguments[0] == "--from-dir":
            _from_directory(arguments[1])
        else:
            _compile(arguments[0], arguments[1])
    except RuleSyntaxError as error:
        line = to_text(error.line.partition(b"\0")[0])
        raise Stop(
            EXIT_USAGE,
            f"{PROGRAM}: fatal: unable to parse this line: {line}",
            f"{PROGRAM}: line {error.number}: {error.reason}",
        ) from None
    except MemoryError:
        raise fatal(PROGRAM, "out of memory") from None
    return 0


def _compile(cdb: str, temporary: str) -> None:
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_NONBLOCK | os.O_TRUNC | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise fatal(PROGRAM, f"unable to create {temporary}", error) from None
    compiler = Compiler()
    writer = Writer()
    try:
        os.lseek(fd, HEADER_SIZE, os.SEEK_SET)
        for lines in _input():
            _write(fd, writer.records(*compiler.compile(lines)))
        _write(fd, writer.records(*compiler.index()))
        for table in writer.tables():
            _write(fd, table)
        os.lseek(fd, 0, os.SEEK_SET)
        _write(fd, writer.header())
        os.fsync(fd)
        os.close(fd)
    except OSError as error:
        raise fatal(PROGRAM, f"unable to write to {temporary}", error) from None
    except CdbError as error:
        raise Stop(EXIT_TROUBLE, f"{PROGRAM}: fatal: unable to write to {temporary}: {error}") from None
    try:
        os.rename(temporary, cdb)
    except OSError as error:
        raise fatal(PROGRAM, f"unable to move {temporary} to {cdb}", error) from None
    _warn(compiler)


def _warn(compiler: Compiler) -> None:
    for number, note in compiler.notes[:_MAX_WARNINGS]:
        write_line(f"{PROGRAM}: warning: line {number}: {note}")
    more = len(compiler.notes) - _MAX_WARNINGS
    if more > 0:
        write_line(f"{PROGRAM}: warning: and {more} more of this kind")


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _input() -> Iterator[list[bytes]]:
    """Standard input by portions of whole lines."""
    try:
        with open(0, "rb", closefd=False) as file:
            while lines := file.readlines(_LINES_AT_ONCE):
                yield lines
    except OSError as error:
        raise fatal(PROGRAM, "unable to read input", error) from None


def _to_directory(path: str) -> None:
    from ucspi_env.tools._rulesconvert import ConversionError, tree_of_lines
    from ucspi_env.tools._rulesdir import write_tree

    try:
        tree = tree_of_lines([line for lines in _input() for line in lines])
        write_tree(path, tree)
    except FileExistsError as error:
        hint = f"{PROGRAM}: make it a symbolic link to a directory, which is switched, or move it away"
        stop = fatal(PROGRAM, f"unable to create {path}", error)
        raise Stop(stop.status, *stop.lines, hint) from None
    except OSError as error:
        raise fatal(PROGRAM, f"unable to create {path}", error) from None
    except ConversionError as error:
        raise _inconvertible(error.problems) from None
    unseen = [os.fsdecode(rule) for rule in tree if rule.startswith(b"tcpserver/")]
    if unseen:
        write_line(f"{PROGRAM}: warning: s6's programs do not see {', '.join(map(ascii, unseen[:_MAX_WARNINGS]))}")


def _from_directory(path: str) -> None:
    from ucspi_env.tools._rulesconvert import ConversionError, lines_of_tree
    from ucspi_env.tools._rulesdir import read_tree
    from ucspi_env.tools._rulesfile import why_unreadable

    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            lines = lines_of_tree(read_tree(fd))
        finally:
            os.close(fd)
    except (OSError, RulesError) as error:
        complaint = fatal(PROGRAM, f"unable to read {path}: {why_unreadable(error)}").lines
        detail = [f"{PROGRAM}: {error}"] if isinstance(error, RulesError) else []
        raise Stop(EXIT_TROUBLE, *complaint, *detail) from None
    except ConversionError as error:
        raise _inconvertible(error.problems) from None
    try:
        _write(1, b"".join(lines))
    except OSError as error:
        raise fatal(PROGRAM, "unable to write output", error) from None


def _inconvertible(problems: list[str]) -> Stop:
    lines = [f"{PROGRAM}: fatal: unable to convert these rules without changing what they say"]
    return Stop(EXIT_USAGE, *lines, *(f"{PROGRAM}: {problem}" for problem in problems))


def run() -> NoReturn:
    """Be the program."""
    restore_interrupt()
    start(main)


if __name__ == "__main__":
    run()
