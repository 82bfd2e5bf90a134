r"""What runs inside a zygote: a process that has imported everything, and is copied for each connection.

`_zygote` (the parent's side) starts this file as a script, under the interpreter and with the flags of the user's
program. So it imports nothing of ours until it is asked for a handler, and of the standard library only C modules:
whatever is imported here would be there for the program too, and each page it costs is copied by every fork(2).

The channel is a SOCK_SEQPACKET pair on descriptor 3. Requests come one a packet, a kind and a serial number first:

    run SERIAL name\0…value\0…  with the connection as a descriptor: one more process. What is longer than `PACKET`
                               comes in a file, as a second descriptor
    kill SERIAL PID            SIGKILL for a process, if it is still ours

and these reports go back (see `REPORT`): ready; unusable, with a text; started, *from the new process itself*; ended;
failed. Two rules make the parent's accounting exact, whoever is killed at whatever moment:

Rule 1: a process says that it has started before it does anything else, and holds the channel open until then. When
the channel ends, every request without that report was never run, and can safely be given to another zygote.
Rule 2: an end is reported before the process is reaped. If this zygote dies in between, the process becomes a child of
tcpserver (a subreaper), which then hears of the end twice, never not at all.

When a file behind the imports has changed, the zygote replaces itself with execve(2) *before* it reads the request: the
new image has the same pid, the same channel with the request in it, and the same children.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # This file's own directory is no place to import from: it has modules called http and date.
    del sys.path[0]

import _socket
import gc
import os
import select
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the C half; the other half imports enum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, FrameType, ModuleType, TracebackType
    from typing import Any, AnyStr, NoReturn, TypeAlias

    Dispositions: TypeAlias = Sequence[tuple[int, Any]]
    """Signals, and what `signal.signal` had to say about each."""

CHANNEL = 3
REQUEST = struct.Struct("<cQ")
RUN, KILL, WORK = b"R", b"K", b"W"
KILLED_PID = struct.Struct("<i")
# What a pooled process gets with each connection: the kind, a serial number, and for all but `PLAIN` the slot of a
# template and how many variables are the caller's port. Behind it `RECALL` has that port as text, the others have the
# environment, `LEARN` with those variables first.
CONNECTION = struct.Struct("<cQBB")
PLAIN, LEARN, RECALL = b"p", b"l", b"r"
TEMPLATES = 64
REPORT = struct.Struct("<cQii")
READY, UNUSABLE, STARTED, ENDED, FAILED, WARNING = b"r", b"u", b"s", b"e", b"f", b"w"
LONGEST_TEXT = 1000
FDS_SPACE = _socket.CMSG_SPACE(8)  # two descriptors
PACKET = 1 << 14  # the longest packet; room for it is made, and touched, for each one

_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
_IGNORED = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)
_ONLY_AST = 0x400  # ast.PyCF_ONLY_AST
_PATH_BASED = ("/site-packages/", "/dist-packages/")


# --- What is imported beforehand --------------------------------------------------------------------------------------


def imports_of(tree: object) -> list[tuple[str, tuple[str, ...]]]:
    """The modules that a script will import whatever happens, in order, each with the names taken from it.

    Its top-level import statements, those inside a ``try`` included. After the first statement that does something
    (a call, a change of ``sys.path`` or of the environment) only the standard library's: what others are, or do, may
    depend on it.

    Args:
        tree: the module's syntax tree, of `compile` with ``ast.PyCF_ONLY_AST``.
    """
    import _ast

    found: list[tuple[str, tuple[str, ...]]] = []
    at_work = False

    def add(name: str, names: tuple[str, ...]) -> None:
        if name != "__future__" and (not at_work or name.partition(".")[0] in sys.stdlib_module_names):
            found.append((name, names))

    def visit(statements: Sequence[object]) -> None:
        nonlocal at_work
        for statement in statements:
            if isinstance(statement, _ast.Import):
                for alias in statement.names:
                    add(alias.name, ())
            elif isinstance(statement, _ast.ImportFrom):
                if statement.module and not statement.level:
                    add(statement.module, tuple(alias.name for alias in statement.names if alias.name != "*"))
            elif isinstance(statement, _ast.Try):
                visit(statement.body)
            elif not _is_harmless(statement):
                at_work = True

    visit(getattr(tree, "body", ()))
    return found


def _is_harmless(statement: object) -> bool:
    """Whether a statement only gives names to things, so that imports below it cannot depend on it."""
    import _ast

    if isinstance(statement, (_ast.FunctionDef, _ast.AsyncFunctionDef, _ast.ClassDef)):
        return not statement.decorator_list
    if isinstance(statement, _ast.Expr):
        return isinstance(statement.value, _ast.Constant)
    if isinstance(statement, _ast.Assign):
        plain = all(isinstance(target, _ast.Name) for target in statement.targets)
        return plain and isinstance(statement.value, (_ast.Constant, _ast.Name))
    return isinstance(statement, _ast.Pass)


def preload(wanted: Sequence[tuple[str, tuple[str, ...]]]) -> None:
    """Import modules, as far as they can be: the script meets the same error again, and the caller sees it.

    What a module prints stays in the buffer of stdout, and so comes first for each caller. What one has printed that
    could not be imported goes: the script's own import prints it.
    """
    printed = b""
    for name, names in wanted:
        try:
            __import__(name, None, None, names)
        except BaseException as error:  # sys.exit() in a module is the script's affair as well
            del error
            _buffered()
        else:
            printed += _buffered()
    if printed:
        sys.__stdout__.buffer.write(printed)  # type: ignore[union-attr]  # there is one: descriptor 1 is open


def _buffered() -> bytes:
    """Take what was printed and not written yet out of stdout's buffer."""
    stdout = os.dup(1)
    file = os.memfd_create("stdout")
    try:
        os.dup2(file, 1)
        sys.__stdout__.flush()  # type: ignore[union-attr]
        return os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.dup2(stdout, 1)
        close((stdout, file))


