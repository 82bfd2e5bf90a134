"""The relay: the process between the network and a program that has a pipe for its connection (Linux).

recordio, fixcrio, s6-tlsd, tlss, socat and stunnel keep the connection's socket and give the program a pipe, a socket
pair or a terminal. That socket is a witness which no variable can bring along; so it is looked for, among the
program's children, its ancestors and their children.

Rule 1: the answer is a value, whatever happens: `Relay.obstacle` says why there is no witness.
Rule 2: a process is looked at through one descriptor of its folder in /proc, opened once, so that a process id which is
reused in the meantime cannot be taken for it.
Rule 3: everything is bounded: processes, descriptors, hops, sockets. What was not looked at proves nothing.

Imported where descriptor 0 is such a pipe, and nowhere else.
"""

import _socket
import os
from errno import EMFILE, ENFILE

from ucspi_env._facts import Descriptor
from ucspi_env._model import Endpoint, Value
from ucspi_env._sockdiag import KINDS, SocketTable, TooManyError, is_called_by, read_tables
from ucspi_env._variables import FAMILIES, SSH, read_claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import TypeAlias

    from ucspi_env._variables import Family

    Sockets: TypeAlias = dict[int, Descriptor]
    End: TypeAlias = tuple[str, str]
    """The other end of a descriptor: what it is called in /proc, and what its holder must be able to do, r or w."""

MOST_HOPS = 4
MOST_ANCESTORS = 16
MOST_PROCESSES = 64
"""Beside the program's children and ancestors."""
MOST_DESCRIPTORS = 4096
"""In all of these processes together."""
_MOST_UNIX = 32  # sockets that are asked about one by one
_TAKE_TLS_OFF = ("s6-tlsd", "s6-tlsd-io", "s6-ucspitlsd", "sslserver", "stunnel", "stunnel4", "tlss", "tlswrapper")
_TERMINAL = "/dev/pts/"
_OTHER_MODE = ("w", "r")  # what the other end of a pipe on descriptor 0 and on 1 is open for
_MULTIPLEXERS = ("/dev/ptmx", "/dev/pts/ptmx")


class Relay(Value):
    """What is known about the process at the other end of the program's pipe.

    Attributes:
        pid: its process id; 0 where no process was found.
        name: its name (``comm`` in ``proc(5)``).
        user: its effective user id, or None.
        asker: the effective user id of the program itself.
        sockets: its connected INET sockets; all have the same peer where ``obstacle`` is None.
        both: whether the program's output leads to it as well as the input comes from it.
        own: whether it has the connection on its own descriptor 0 or 1, as a relay for one connection has.
        accepted: whether the connection is known to have been accepted, not dialled, and for this program alone: its
            local port is a listener's, which the relay does not hold. Asked only where no variable names the peer.
        obstacle: why it cannot be a witness, or None: ``"not-found"``, ``"unreadable"`` (another user's),
            ``"protected"``, ``"no-socket"``, ``"several-peers"``, ``"disagreement"`` (several processes hold the pipe),
            ``"too-many"``, ``"no-kernel"``.
    """

    __slots__ = ("accepted", "asker", "both", "name", "obstacle", "own", "pid", "sockets", "user")
    pid: int
    name: str
    user: "int | None"
    asker: "int | None"
    sockets: "tuple[Descriptor, ...]"
    both: bool
    accepted: bool
    own: bool
    obstacle: "str | None"

    def __init__(
        self,
        pid: int,
        name: str,
        sockets: "Iterable[Descriptor]" = (),
        *,
        user: "int | None" = None,
        asker: "int | None" = None,
        both: bool = False,
        accepted: bool = False,
        own: bool = True,
        obstacle: "str | None" = None,
    ) -> None:
        found = tuple(sockets)
        if obstacle is None and len({socket.peername for socket in found}) != 1:
            obstacle = "several-peers" if found else "no-socket"
        self._set(
            pid=pid,
            name=name,
            user=user,
            asker=asker,
            sockets=found,
            both=both,
            accepted=accepted,
            own=own,
            obstacle=obstacle,
        )

    @property
    def takes_tls_off(self) -> bool:
        """Whether it is a program that takes TLS off."""
        return self.name in _TAKE_TLS_OFF


