"""link: put launchers with DJB's names into a directory, for old run scripts and for the quickest start.

Interface: ``ucspi-link directory``, or ``python -m ucspi_env.tools.link directory``. The directory is made if it is
not there. With it first on PATH, ``tcpserver``, ``recordio``, ``http@`` and the rest are this package's programs, run
by this interpreter under ``-I -S``: isolated from the environment and without site-packages, which halves their start.
A line per launcher on stdout says ``made``, ``updated`` or ``unchanged``.

Exit codes: 0; 100 for a usage error, or if something in the directory was not made by link: each is named and nothing
is changed; 111 for trouble with files.

Notes: launchers name this interpreter and this package by absolute path. Run link again when either has moved or was
upgraded; it replaces what it made before, each launcher atomically.
"""

from __future__ import annotations

import os
import sys

from ucspi_env.tools._catalogue import SUITE, launch_code
from ucspi_env.tools._program import EXIT_USAGE, Stop, fatal, start, usage, write_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "link"
MARK = "# Made by ucspi_env.tools.link, which may replace it."
SHEBANG_MAX = 127
"""Bytes of a first line that every kernel still in use reads; Linux 5.1 and later take 255."""


def shebang(interpreter: str) -> str:
    """The first lines of a script for ``interpreter -IS``.

    The kernel splits a first line at blanks, takes one option word, and cuts it when it is long. Where that would break
    the path, sh finds the interpreter: it sees a command, Python a string that nothing is done with.

    Raises:
        ValueError: a path that cannot stand in a Python string as it is, or is not UTF-8 as Python source has to be.
    """
    try:
        length = len(f"#!{interpreter} -IS\n".encode())
    except UnicodeEncodeError:
        raise ValueError("its path is not UTF-8") from None
    if length <= SHEBANG_MAX and not any(char.isspace() for char in interpreter):
        return f"#!{interpreter} -IS\n"
    if "\\" in interpreter or "\0" in interpreter:
        raise ValueError("its path contains a backslash")
    quoted = "'" + interpreter.replace("'", "'\"'\"'") + "'"
    return f"#!/bin/sh\n'''exec' {quoted} -IS \"$0\" \"$@\"\n' '''\n"


def launcher(name: str, interpreter: str) -> bytes:
    """The whole launcher of a program.

    Args:
        name: DJB's name.
        interpreter: absolute path.

    Raises:
        ValueError: as `shebang`.
    """
    return f"{shebang(interpreter)}{MARK}\n{launch_code(SUITE[name])}".encode()


def existing(path: str) -> bytes | None:
    """What is at a launcher's place: its content, or None for nothing.

    Raises:
        FileExistsError: something that link did not make.
        OSError: it cannot be told.
    """
    if not os.path.lexists(path):
        return None
    if os.path.isfile(path) and not os.path.islink(path):
        with open(path, "rb", buffering=0) as file:
            content = file.read(65536) or b""
        if MARK.encode() in content.splitlines()[:4]:
            return content
    raise FileExistsError(path)


def replace(path: str, content: bytes) -> None:
    """Write an executable file under a temporary name and rename it into place: a launcher is whole at all times."""
    temporary = f"{path}.{os.getpid()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def cache_bytecode() -> None:
    """Compile the package once, here: who runs the launchers may not be allowed to keep what each start compiles."""
    import compileall

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for directory in (package, os.path.dirname(os.path.abspath(__file__))):
        if not compileall.compile_dir(directory, maxlevels=0, quiet=2):
            write_line(f"{PROGRAM}: warning: unable to keep bytecode in {directory}; every start will be slower")
            return


def main(arguments: Sequence[str]) -> int:
    """Make the launchers; the exit code.

    Raises:
        Stop: usage, something foreign in the way, or trouble with files.
    """
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise usage(PROGRAM, f"{PROGRAM} directory")
    directory = arguments[0]
    if not os.path.isabs(sys.executable or ""):
        raise fatal(PROGRAM, "unable to tell the path of this Python interpreter")
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise fatal(PROGRAM, f"unable to make {directory}", error) from None

    present: dict[str, bytes | None] = {}
    foreign: list[str] = []
    for name in SUITE:
        path = os.path.join(directory, name)
        try:
            present[path] = existing(path)
        except FileExistsError:
            foreign.append(
                f"{PROGRAM}: fatal: {path} was not made by {PROGRAM}; move it away, or choose another directory"
            )
        except OSError as error:
            raise fatal(PROGRAM, f"unable to read {path}", error) from None
    if foreign:
        raise Stop(EXIT_USAGE, *foreign)

    for name in SUITE:
        path = os.path.join(directory, name)
        try:
            content = launcher(name, sys.executable)
        except ValueError as error:
            raise fatal(PROGRAM, f"unable to make launchers for {sys.executable!r}: {error}") from None
        before = present[path]
        if before == content and os.access(path, os.X_OK):
            write_line(f"{path}: unchanged", 1)
            continue
        try:
            replace(path, content)
        except OSError as error:
            raise fatal(PROGRAM, f"unable to write {path}", error) from None
        write_line(f"{path}: {'made' if before is None else 'updated'}", 1)
    cache_bytecode()
    return 0


def run() -> NoReturn:
    """Be the program."""
    start(main)


if __name__ == "__main__":
    run()