# --- Noticing changes -------------------------------------------------------------------------------------------------


def signature(path: str) -> tuple[int, int, int] | None:
    """What changes when a file does; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class Files:
    """The files that a process was made of.

    Args:
        began: `time.time_ns` before the first was read. One written since may have been read half.
    """

    def __init__(self, began: int) -> None:
        self._began = began
        self._known: list[tuple[str, object]] = []

    def add(self, path: str) -> None:
        """Watch a file from now on."""
        found = signature(path)
        uncertain = found is not None and self._began < found[0] <= time.time_ns()
        self._known.append((path, "uncertain" if uncertain else found))

    def changed(self) -> bool:
        """Whether one of them is not what it was."""
        return any(signature(path) != known for path, known in self._known)


def foreign_modules() -> list[tuple[ModuleType, str]]:
    """The imported modules that are not Python's own, each with its file, in the order of their imports."""
    library = os.path.dirname(os.__file__) + "/"
    found: list[tuple[ModuleType, str]] = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and module is not sys.modules.get("__main__"):
            inside = file.startswith(library) and not any(part in file for part in _PATH_BASED)
            if not inside:
                found.append((module, file))
    return found


# --- Being a program --------------------------------------------------------------------------------------------------


def set_environ(wanted: Mapping[bytes, bytes], different: Sequence[bytes] = ()) -> None:
    """Make ``os.environ``, and what programs run from here get, exactly this; the object stays the same.

    Args:
        wanted: the environment.
        different: what is known not to be as before; there may be more.
    """
    environ = os.environb
    # What both mappings are views of: by way of them each variable takes its time.
    present: dict[bytes, bytes] = vars(environ)["_data"]
    for name in different:
        present[name] = wanted[name]
        os.putenv(name, wanted[name])
    if present == wanted:
        return
    for name in [name for name in present if name not in wanted]:
        del environ[name]
    for name, value in wanted.items():
        if present.get(name) != value:
            environ[name] = value