def find(fd: int, environ: "Mapping[str, str]") -> "Relay | None":
    """Look for the relay of this process's connection.

    Args:
        fd: the descriptor that the connection is read from; it is written to ``fd + 1``.
        environ: its claims say which connections to ask the kernel about.

    Returns:
        None where the descriptor is not a pipe, an unnamed UNIX-domain socket or a terminal, or without /proc.
    """
    try:
        # This process's number in this /proc, which may belong to a process namespace around its own.
        own = _Process.open(int(os.readlink("/proc/self")))
    except (OSError, ValueError):
        return None
    with own:
        try:
            reading, writing = own.link(fd), own.link(fd + 1)
        except OSError:
            return None
        # Every login has a terminal, and a process with a connection at its other end: that is not a super-server.
        terminal = reading.startswith(_TERMINAL)
        claims = list(_claimed(environ, [family for family in FAMILIES if family is not SSH or not terminal]))
        if terminal and not claims:
            return None
        if terminal and os.fstat(fd).st_dev != own.terminals:
            return Relay(0, "", obstacle="not-found")  # of another instance of devpts than is mounted here
        with _Search(own, claims) as search:
            try:
                end = search.other_end(reading, _OTHER_MODE[0])
                if end is None:
                    return None
                return search.relay(end, search.other_end(writing, _OTHER_MODE[1]))
            except TooManyError:
                return Relay(0, "", obstacle="too-many")
            except OSError:
                return Relay(0, "", obstacle="no-kernel")


def _claimed(
    environ: "Mapping[str, str]", families: "Iterable[Family]"
) -> "Iterator[tuple[Endpoint, Endpoint | None]]":
    """The peers that variables name, each with the called address and port where these are known or likely."""
    for family in families:
        claim = read_claim(family, environ)
        if claim is None or claim.remote is None:
            continue
        local = claim.local
        port = environ.get(family.local_port or "", "")
        if local is None and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535:
            # s6 tells the listener's 0.0.0.0; the address that the system would answer from is mostly the one called.
            local = _route(claim.remote, int(port))
        yield claim.remote, local


def _route(remote: Endpoint, port: int) -> "Endpoint | None":
    """The address that this machine would use to send to a peer, with a port; nothing is sent."""
    family = _socket.AF_INET if remote.ip.version == 4 else _socket.AF_INET6
    try:
        sock = _socket.socket(family, _socket.SOCK_DGRAM)
    except OSError:
        return None
    try:
        sock.connect((str(remote.ip), remote.port or port))
        return Endpoint(sock.getsockname()[0], port)
    except OSError:
        return None
    finally:
        sock.close()


