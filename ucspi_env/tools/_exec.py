"""Becoming another program, as if Python had never been in between.

Starting an interpreter leaves two traces that a program run by it inherits: SIGPIPE and SIGXFSZ ignored, and, where the
locale is plain C, a variable LC_CTYPE that nobody set (PEP 538). Neither may reach the programs of ucspi-tcp users.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from typing import NoReturn
else:
    # The C half of signal. The other half imports enum, which would cost a line tool a third of its start.
    import _signal as signal

COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""The values that PEP 538 writes into LC_CTYPE."""


def own_environ() -> dict[str, str]:
    """The environment that this process was started with: without the LC_CTYPE that Python itself may have added.

    Where /proc is missing the variable stays: nobody knows whose it is, and it does little harm. What has no name
    (``=value``, which C's tcpserver makes of a rule ``,=""``) is left out: Python refuses to run a program with it.
    """
    environ = dict(os.environ)
    environ.pop("", None)
    if environ.get("LC_CTYPE") in COERCED and not environ.get("LC_ALL"):
        try:
            with open("/proc/self/environ", "rb", buffering=0) as start:
                items = start.readall().split(b"\0")
        except OSError:
            return environ
        given = [item[9:] for item in items if item.startswith(b"LC_CTYPE=")]
        if given:
            environ["LC_CTYPE"] = os.fsdecode(given[0])
        else:
            del environ["LC_CTYPE"]
    return environ


def default_signals(*, pipe: bool = True) -> None:
    """Undo what Python does to signals: one that would end a program in C ends it, without a traceback.

    Args:
        pipe: False leaves SIGPIPE ignored, for those who handle the error themselves.
    """
    restore_interrupt()
    if pipe:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)


def restore_interrupt() -> None:
    """Let SIGINT end this process as it ends C programs, instead of raising KeyboardInterrupt somewhere."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def become(program: str, argv: Sequence[str], path: str | None = None) -> NoReturn:
    """Replace this process by another program, found as ucspi-tcp finds programs.

    Args:
        program: who says so if it fails.
        argv: what the program gets as its arguments, its name first.
        path: what is run, if it is not ``argv[0]``.

    Raises:
        Stop: ``program: fatal: unable to run …``, exit 111.
    """
    from ucspi_env.tools._program import fatal, run_program

    def replace(found: str, _: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
        # run_program looked for the name; what the program sees as its own name is the caller's affair.
        os.execve(found, list(argv), environ)

    wanted = argv[0] if path is None else path
    default_signals()
    try:
        run_program([wanted], own_environ(), replace)
    except OSError as error:
        raise fatal(program, f"unable to run {wanted}", error) from None
    except ValueError:  # the one thing that Python's execve refuses and the kernel does not
        raise fatal(program, f"unable to run {wanted}: an empty argv[0] cannot be given") from None
    raise AssertionError("execve(2) does not return")


def leave(status: int) -> NoReturn:
    """Exit at once, with nothing buffered: tidying the interpreter up takes a tenth of a short life."""
    os._exit(status)
