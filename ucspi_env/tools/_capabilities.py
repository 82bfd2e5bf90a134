"""Capabilities that outlive giving up root (``--keep-caps``): one privilege for the programs instead of all or none.

Linux knows five sets (capabilities(7)). setuid(2) empties those that matter unless PR_SET_KEEPCAPS says otherwise, and
exec(2) of an ordinary file as an ordinary user hands on the *ambient* set alone. So what was asked for is made ambient,
everything else is dropped, and the server itself has nothing in effect: only what it runs does.
"""

from __future__ import annotations

import ctypes
import errno
import os

from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._program import fatal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = (
    *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"),
    *("linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"),
    *("sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"),
    *("sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"),
    *("mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"),
    "checkpoint_restore",
)
"""By number; linux/capability.h."""

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3: two words of 32 bits for each set
_PR_SET_KEEPCAPS = 8
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def read_names(text: str) -> tuple[int, ...]:
    """Understand ``--keep-caps``: names of capabilities(7) in either case, with or without ``cap_``, between commas.

    Raises:
        ValueError: one is no name, or there is none.
    """
    found: dict[int, None] = {}
    for word in text.split(","):
        name = word.strip().lower().removeprefix("cap_")
        if name not in NAMES:
            raise ValueError(
                f"{word.strip()!r} is no capability; names are net_bind_service, net_raw, … (capabilities(7))"
            )
        found[NAMES.index(name)] = None
    return tuple(found)


def prepare(program: str) -> None:
    """Before the user changes: let permitted capabilities survive that.

    Raises:
        Stop: this system cannot do that.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl") or not hasattr(libc, "capset"):
        raise fatal(program, "unable to keep capabilities", errno.ENOSYS)
    if libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0):
        raise fatal(program, "unable to keep capabilities", ctypes.get_errno())


def keep(program: str, numbers: Sequence[int]) -> None:
    """After the user has changed: hand these on to programs, and give up all others.

    Raises:
        Stop: we are still root, whose programs have them all; or one of them was never ours to keep.
    """
    if os.geteuid() == 0:
        raise fatal(program, "unable to keep capabilities: the user is still root, who has them all")
    libc = ctypes.CDLL(None, use_errno=True)
    words = (_Word * 2)()
    for number in numbers:
        word = words[number // 32]
        word.permitted |= 1 << number % 32
        word.inheritable |= 1 << number % 32
    header = _Header(_VERSION, 0)
    failed = libc.capset(ctypes.byref(header), ctypes.byref(words)) != 0
    for number in numbers:
        failed = failed or libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0
    if failed:
        names = ", ".join(NAMES[number] for number in numbers)
        why = error_text(OSError(ctypes.get_errno(), ""))
        raise fatal(program, f"unable to keep capabilities {names}: {why}; are all of them ours?")