class _Process:
    """One process, through its folder in /proc. A context manager."""

    def __init__(self, pid: int, folder: int) -> None:
        self.pid = pid
        self.folder = folder
        self.links: dict[int, str] = {}
        self.too_many = False

    @classmethod
    def open(cls, pid: int) -> "_Process":
        """Take hold of a process.

        Raises:
            OSError: there is none, or it is hidden.
        """
        return cls(pid, os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.folder)

    def link(self, fd: int) -> str:
        """What one descriptor is, as /proc calls it; empty where it is closed.

        Raises:
            OSError: its descriptors cannot be read.
        """
        try:
            return os.readlink(f"fd/{fd}", dir_fd=self.folder)
        except FileNotFoundError:
            return ""

    def read_links(self, most: int) -> None:
        """Read all descriptors.

        Raises:
            OSError: they cannot be read.
            TooManyError: there are more than ``most``.
        """
        fd = os.open("fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.folder)
        try:
            if os.fstat(fd).st_size > most:  # their number, from Linux 6.2 on: a super-server's are not listed in vain
                raise TooManyError
            names = os.listdir(fd)
            if len(names) > most:
                raise TooManyError
            for name in names:
                try:
                    self.links[int(name)] = os.readlink(name, dir_fd=fd)
                except FileNotFoundError:  # closed meanwhile
                    continue
        finally:
            os.close(fd)

    def opened_for(self, fd: int, mode: str) -> bool:
        """Whether a descriptor can be read from (r) or written to (w)."""
        try:
            bits = os.stat(f"fd/{fd}", dir_fd=self.folder, follow_symlinks=False).st_mode
        except OSError:
            return False
        return bool(bits & (0o400 if mode == "r" else 0o200))

    def text(self, name: str) -> bytes:
        """The start of one of its files; empty where that cannot be read."""
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.folder)
        except OSError:
            return b""
        try:
            return os.read(fd, 1 << 16)
        except OSError:
            return b""
        finally:
            os.close(fd)

    @property
    def name(self) -> str:
        return self.text("comm").decode("utf-8", "surrogateescape").rstrip("\n")

    @property
    def acts_as(self) -> "int | None":
        """Its effective user id; the owner of its folder is root where it is protected."""
        for line in self.text("status").split(b"\n"):
            if line.startswith(b"Uid:"):
                return int(line.split()[2])
        return None

    @property
    def parent(self) -> int:
        """Its parent's process id, 0 where it has none."""
        # "pid (name) state ppid …": the name may hold anything, parentheses too.
        words = self.text("stat").rpartition(b")")[2].split()
        return int(words[1]) if len(words) > 1 else 0

    @property
    def children(self) -> "list[int]":
        try:
            fd = os.open("task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.folder)
        except OSError:
            return []
        try:
            threads = os.listdir(fd)
        except OSError:
            return []
        finally:
            os.close(fd)
        return [
            int(word) for thread in threads[:MOST_PROCESSES] for word in self.text(f"task/{thread}/children").split()
        ]

    @property
    def namespace(self) -> str:
        """The name of its network namespace; empty where that cannot be read."""
        try:
            return os.readlink("ns/net", dir_fd=self.folder)
        except OSError:
            return ""

    @property
    def terminals(self) -> "int | None":
        """The device of the file system that its terminals are in; None where that cannot be read."""
        try:
            return os.stat("root/dev/pts", dir_fd=self.folder).st_dev
        except OSError:
            return None

    def inodes(self) -> "set[int]":
        """The sockets that it holds."""
        return {int(link[8:-1]) for link in self.links.values() if link.startswith("socket:[")}


class _Search:
    """One search: the processes in reach, what they hold, and what the kernel says about their sockets."""

    def __init__(self, own: _Process, claims: "list[tuple[Endpoint, Endpoint | None]]") -> None:
        self.own = own
        self._parent = own.parent
        self.claims = claims
        self.claimed = bool(claims)
        self._processes: dict[int, _Process] = {}
        self._closed: list[_Process] = []
        """Processes whose descriptors cannot be read, the nearest first."""
        self._left = MOST_DESCRIPTORS
        self._level: dict[int, int] = {}
        """How far away a process is: the number of the ancestor that it is, or is a child of; -1 for own children."""
        self._ancestors: list[_Process] = []
        self._looked_at = 0
        """Of so many ancestors, the nearest ones, all children were looked at."""
        self._others_left = MOST_PROCESSES
        self._table: SocketTable | None = None
        self._table_is_forbidden = False
        self._sockets: Sockets = {}
        self._listeners: dict[int, list[tuple[int, Descriptor]]] = {}
        self._followed: dict[tuple[End, int], tuple[_Process | None, Sockets, str | None]] = {}
        self._others: set[int] = set()  # inodes that are not INET sockets with a peer

    def __enter__(self) -> "_Search":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes.values():
            os.close(process.folder)
        if self._table is not None:
            self._table.__exit__()

    # -- the processes --

    def gather(self) -> None:
        """Take hold of children and ancestors.

        Raises:
            TooManyError: there are more children than are looked at.
        """
        children = self.own.children
        if len(children) > MOST_PROCESSES:
            raise TooManyError
        for pid in children:
            self._add(pid, -1)
        pid = self._parent
        while pid and len(self._ancestors) < MOST_ANCESTORS:
            ancestor = self._add(pid, len(self._ancestors))
            if ancestor is None:
                return
            self._ancestors.append(ancestor)
            pid = ancestor.parent

    def _look_further(self) -> bool:
        """Take hold of the children of the next ancestor; False where there is none, or they are too many."""
        if self._looked_at == len(self._ancestors):
            return False
        for pid in self._ancestors[self._looked_at].children:
            if pid in self._processes or pid == self.own.pid:
                continue
            if not self._others_left:
                return False
            self._others_left -= 1
            self._add(pid, self._looked_at)
        self._looked_at += 1
        return True

    def _add(self, pid: int, level: int) -> "_Process | None":
        if pid in self._processes:
            return self._processes[pid]
        try:
            process = _Process.open(pid)
        except OSError:  # it has gone, or /proc hides it
            return None
        self._processes[pid] = process
        self._level[pid] = level
        try:
            process.read_links(self._left)
            self._left -= len(process.links)
        except FileNotFoundError:  # it has gone meanwhile
            process.links.clear()
        except (OSError, TooManyError) as error:
            process.links.clear()
            process.too_many = isinstance(error, TooManyError) or error.errno in (EMFILE, ENFILE)
            self._closed.append(process)
        return process

    # -- what leads where --

    def other_end(self, link: str, mode: str) -> "End | None":
        """What the process at the other end of a descriptor holds; None where that is not another process's.

        Raises:
            OSError: the kernel does not tell.
        """
        if link.startswith("pipe:["):
            return link, mode
        if link.startswith("socket:["):
            table = self._open_table()
            if table is None:
                raise OSError("the kernel does not tell where a socket pair leads")
            peer = table.unix_peer(int(link[8:-1]))
            return (f"socket:[{peer}]", "") if peer else None
        return (link, "") if link.startswith(_TERMINAL) and link != "/dev/pts/ptmx" else None

    def holders(self, end: "End") -> "list[_Process]":
        """The processes that hold this end: looked for until there is one, and then as far away as the farthest is.

        A pipe is held by what descends from the process that made it, so others are no farther away.
        """
        while True:
            found = [process for process in self._processes.values() if self._holds(process, end)]
            if found and all(self._level[process.pid] < self._looked_at for process in found):
                return found
            if not self._look_further():
                return found

    def _holds(self, process: _Process, end: "End") -> bool:
        name, mode = end
        if name.startswith(_TERMINAL):
            # Each instance of devpts (a container's, a chroot's) counts its terminals from 0.
            if process.terminals is None or process.terminals != self.own.terminals:
                return False
            index = b"tty-index:\t%b\n" % name.removeprefix(_TERMINAL).encode()
            return any(
                link in _MULTIPLEXERS and index in process.text(f"fdinfo/{fd}") for fd, link in process.links.items()
            )
        return any(link == name and (not mode or process.opened_for(fd, mode)) for fd, link in process.links.items())

    # -- the witness --

    def relay(self, end: "End", back: "End | None") -> Relay:
        """The relay at this end of the program's input, and whether its output leads there, too.

        Raises:
            OSError: the kernel does not tell what is connected to what.
            TooManyError: there is too much to look at.
        """
        self.gather()
        if self.claimed and back is not None and not self.holders(end):
            # A caller who has said all may have made the relay close this end already; the other way is still open.
            holder, sockets, obstacle = self._follow(back, 1, MOST_HOPS)
            back = None
        else:
            holder, sockets, obstacle = self._follow(end, 0, MOST_HOPS)
        if holder is None or obstacle is not None:
            return self._no_witness(holder, obstacle or "not-found")
        both = False
        if back is not None:
            there, other_sockets, other_obstacle = self._follow(back, 1, MOST_HOPS)
            both = other_obstacle is None and there is holder and other_sockets == sockets
        found = tuple(sockets.values())
        # A process for this connection alone has it on its own descriptor 0 or 1. One that was handed several, or has
        # accepted them, has only somebody else's left when this caller has hung up.
        links = {f"socket:[{inode}]" for inode in sockets}
        own = bool(links.intersection((holder.links.get(0), holder.links.get(1))))
        # Where a variable names the peer, that is not asked. Where one names another peer it may be right, and the
        # relay's connection somebody else's; a child of the program's, as recordio is, has no callers but this one.
        unnamed = both and all(found[0].peername != remote for remote, _ in self.claims)
        unnamed = unnamed and (not self.claims or holder.parent == self.own.pid)
        here = found[0].sockname
        stream = found[0].type == "stream"
        accepted = own and unnamed and stream and isinstance(here, Endpoint) and self._accepted(holder, here)
        return Relay(holder.pid, holder.name, found, user=holder.acts_as, both=both, accepted=accepted, own=own)

    def _follow(self, end: "End", fd: int, hops: int) -> "tuple[_Process | None, Sockets, str | None]":
        """The process with the connection, its sockets, and why it cannot be a witness; ``fd``: 1 for output."""
        key = (end, fd)
        if key not in self._followed:
            self._followed[key] = None, {}, "no-socket"  # what a circle of pipes leads to
            self._followed[key] = self._behind(end, fd, hops)
        return self._followed[key]

    def _behind(self, end: "End", fd: int, hops: int) -> "tuple[_Process | None, Sockets, str | None]":
        holders = self.holders(end)
        if not holders:
            return None, {}, "not-found"
        answers = [self._sockets_behind(holder, end, fd, hops) for holder in holders]
        for answer in answers:
            if answer[2] is not None:
                return answer
        peers = {socket.peername for _, sockets, _ in answers for socket in sockets.values()}
        if len(peers) > 1:
            return answers[0][0], {}, "disagreement"
        if any(self._level[holder.pid] >= self._looked_at for holder in holders):
            return answers[0][0], {}, "too-many"  # who else holds it has not been looked at
        return answers[0]

    def _sockets_behind(
        self, holder: _Process, end: "End", fd: int, hops: int
    ) -> "tuple[_Process | None, Sockets, str | None]":
        sockets = self._connected(holder)
        if sockets:
            alike = len({socket.peername for socket in sockets.values()}) == 1
            return holder, sockets, None if alike else "several-peers"
        # Its own connection may be a pipe, of another relay: recordio below s6-tlsd.
        before = self.other_end(holder.links.get(fd, ""), _OTHER_MODE[fd])
        if before is None or before == end or hops <= 1:
            return holder, {}, "no-socket"
        found = self._follow(before, fd, hops - 1)
        return found if found[0] is not None else (holder, {}, "not-found")

    def _no_witness(self, holder: "_Process | None", obstacle: str) -> Relay:
        if obstacle == "not-found":
            # Who could it have been? A child, the parent, or one of its children; no further, since the first process
            # of a machine is an ancestor of all and seldom to be looked at.
            for process in self._closed:
                if process.pid == self._parent or process.parent in (self.own.pid, self._parent):
                    own_user = process.acts_as == os.geteuid()
                    reason = "too-many" if process.too_many else "protected" if own_user else "unreadable"
                    holder, obstacle = process, reason
                    break
            else:
                obstacle = "not-found" if holder is None else "no-socket"
        if holder is None:
            return Relay(0, "", obstacle=obstacle)
        return Relay(holder.pid, holder.name, user=holder.acts_as, asker=os.geteuid(), obstacle=obstacle)

    # -- sockets --

    def _open_table(self) -> "SocketTable | None":
        if self._table is None and not self._table_is_forbidden:
            try:
                self._table = SocketTable()
            except OSError:
                self._table_is_forbidden = True
        return self._table

    def _connected(self, holder: _Process) -> "Sockets":
        """The connected INET sockets of a process, by inode.

        Raises:
            OSError: the kernel does not tell.
            TooManyError: there are too many to look through.
        """
        wanted = holder.inodes()
        if wanted - self._sockets.keys() - self._others:
            self._look_up(wanted, holder)
        return {inode: self._sockets[inode] for inode in sorted(wanted) if inode in self._sockets}

    def _look_up(self, wanted: "set[int]", holder: _Process) -> None:
        table = self._open_table() if holder.namespace in ("", self.own.namespace) else None
        try:
            if table is not None:
                self._ask(table, wanted)
                return
        except OSError:
            self._table_is_forbidden = True
        # Another network namespace, or no netlink.
        for inode, found in read_tables(holder.folder):
            if found.listening:
                self._listeners.setdefault(holder.pid, []).append((inode, found))
            elif inode in wanted:
                self._sockets[inode] = found
        self._others |= wanted - self._sockets.keys()

    def _ask(self, table: SocketTable, wanted: "set[int]") -> None:
        unknown = set(wanted) - self._sockets.keys() - self._others

        def take(sockets: "Iterable[tuple[int, Descriptor]]") -> None:
            self._sockets.update((inode, socket) for inode, socket in sockets if inode in unknown)
            unknown.difference_update(self._sockets)

        # First the connections that variables name, one by one.
        for remote, local in self.claims:
            if unknown and remote.port and local is not None and local.port:
                take(table.find(remote, local))
        for remote, _ in self.claims:
            for kind in KINDS:
                if unknown and (remote.ip.version == 4 or kind[0] != _socket.AF_INET):
                    take(table.connected(kind, unknown, remote))
        if len(unknown) <= _MOST_UNIX:
            others = {inode for inode in unknown if table.unix_peer(inode) is not None}
            self._others |= others
            unknown -= others
        for kind in KINDS if unknown else ():
            take(table.connected(kind, unknown))
        self._others |= unknown

    def _accepted(self, holder: _Process, here: Endpoint) -> bool:
        """Whether a listener has taken the call to this address, and not the relay's own, which takes others as well.

        A server that has several callers has only somebody else's socket left when this one has hung up.
        """
        read = self._listeners.get(holder.pid)
        inodes: set[int] = set()
        if read is not None:
            inodes = {inode for inode, listener in read if is_called_by(listener, here)}
        elif (table := self._open_table()) is not None:
            try:
                inodes = {inode for inode, _ in table.listeners(here)}
            except OSError:
                return False
        return bool(inodes) and not inodes & holder.inodes()
