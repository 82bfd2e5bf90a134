# ruff: noqa: E501 - a table of programs, one a line
"""Python programs that end, print, break and look about in every way: what --preload has to do as exec(2) does."""

from __future__ import annotations

IDENTITY = """
    '''A docstring.'''
    import gc
    import os
    import signal
    import subprocess
    import sys
    import threading
    import helper

    facts = {
        "argv": sys.argv, "orig_argv": sys.orig_argv, "executable": sys.executable, "path": sys.path,
        "flags": sys.flags, "warnoptions": sys.warnoptions, "xoptions": sys._xoptions, "prefix": sys.prefix,
        "globals": {name: type(value).__name__ for name, value in sorted(globals().items())},
        "file": __file__, "name": __name__, "doc": __doc__, "spec": __spec__, "package": __package__,
        "loader": (__loader__.name, __loader__.path), "main": sys.modules["__main__"].__dict__ is globals(),
        "environ": {name: value for name, value in sorted(os.environ.items()) if "PORT" not in name},
        "getenv": subprocess.check_output(["sh", "-c", "env | grep -av PORT | grep -av ^_= | sort"]),
        "cwd": os.getcwd(), "fds": sorted(os.listdir("/proc/self/fd")), "uid": os.getresuid(),
        "signals": {number.name: repr(signal.getsignal(number)) for number in signal.valid_signals()
                    if isinstance(number, signal.Signals)},
        "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()), "wakeup": signal.set_wakeup_fd(-1),
        "gc": (gc.isenabled(), gc.get_threshold()), "hooks": (sys.excepthook is sys.__excepthook__, sys.gettrace()),
        "threads": [thread.name for thread in threading.enumerate()],
        "main thread": threading.current_thread() is threading.main_thread(),
        "helper": (helper.__file__, helper.value), "pgrp": os.getpgrp() == os.getpgid(os.getppid()),
        "dont_write_bytecode": sys.dont_write_bytecode, "last": hasattr(sys, "last_value"),
    }
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        facts[name] = (repr(stream), stream.encoding, stream.errors, stream.line_buffering, stream.write_through,
                       stream.isatty(), stream.fileno(), type(stream.buffer).__name__, os.get_inheritable(stream.fileno()),
                       stream is getattr(sys, "__" + name + "__"))
    facts["seekable"] = (sys.stdin.seekable(), sys.stdout.seekable())
    for name, value in facts.items():
        print(name, value)
"""

