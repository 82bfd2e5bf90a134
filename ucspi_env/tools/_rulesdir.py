"""Rules as a directory, in the layout of s6's accessrules: searching it, reading it whole, writing a new one.

Source: s6's documentation, pages s6-accessrules-cdb-from-fs and libs6/accessrules, and s6-networking's page
s6-tcpserver-access. Every rule is a directory with a file ``allow`` or ``deny`` (``allow`` wins) and perhaps an envdir
``env``; its name says whom it is for::

    ip4/192.0.2.1_32        ip4/192.0.2.0_24        ip4/0.0.0.0_0
    ip6/2001:db8::1_128     ip6/2001:db8::_32       ip6/::_0
    reversedns/example.com  (the host itself and all below it)      reversedns/@  (every caller with a name)

Networks are tried from the longest on, then names from the longest on; who matches nothing is denied, as under s6. For
what the rules language has and s6 has not, there is one more directory, which s6's programs ignore:
``tcpserver/ADDRESS`` is the rule of that address (``tcpserver/=mail.example.com``, ``tcpserver/joe@192.0.2.1``), and
``tcpserver/default`` the one for everybody else. They rank as in a rules file. A rule with a file ``exec``
lets nobody in: tcpserver runs no other program for a rule.

All look-ups are relative to one open descriptor, so a directory that is switched by a symbolic link is one directory
for each caller.
"""

from __future__ import annotations

import errno
import os
import stat

from ucspi_env.tools._rules import Decision, RulesError, to_bytes, to_text
from ucspi_env.tools._ruleslayout import MAX_VALUE, SECTIONS, paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ucspi_env._address import IPAddress


def decide(fd: int, ip: IPAddress | str, host: str | None = None, info: str | None = None) -> Decision:
    """Decide about a caller by the rules directory that is open at ``fd``; see `_rules.decide`.

    Raises:
        OSError: something that may be a rule cannot be read, or there is no rules directory here (EISDIR).
        RulesError: a rule cannot be followed.
    """
    if isinstance(ip, str):
        raise RulesError("a rules directory is searched for IP addresses only")
    sections = _sections(fd)
    for path in paths(ip, host, info):
        if path.partition(b"/")[0] in sections:
            decision = read_rule(fd, path)
            if decision is not None:
                return decision
    return Decision(False)


def _sections(fd: int) -> frozenset[bytes]:
    found = frozenset(section for section in SECTIONS if _exists(fd, section))
    if not found:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return found


def read_rule(fd: int, path: bytes) -> Decision | None:
    """The decision of the rule at ``path``, None if there is no rule there."""
    if not _exists(fd, path):
        return None
    if not _exists(fd, path + b"/allow"):
        return Decision(False, key=to_text(path)) if _exists(fd, path + b"/deny") else None
    if _read(fd, path + b"/exec", 1):
        raise RulesError(f"{to_text(path)!a} has an exec file, and tcpserver runs no other program for a rule")
    environment: list[tuple[str, str]] = []
    unset: list[str] = []
    for name in _names(fd, path + b"/env"):
        if name.startswith(b".") or b"=" in name:
            continue
        text = _read(fd, path + b"/env/" + name, MAX_VALUE)
        if text:
            value = text.partition(b"\n")[0].rstrip(b" \t").replace(b"\0", b"\n")
            environment.append((to_text(name), to_text(value)))
        elif text is not None:
            unset.append(to_text(name))
    return Decision(True, tuple(environment), to_text(path), tuple(unset))


def read_tree(fd: int) -> dict[bytes, Decision]:
    """All rules of the rules directory at ``fd``, by their paths.

    Raises:
        OSError: it cannot be read, or is no rules directory (EISDIR).
        RulesError: a rule in it cannot be followed.
    """
    _sections(fd)
    tree: dict[bytes, Decision] = {}
    for section in SECTIONS:
        for name in _names(fd, section):
            decision = read_rule(fd, section + b"/" + name)
            if decision is not None:
                tree[section + b"/" + name] = decision
    return tree


def write_tree(path: str, tree: Mapping[bytes, Decision]) -> None:
    """Make a rules directory, so that it is there whole or not at all.

    It is built beside ``path`` and then renamed. Where ``path`` is a symbolic link, the link is switched to the new
    directory; the old one stays where it is, since callers may be looked up in it.

    Raises:
        OSError: it could not be made; FileExistsError where ``path`` is something that cannot be replaced at one
            stroke. Nothing has changed then.
    """
    from shutil import rmtree
    from tempfile import mkdtemp

    path = path.rstrip("/") or "/"
    parent, name = os.path.split(path)
    is_link = os.path.islink(path)
    if os.path.lexists(path) and not is_link:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    made = mkdtemp(prefix=f"{name}.", dir=parent or ".")
    try:
        for section in SECTIONS[:2]:
            os.mkdir(os.path.join(os.fsencode(made), section))
        for rule, decision in tree.items():
            _write_rule(os.path.join(os.fsencode(made), rule), decision)
        # mkdtemp makes it for its owner alone; servers read it as somebody else.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(made, 0o777 & ~mask)
        os.sync()
        if is_link:
            link = f"{made}.link"
            os.symlink(os.path.basename(made), link)
            try:
                os.rename(link, path)
            except BaseException:
                os.unlink(link)
                raise
        else:
            os.rename(made, path)
    except BaseException:
        rmtree(made, ignore_errors=True)
        raise


def _write_rule(directory: bytes, decision: Decision) -> None:
    os.makedirs(directory)
    _write(directory + (b"/allow" if decision.allowed else b"/deny"), b"")
    if decision.environment:
        os.mkdir(directory + b"/env")
        for name, value in decision.environment:
            _write(directory + b"/env/" + to_bytes(name), to_bytes(value) + b"\n")


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _exists(fd: int, path: bytes) -> bool:
    """Whether something is there. That it cannot be seen is an error: a rule that is skipped could let somebody in."""
    try:
        os.stat(path, dir_fd=fd)
    except FileNotFoundError:
        return False
    return True


def _names(fd: int, path: bytes) -> list[bytes]:
    """The names in a directory in a fixed order, none where it is absent."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        return []
    try:
        return sorted(to_bytes(name) for name in os.listdir(opened))
    finally:
        os.close(opened)


def _read(fd: int, path: bytes, most: int) -> bytes | None:
    """The beginning of a regular file, None where there is none."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise RulesError(f"{to_text(path)!a} is not a regular file")
        return os.read(opened, most)
    finally:
        os.close(opened)