def complain(error: BaseException, own: TracebackType | None) -> None:
    """Show an exception that nobody caught, as the interpreter does; ``own`` is the part that is the program's."""
    error.__traceback__ = own
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, own
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    try:
        sys.excepthook(type(error), error, own)
    except Exception as second:  # the hook is the program's
        second.__context__ = None
        second.__traceback__ = second.__traceback__ and second.__traceback__.tb_next
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(second), second, second.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, own)


def exit_status(error: SystemExit) -> int:
    """What ``sys.exit(…)`` means, its text printed."""
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    flush(sys.stdout)
    sys.stderr.write(f"{code}\n")
    return 1


def flush(stream: object) -> bool:
    """Flush a standard stream at the end; False, and said, if it cannot be (a caller who has gone)."""
    if stream is None or getattr(stream, "closed", False):
        return True
    try:
        stream.flush()  # type: ignore[attr-defined]  # whatever the program has put there
    except Exception as error:  # nothing must stop the exit
        try:
            sys.stderr.write(f"Exception ignored in: {stream!r}\n{type(error).__name__}: {error}\n")
        except (OSError, ValueError, AttributeError) as unheard:  # stderr has gone as well
            del unheard
        return False
    return True


def own_part(error: BaseException, code: CodeType | None) -> TracebackType | None:
    """The traceback from the program's first frame on: what is above is us. All of it where that is not in it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    return trace or error.__traceback__


def live(run: Callable[[], object], code: CodeType | None, modules: Sequence[ModuleType]) -> NoReturn:
    """Run a program and end this process as the interpreter would: threads, atexit, streams, what globals hold.

    Args:
        run: the program.
        code: where its own part of a traceback begins; None: it has none.
        modules: those of the program, to be emptied at the end: files that they hold open are written then.
    """
    status = 0
    interrupted = False
    try:
        run()
    except SystemExit as error:
        status = exit_status(error)
    except KeyboardInterrupt as error:
        complain(error, own_part(error, code))
        status = 1
        interrupted = True
    except BaseException as error:  # the end of the stack
        complain(error, own_part(error, code))
        status = 1
    leave(status, modules, interrupted=interrupted)


def leave(status: int, modules: Sequence[ModuleType] = (), *, interrupted: bool = False) -> NoReturn:
    """End this process in the interpreter's order."""
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()
    import atexit

    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    clean = flush(sys.stdout)
    flush(sys.stderr)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    for module in modules:
        names = vars(module)
        for name in [*(name for name in names if name[0] == "_"), *names]:
            if name != "__builtins__":
                names[name] = None
    gc.collect()
    clean = flush(sys.stdout) and clean
    flush(sys.stderr)
    if interrupted:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        os.kill(os.getpid(), _signal.SIGINT)
    os._exit(status if clean else 120)


# --- What a zygote is a zygote of -------------------------------------------------------------------------------------


