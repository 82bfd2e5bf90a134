"""Giving up root: whom ``-u``, ``-g`` and ``-U`` mean, and becoming that for good.

Where C tools quietly stay root (``-u nobody``, ``-U`` without $UID, numbers that wrap, supplementary groups) this file
refuses: a server that runs as somebody else than its operator wrote down must not run.
"""

from __future__ import annotations

import errno
import os

from ucspi_env.tools._program import fatal, leading_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

_LARGEST_ID = 0xFFFFFFFF  # -1 for setuid(2): it says EINVAL itself


class Identity:
    """A user and a group to become; None leaves it as it is.

    Attributes:
        uid: the user.
        gid: the only group.
    """

    __slots__ = ("gid", "uid")

    def __init__(self, uid: int | None = None, gid: int | None = None) -> None:
        self.uid: Final = uid
        self.gid: Final = gid


def choose(program: str, options: Sequence[tuple[str, str]], environ: Mapping[str, str]) -> Identity:
    """Read the options in their order: later ones win, ``-U`` among them. Number 0 is "no change", as in C.

    A user without a group gets their primary group, as with setuidgid(8).

    Raises:
        Stop: a name or number that means nobody, or a user whose group nobody knows.
    """
    uid = gid = 0
    for letter, value in options:
        if letter == "u":
            uid = _uid(program, value)
        elif letter == "g":
            gid = _gid(program, value)
        elif letter == "U":
            uid = _from_environment(program, environ, "UID", required=True)
            gid = _from_environment(program, environ, "GID", required=False) or gid
    if uid and not gid and os.geteuid() == 0:
        return Identity(uid, _primary_group(program, uid))
    return Identity(uid or None, gid or None)


def become(program: str, identity: Identity) -> None:
    """Take group and user, in that order, and leave every other group behind.

    Raises:
        Stop: the kernel refuses, or afterwards something of the former user is left.
    """
    if identity.gid is not None:
        try:
            os.setgroups([identity.gid])
            os.setgid(identity.gid)
        except OSError as error:
            raise fatal(program, "unable to set gid", error) from None
    if identity.uid is not None:
        try:
            os.setuid(identity.uid)
        except OSError as error:
            raise fatal(program, "unable to set uid", error) from None
        # macOS has no saved id to ask for; setuid(2) by root sets it there as well.
        left = os.getresuid() if hasattr(os, "getresuid") else (os.getuid(), os.geteuid())
        if set(left) != {identity.uid}:
            raise fatal(program, "unable to set uid: the former user id could be taken back")


def _uid(program: str, text: str) -> int:
    if _is_number(text):
        return _number(program, "uid", text)
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        raise fatal(program, f"unable to set uid: no user is called {text!r}") from None


def _gid(program: str, text: str) -> int:
    if _is_number(text):
        return _number(program, "gid", text)
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        raise fatal(program, f"unable to set gid: no group is called {text!r}") from None


def _from_environment(program: str, environ: Mapping[str, str], name: str, *, required: bool) -> int:
    text = environ.get(name)
    if text is None and not required:
        return 0
    if text is None or not _is_number(text):
        state = "is not set" if text is None else f"is {text!r}, not a number"
        raise fatal(program, f"unable to set {name.lower()}: ${name} {state}; -U takes what envuidgid sets")
    return _number(program, name.lower(), text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _number(program: str, what: str, text: str) -> int:
    number = leading_number(text)
    if number >= _LARGEST_ID:
        raise fatal(program, f"unable to set {what}", errno.EINVAL)
    return number


def _primary_group(program: str, uid: int) -> int:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        raise fatal(program, f"unable to set gid: uid {uid} has no entry in passwd; name its group with -g") from None