PROGRAMS = {
    "echo text": "import sys\nfor line in sys.stdin:\n    print(line.upper(), end='')",
    "echo binary": "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])",
    "input()": "print(input()); print(input())",
    "exit text": "import sys\nprint('a')\nsys.exit('good bye')",
    "exit number": "import sys\nsys.exit(3)",
    "exit large": "import sys\nsys.exit(256 + 7)",
    "exit negative": "import sys\nsys.exit(-1)",
    "exit none": "raise SystemExit",
    "exit object": "raise SystemExit([1, 2])",
    "traceback": "def f():\n    raise ValueError('oops')\nprint('a')\nf()",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('x') from error",
    "recursion": "import sys\nsys.setrecursionlimit(60)\ndef f(): f()\ntry:\n    f()\nexcept RecursionError:\n    print('deep')",
    "syntax error": "import os\nx = = 1",
    "bad encoding": "# -*- coding: nosuch -*-\nprint(1)",
    "latin-1 source": "# -*- coding: latin-1 -*-\nprint(1)",
    "import error": "import nosuch_module_anywhere",
    "failing module": "import broken",
    "exiting module": "import exiting",
    "talking module": "import talking\nprint('script')",
    "muttering module": "import muttering\nprint('script')",
    "muttering and talking modules": "import muttering, talking\nprint('script')",
    "listening module": "import listening\nprint(listening.line)",
    "interrupt": "print('a')\nraise KeyboardInterrupt",
    "_exit": "import os\nprint('lost')\nos._exit(7)",
    "abort": "import os, resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nos.abort()",
    "killed": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "sigpipe": "import os, signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nos.kill(os.getpid(), signal.SIGPIPE)",
    "atexit": "import atexit\natexit.register(print, 'bye')\natexit.register(lambda: 1 / 0)\nprint('a')",
    "threads": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), print('late'))).start()\nprint('a')",
    "thread error": "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='T')\nt.start()\nt.join()",
    "daemon thread": "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint('a')",
    "executor": "from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(1)\npool.submit(print, 'b')",
    "unclosed file": "import os\nfile = os.fdopen(os.dup(1), 'w')\nfile.write('never flushed')",
    "__del__": "class C:\n    def __del__(self):\n        print('deleted')\nc = C()\nclass D(C): pass\nd = D()\nd.me = d",
    "del error": "class C:\n    def __del__(self):\n        1 / 0\nc = C()\ndel c",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno)\n1 / 0",
    "excepthook fails": "import sys\ndef hook(*a): raise OSError('hook')\nsys.excepthook = hook\n1 / 0",
    "stdout closed": "import sys\nprint('a')\nsys.stdout.close()",
    "stdout replaced": "import io, sys\nsys.stdout = io.StringIO()\nprint('lost')",
    "stdout is None": "import sys\nsys.stdout = None\nprint('lost')",
    "stderr": "import sys\nprint('to the log', file=sys.stderr)",
    "fork": "import os\nif os.fork():\n    os.wait()\nprint('twice', flush=True)",
    "subprocess": "import subprocess\nsubprocess.run(['echo', 'child'], check=True)",
    "environment": "import os\nos.environ['NEW'] = '1'\nos.system('echo $NEW $PROTO $TCPREMOTEIP')",
    "pickle": "import pickle\nclass C: pass\nprint(pickle.loads(pickle.dumps(C())).__class__)",
    "multiprocessing": "import multiprocessing as m\ndef f(x): return x + 1\nif __name__ == '__main__':\n"
    "    with m.get_context('fork').Pool(1) as p: print(p.map(f, [1]))",
    "main guard": "def main(): print('main')\nif __name__ == '__main__': main()",
    "import main": "import __main__\nx = 1\nprint(__main__.x, __main__.__name__)",
    "stack": "import inspect\ndef f(): return [frame.function for frame in inspect.stack()][:2]\nprint(f())",
    "warning": "import warnings\nwarnings.warn('careful')",
    "annotations": "from __future__ import annotations\nx: nosuch = 1\nprint(__annotations__)",
    "dataclass": "import dataclasses\n@dataclasses.dataclass\nclass C:\n    x: int = 1\nprint(C())",
    "asyncio": "import asyncio\nasync def f(): print('async')\nasyncio.run(f())",
    "random": "import random\nrandom.seed(1)\nprint(random.random())",
    "signals": "import signal, os\nsignal.signal(signal.SIGCHLD, lambda *a: print('chld'))\nos.kill(os.getpid(), signal.SIGCHLD)",
    "logging": "import logging\nlogging.warning('log me')",
    "__slots__ of main": "import sys\nprint(type(sys.modules['__main__']), sys.modules['__main__'])",
    "caller": "import ucspi_env\nprint(ucspi_env.remote().ip, ucspi_env.connection().evidence)",
    "socket module": "import socket, sys\ns = socket.socket(fileno=0)\nprint(s.getpeername()[0], s.getblocking())\ns.detach()",
}  # fmt: skip

MODULES = {
    "broken.py": "raise RuntimeError('broken')\n",
    "exiting.py": "import sys\nsys.exit(5)\n",
    "talking.py": "import sys\nprint('module')\nsys.stdout.flush()\n",
    "muttering.py": "print('muttered')\n",  # and leaves it in the buffer
    "listening.py": "line = input()\n",
}