class Script:
    """A script, to be run as ``__main__``.

    Args:
        path: as it was given to the kernel, ``sys.argv[0]`` of the program.
        arguments: the rest of ``sys.argv``.
        files: what to watch.
        eager: whether to import beforehand what is not the standard library's.
    """

    def __init__(self, path: str, arguments: Sequence[str], files: Files, *, eager: bool) -> None:
        self._path = path if path.startswith("/") else f"{os.getcwd()}/{path}"
        if not sys.flags.safe_path:
            sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
        sys.argv = [path, *arguments]
        self.main = self._module()
        files.add(self._path)
        self._code: CodeType | None = None
        self._modules = [self.main]
        try:
            source = self._source()
            tree = compile(source, self._path, "exec", flags=_ONLY_AST, dont_inherit=True)
            self._code = compile(source, self._path, "exec", dont_inherit=True)
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            return  # each connection meets it again, and the log shows it
        if eager:
            preload(imports_of(tree))
        # Here and not in each copy, whose pages of memory stay shared as long as nothing in them is touched.
        own = [module for module, file in foreign_modules() if not any(part in file for part in _PATH_BASED)]
        self._modules += reversed(own)

    def _source(self) -> bytes:
        with open(self._path, "rb") as file:
            return file.read()

    def _module(self) -> ModuleType:
        """A new ``__main__`` with what the interpreter puts there, and nothing of ours."""
        ours = sys.modules["__main__"]
        module = type(sys)("__main__")
        loader = type(ours.__loader__)
        names: dict[str, Any] = module.__dict__
        names.update(
            __loader__=loader("__main__", self._path),  # type: ignore[call-arg,misc]  # importlib's SourceFileLoader
            __builtins__=vars(ours)["__builtins__"],
            __file__=self._path,
            __cached__=None,
        )
        if sys.version_info < (3, 14):
            names["__annotations__"] = {}
        sys.modules["__main__"] = module
        return module

    def run(self) -> NoReturn:
        """Be the program."""
        if self._code is None:
            # The interpreter knows best what to say about a file that it cannot read or compile.
            os.execve(sys.executable, sys.orig_argv, uncoerced(os.environ))
        code, names = self._code, vars(self.main)
        live(lambda: exec(code, names), code, self._modules)  # noqa: S102 - it is what the user asked for


class Handler:
    """A function of a module, to be called with a `ucspi_env.Session`.

    Args:
        target: ``module:function``.
        arguments: ``sys.argv`` behind it.
        root: the directory that ``ucspi_env`` is in.
        files: what to watch.

    Raises:
        Exception: it cannot be imported, or is no function.
    """

    def __init__(self, target: str, arguments: Sequence[str], root: str) -> None:
        if not sys.flags.safe_path:
            sys.path.insert(0, os.getcwd())
        sys.argv = [target, *arguments]
        module = type(sys)("__main__")
        vars(module)["__builtins__"] = vars(sys.modules["__main__"])["__builtins__"]
        sys.modules["__main__"] = module
        try:
            __import__("ucspi_env")
        except ImportError:
            sys.path.append(root)
        from ucspi_env.tools import _handler

        self._handler = _handler
        # What a module prints while it is imported goes to the log: there is no caller yet.
        stdout, sys.stdout = sys.stdout, sys.stderr
        try:
            self.function = _handler.load(target)
        finally:
            sys.stdout.flush()
            sys.stdout = stdout

    def run(self) -> NoReturn:
        """Serve the one connection of this process."""
        function = self.function
        live(lambda: self._handler.serve(function), self._handler.code_of(function), ())

    def work(self, channel: _socket.socket, done: int, most: int) -> NoReturn:
        """Be a pooled process: serve connections from ``channel``, one after the other."""
        self._handler.work(self.function, channel, done, most, _ourselves)


# --- The zygote -------------------------------------------------------------------------------------------------------


