"""What all programs of the suite share: exit codes, the shape of messages, POSIX option scanning, running a program.

Everything a program says about itself before it stops is a `Stop`; `start` turns it into one line on stderr and an
exit code. The shapes are ucspi-tcp's, since scripts depend on them::

    tcpserver: usage: …                                      100  (usage, denied)
    tcpserver: fatal: unable to bind: address already used   111  (trouble, perhaps temporary)
"""

from __future__ import annotations

import errno
import os
import sys

from ucspi_env.tools._errtext import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn, TypeVar

    T = TypeVar("T")
    EnvironT = TypeVar("EnvironT")

EXIT_USAGE = 100
EXIT_TROUBLE = 111
DEFAULT_PATH = "/bin:/usr/bin"


class Stop(Exception):  # noqa: N818 - not an error: the regular way for a program to end
    """Ends the program with ``status`` after the complete ``lines`` were written to stderr."""

    def __init__(self, status: int, *lines: str) -> None:
        super().__init__(status, *lines)
        self.status = status
        self.lines = lines


def fatal(program: str, what: str, error: OSError | int | None = None) -> Stop:
    """``program: fatal: what[: reason]`` and exit 111."""
    reason = "" if error is None else f": {error_text(error)}"
    return Stop(EXIT_TROUBLE, f"{program}: fatal: {what}{reason}")


def usage(program: str, synopsis: str, *complaints: str) -> Stop:
    """The complaints, then ``program: usage: synopsis``, and exit 100."""
    return Stop(EXIT_USAGE, *(f"{program}: {complaint}" for complaint in complaints), f"{program}: usage: {synopsis}")


def as_bytes(text: str) -> bytes:
    """A message: bytes of arguments and of the environment leave as they came, whatever the locale made of them."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # words that did not come in by the locale, of a file for instance
        return text.encode("utf-8", "surrogateescape")


def write_line(text: str, fd: int = 2) -> None:
    """Write one line in one write(2); undecodable bytes of arguments leave as they came.

    Losing stderr must not take a server down, so a failing write is the one thing that is not reported: there is
    nowhere left to report it to.
    """
    try:
        os.write(fd, as_bytes(text) + b"\n")
    except OSError:
        return


def start(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run ``main(arguments)`` as a whole program: its result, or the `Stop` it raises, is the exit code."""
    try:
        status = main(sys.argv[1:])
    except Stop as stop:
        for line in stop.lines:
            write_line(line)
        status = stop.status
    except KeyboardInterrupt:
        status = 128 + 2
    sys.exit(status)


def scan_options(
    program: str,
    synopsis: str,
    arguments: Sequence[str],
    letters: str,
    words: Sequence[str] = (),
    *,
    take: Callable[[str, str], None] | None = None,
) -> tuple[list[tuple[str, str]], list[str]]:
    """Split arguments into options and operands by the rules of POSIX getopt: options end at the first operand.

    Args:
        program: the name that complaints begin with.
        synopsis: the usage line.
        arguments: the command line without argv[0].
        letters: getopt(3)'s notation, ``"vc:"``: a colon after a letter that takes a value.
        words: long options without the dashes, ``"drain="``: an equals sign behind one that takes a value.
        take: called with each option before the next one is looked at: where a value can be refused, its complaint
            comes before one about a later option, as in C.

    Returns:
        The options in order, each with its value (``""`` for flags), long ones under their word, and the operands.

    Raises:
        Stop: an unknown option or a missing value, with C's wording.
    """
    options: list[tuple[str, str]] = []
    rest = list(arguments)

    def found(option: str, value: str) -> None:
        options.append((option, value))
        if take is not None:
            take(option, value)

    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name in words and not equals:
                found(name, "")
            elif name + "=" in words:
                if not equals:
                    if not rest:
                        raise usage(program, synopsis, f"option requires an argument -- {name}")
                    value = rest.pop(0)
                found(name, value)
            else:
                raise usage(program, synopsis, f"illegal option -- {name}")
            continue
        cluster = word[1:]
        while cluster:
            letter, cluster = cluster[0], cluster[1:]
            at = -1 if letter == ":" else letters.find(letter)
            if at < 0:
                raise usage(program, synopsis, f"illegal option -- {letter}")
            if letters[at + 1 : at + 2] != ":":
                found(letter, "")
                continue
            if not cluster and not rest:
                raise usage(program, synopsis, f"option requires an argument -- {letter}")
            found(letter, cluster or rest.pop(0))
            break
    return options, rest


def leading_number(text: str) -> int:
    """C's scan_ulong: the number that the leading ASCII digits spell, 0 where there are none. Never wraps.

    Of a number beyond 10 ** 18 that much is true that it is one.
    """
    end = 0
    while end < len(text) and text[end] in "0123456789":
        end += 1
    # What has 19 digits is out of every range that is checked, whatever follows, and still a float and a C long.
    return int(text[:end].lstrip("0")[:19] or "0")


def tcp_port(program: str, word: str) -> int:
    """The port that an operand names: a number, nothing at all (0), or a service of getservbyname(3).

    Raises:
        Stop: it names none; ``program: fatal: unable to figure out port number for WORD``, exit 111.
    """
    if not word.strip("0123456789"):
        port = leading_number(word)
        if port <= 65535:
            return port
    else:
        import _socket

        try:
            return _socket.getservbyname(word, "tcp")
        except (OSError, ValueError):  # no such service; ValueError: a NUL, or what cannot be encoded
            pass
    raise fatal(program, f"unable to figure out port number for {word}")


def run_program(
    argv: Sequence[str],
    environ: EnvironT,
    launch: Callable[[str, Sequence[str], EnvironT], T],
    search_path: str | None = None,
) -> T:
    """Find ``argv[0]`` as ucspi-tcp does and hand it to ``launch`` (`os.execve`, or something around `os.posix_spawn`).

    A name with a slash is taken as it is, any other is tried in each directory of ``search_path`` (this process's own
    PATH by default). Not found goes on to the next directory, "access denied" is remembered, anything else ends the
    search.

    Raises:
        OSError: nothing could be run; the remembered error outranks "file does not exist".
    """
    name = argv[0]
    if not name:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    if "/" in name:
        return launch(name, argv, environ)
    if search_path is None:
        search_path = os.environ.get("PATH", DEFAULT_PATH)
    remembered: OSError | None = None
    for directory in search_path.split(":"):
        try:
            return launch(f"{directory or '.'}/{name}", argv, environ)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EISDIR):
                remembered = remembered or error
            elif error.errno != errno.ENOENT:
                raise
    raise remembered or OSError(errno.ENOENT, os.strerror(errno.ENOENT))
