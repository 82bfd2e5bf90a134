"""What the small clients share: all of them are tcpclient with something behind it.

C's are shell scripts around tcpclient, so its messages and its way of finding a server are theirs, and it is run here
as there, as a program. The difference is the end: the scripts' pipelines hide that tcpclient failed, these tell.
"""

from __future__ import annotations

import os
import signal

from ucspi_env.tools._catalogue import command
from ucspi_env.tools._copier import chunks, pipe, write
from ucspi_env.tools._exec import default_signals, own_environ
from ucspi_env.tools._program import EXIT_TROUBLE, fatal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ucspi_env.tools._lines import Filter

RECEIVE = ("sh", "-c", "exec cat <&6")
"""Run by tcpclient: prints what comes, sends nothing."""


def argument(arguments: Sequence[str], index: int, default: str) -> str:
    """The shell's ``${N-default}``: an argument that is there counts, also an empty one."""
    return arguments[index] if index < len(arguments) else default


def client(host: str, port: str, *program: str) -> list[str]:
    """The command line of tcpclient as the scripts use it: no look-ups but the host's."""
    return [*command("tcpclient"), "-RHl0", "--", host, port, *program]


def show(
    program: str, host: str, port: str, line_filter: Filter, *, say: bytes | None = None, half_close: bool = False
) -> int:
    """Connect, say something, and write the filtered reply to stdout: the exit code, tcpclient's own if it failed.

    Args:
        program: who says so if something fails.
        host: as tcpclient takes it.
        port: the same.
        line_filter: what the reply goes through.
        say: lines to send, ended by LF, which arrive with CRLF; None to send nothing and to leave the writing side
            open.
        half_close: tell the server that no more follows.

    Raises:
        Stop: the client cannot be started; exit 111.
    """
    default_signals(pipe=False)
    argv = client(host, port, *(RECEIVE if say is None else command("mconnect-io")))
    try:
        reply, reply_writer = pipe()
        speech_reader, speech = pipe()
        actions: list[tuple[int, int, int]] = [(os.POSIX_SPAWN_DUP2, reply_writer, 1)]
        if say is not None:
            actions.append((os.POSIX_SPAWN_DUP2, speech_reader, 0))
        child = os.posix_spawn(argv[0], argv, own_environ(), file_actions=actions, setsigdef=[signal.SIGPIPE])
    except OSError as error:
        raise fatal(program, "unable to run tcpclient", error) from None
    os.close(reply_writer)
    os.close(speech_reader)
    if say is not None:
        _speak(speech, say, half_close=half_close)
    shown = True
    try:
        for data in chunks(reply):
            write(1, line_filter.feed(data))
        write(1, line_filter.finish())
    except OSError:
        # Nobody reads on: whatever the server still has to say, the client need not wait for it.
        shown = False
        os.kill(child, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not shown:
        return EXIT_TROUBLE
    return status if status >= 0 else 128 - status


def _speak(fd: int, say: bytes, *, half_close: bool) -> None:
    """Hand the lines over while the reply is read: a pipe may not hold them all, and the server may answer early."""
    import _thread

    def speak() -> None:
        try:
            write(fd, say)
        except OSError:
            return  # the client is gone; its exit code says why
        if half_close:
            os.close(fd)

    _thread.start_new_thread(speak, ())