class Zygote:
    """The process itself.

    Args:
        target: what its children are.
        files: what they are made of.
        unusable: why there is no target.
        memory: bytes that a child may have, or 0 for any number.
    """

    def __init__(self, target: Script | Handler | None, files: Files, unusable: str, memory: int) -> None:
        self._target = target
        self._files = files
        self._unusable = unusable
        self._memory = memory
        self._channel = _socket.socket(fileno=CHANNEL)
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)
        os.set_blocking(self._wake_reader, False)
        self._collecting = gc.isenabled()

    def run(self) -> Callable[[], NoReturn]:
        """Serve requests; returns in the children only, with what the child is to do. Ends with the channel."""
        # Signals for the whole process group are tcpserver's to act on: this process ends with the channel.
        former = [(number, _signal.signal(number, _signal.SIG_IGN)) for number in _IGNORED]
        _signal.signal(_signal.SIGCHLD, _note)
        _signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        self._send(UNUSABLE if self._unusable else READY, text=self._unusable)
        self._reap()  # what the former image of this process has started may have ended since
        poll = select.poll()
        poll.register(CHANNEL, select.POLLIN)
        poll.register(self._wake_reader, select.POLLIN)
        gc.disable()
        gc.collect()
        gc.freeze()
        while True:
            for fd, _ in poll.poll():
                if fd == CHANNEL:
                    job = self._take(former)
                    if job is not None:
                        return job
                else:
                    self._drain()
                    self._reap()

    def _drain(self) -> None:
        try:
            os.read(self._wake_reader, 4096)
        except BlockingIOError:
            return

    def _take(self, dispositions: Dispositions) -> Callable[[], NoReturn] | None:
        """Answer one request; in a new child, what it is to do."""
        if self._files.changed():
            renew()
        try:
            packet, ancillary, _, _ = self._channel.recvmsg(PACKET, FDS_SPACE)
        except ConnectionResetError:  # tcpserver has gone without reading every report
            packet, ancillary = b"", []
        if not packet:
            os._exit(0)  # the programs live on
        kind, serial = REQUEST.unpack_from(packet)
        rest = packet[REQUEST.size :]
        if kind == KILL:
            (pid,) = KILLED_PID.unpack(rest)
            try:
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return None  # it has ended, and the number may be somebody else's by now
            os.kill(pid, _signal.SIGKILL)
            return None
        if not ancillary:
            # Out of descriptors: the kernel threw the connection away.
            self._send(FAILED, serial, status=24, text="")
            return None
        fds = descriptors(ancillary)
        if self._target is None:
            close(fds)
            self._send(FAILED, serial, text=self._unusable)
            # Whatever was wrong may have been mended in a file that was never read.
            self._files.changed = _always  # type: ignore[method-assign]  # from now on
            return None
        try:
            pid = os.fork()
        except OSError as error:
            close(fds)
            self._send(FAILED, serial, status=error.errno or 0)
            return None
        if pid:
            close(fds)
            return None
        for number, disposition in dispositions:
            _signal.signal(number, disposition)
        return self._be_child(self._target, serial, fds, kind, rest)

    def _be_child(
        self, target: Script | Handler, serial: int, fds: Sequence[int], kind: bytes, rest: bytes
    ) -> Callable[[], NoReturn]:
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        self._send(STARTED, serial, os.getpid())
        os.close(self._wake_reader)
        os.close(self._wake_writer)
        self._channel.close()
        if self._memory:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (self._memory, self._memory))
        if self._collecting:
            gc.enable()
        if kind == WORK and isinstance(target, Handler):
            for fd in fds:
                os.set_inheritable(fd, False)  # not for what a handler may start
            channel = _socket.socket(fileno=fds[0])
            return lambda: target.work(channel, fds[1], int(rest))
        os.dup2(fds[0], 0)
        os.dup2(fds[0], 1)
        set_environ(environ_of(whole(rest, fds[1:])))
        close(fds)
        return target.run

    def _reap(self) -> None:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            if found.si_code == os.CLD_EXITED:
                status = found.si_status << 8
            else:
                status = found.si_status | (0x80 if found.si_code == os.CLD_DUMPED else 0)
            self._send(ENDED, 0, found.si_pid, status)
            os.waitpid(found.si_pid, 0)

    def _send(self, kind: bytes, serial: int = 0, pid: int = 0, status: int = 0, text: str = "") -> None:
        data = REPORT.pack(kind, serial, pid, status) + text[:LONGEST_TEXT].encode("utf-8", "surrogateescape")
        try:
            self._channel.send(data, _socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            return  # nobody wants to know any more; recvmsg will say so


def descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> tuple[int, ...]:
    """The descriptors that came with a packet."""
    data = ancillary[0][2]
    return struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])


def close(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def _always() -> bool:
    return True


def _note(_number: int, _frame: FrameType | None) -> None:
    """SIGCHLD is caught so that it writes to the wake-up pipe."""


def whole(data: bytes, files: Sequence[int]) -> bytes:
    """An environment as it travels.

    Args:
        data: the environment, if it fits into a packet.
        files: the descriptor of a file with it, if not.
    """
    for fd in files:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    return data


def environ_of(data: bytes) -> dict[bytes, bytes]:
    """What travelled as an environment, with what Python itself added when this process was started (PEP 538)."""
    environ = _paired(data.split(b"\0")) if data else {}
    if _coerced is not None and not environ.get(b"LC_ALL"):
        environ.setdefault(b"LC_CTYPE", os.fsencode(_coerced))
    return environ


def text_of(data: bytes) -> dict[str, str]:
    """What travelled as an environment, as text: decoded at once, since one by one takes several times as long."""
    return _paired(os.fsdecode(data).split("\0")) if data else {}


def _paired(words: list[AnyStr]) -> dict[AnyStr, AnyStr]:
    """The names stand first, then their values."""
    return dict(zip(words, words[len(words) // 2 :], strict=False))


_ourselves = sys.modules[__name__]  # a program has another __main__
_coerced: str | None = None
_given: dict[str, str] = {}
_command: list[str] = []


def uncoerced(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without what Python itself added to it."""
    return {name: value for name, value in environ.items() if (name, value) != ("LC_CTYPE", _coerced)}


def remember_start() -> None:
    """Keep what this process was started with, to start it again (`renew`)."""
    global _coerced  # noqa: PLW0603 - set once, at the start
    _command[:] = sys.orig_argv
    _given.update(os.environ)
    if os.environ.get("LC_CTYPE") in _COERCED and not os.environ.get("LC_ALL"):
        try:
            with open("/proc/self/environ", "rb") as file:
                added = not any(item.startswith(b"LC_CTYPE=") for item in file.read().split(b"\0"))
        except OSError:
            added = False
        if added:
            _coerced = _given.pop("LC_CTYPE")


def renew(*flags: str) -> NoReturn:
    """Start this process anew, as the same process."""
    for number in _IGNORED:
        _signal.signal(number, _signal.SIG_DFL)
    command = [*_command]
    if flags:
        at = next(number for number, word in enumerate(command) if word.endswith("_zygote_child.py"))
        command[at + 1 : at + 1] = flags
    os.execve(sys.executable, command, _given)


def main() -> Callable[[], NoReturn]:
    """Be a zygote; returns in its children only.

    The command line: ``[late] KIND MEMORY ROOT TARGET ARGUMENT…``.
    """
    remember_start()
    words = sys.argv[1:]
    late = words[0] == "late"
    if late:
        del words[0]
    kind, memory, root, name, *arguments = words
    files = Files(time.time_ns())
    target: Script | Handler | None = None
    unusable = ""
    if kind == "script":
        interpreter = sys.orig_argv[: sys.orig_argv.index(__file__)]
        sys.orig_argv[:] = [*interpreter, name, *arguments]
        target = Script(name, arguments, files, eager=not late)
    else:
        try:
            target = Handler(name, arguments, root)
        except BaseException as error:  # sys.exit() and all
            unusable = last_line(error)
    for _, file in foreign_modules():
        files.add(file)
    zygote = Zygote(target, files, unusable, int(memory))
    if len(sys._current_frames()) > 1:  # pyright: ignore[reportPrivateUsage]
        if kind == "script" and not late:
            renew("late")  # a copy of a process with threads has only one of them: those modules must wait
        elif not unusable:
            zygote = Zygote(None, files, "it starts threads when it is imported, which fork(2) does not copy", 0)
    return zygote.run()


def last_line(error: BaseException) -> str:
    """An exception as the last line of its traceback."""
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    main()()
