"""The pytest plugin: fixtures for tests of servers, a marker that multiplies a test over super-servers and callers.

``ucspi_environ``  set the environment of a connection: ``ucspi_environ("s6", remote="[2001:db8::1]:4711")``
``ucspi_run``      run a program or a function on a real connection: ``ucspi_run(["./server.py"], send=b"hello")``
``ucspi_server``   run a program under tcpserver: ``ucspi_server(["./server.py"]).call(host="::1")``
``ucspi_caller``   who calls in this test; `pytest.mark.ucspi_matrix` makes one test of each

pytest loads this in every run of everybody who has the package installed: what it needs is imported when it is used.
"""

from __future__ import annotations

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from ucspi_env.testing import Caller, Harness, Run, Server

__all__ = [
    "RunServer",
    "SetEnviron",
    "StartServer",
    "ucspi_caller",
    "ucspi_environ",
    "ucspi_harness",
    "ucspi_run",
    "ucspi_server",
]

_MARKER = (
    "ucspi_matrix(*dialects, callers=('IPv4', 'IPv6', 'mapped', 'link-local')): run the test once for every kind of "
    "caller under every one of these super-servers (default: ucspi_env.testing.DIALECTS); for tests that use "
    "ucspi_run, ucspi_environ or ucspi_caller."
)


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest about the marker."""
    config.addinivalue_line("markers", _MARKER)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test of each caller."""
    marker = metafunc.definition.get_closest_marker("ucspi_matrix")
    if marker is None:
        return
    from ucspi_env.testing import DIALECTS, KINDS, callers

    if "ucspi_caller" not in metafunc.fixturenames:
        msg = f"{metafunc.definition.nodeid}: ucspi_matrix needs one of ucspi_run, ucspi_environ, ucspi_caller"
        raise pytest.UsageError(msg)
    kinds = marker.kwargs.get("callers", KINDS)
    if set(marker.kwargs) - {"callers"} or isinstance(kinds, str):
        msg = f"{metafunc.definition.nodeid}: the marker is {_MARKER.partition(':')[0]}"
        raise pytest.UsageError(msg)
    try:
        found = callers(marker.args or DIALECTS, kinds)
    except ValueError as error:
        msg = f"{metafunc.definition.nodeid}: ucspi_matrix: {error}"
        raise pytest.UsageError(msg) from None
    metafunc.parametrize("ucspi_caller", found, ids=str, indirect=True)


@pytest.fixture
def ucspi_caller(request: pytest.FixtureRequest) -> Caller:
    """Who calls: the matrix's caller, or else 192.0.2.1 under Debian's tcpserver. Override it to choose another."""
    from ucspi_env.testing import Caller

    caller: Caller = getattr(request, "param", None) or Caller()
    return caller


class SetEnviron:
    """The type of `ucspi_environ`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caller: Caller) -> None:
        self._monkeypatch = monkeypatch
        self._caller = caller

    def __call__(self, dialect: str | None = None, **options: Any) -> dict[str, str]:
        """Make `os.environ` what a super-server makes it, for the rest of this test.

        Variables of other super-servers are removed from it, those of an ssh login too.

        Args:
            dialect: who speaks; None: the caller of the matrix.
            **options: ``remote``, ``local``, ``host``, ``info``, ``as_ipv6``, as for `ucspi_env.testing.Caller`.

        Returns:
            The variables that were set, and nothing else: an environment to pass on, or to judge alone.
        """
        __tracebackhide__ = True
        from ucspi_env.testing import Caller

        caller = self._caller
        if dialect is not None or options:
            caller = Caller(dialect or caller.dialect, **options)
        for name in caller.change.unset:
            self._monkeypatch.delenv(name, raising=False)
        for name, value in caller.change.pairs:
            self._monkeypatch.setenv(name, value)
        return caller.environ()


@pytest.fixture
def ucspi_environ(monkeypatch: pytest.MonkeyPatch, ucspi_caller: Caller) -> SetEnviron:
    """Set the environment of a connection: ``ucspi_environ("s6", remote="[2001:db8::1]:4711")``.

    It sets `os.environ` until the end of the test and returns what it set. There is no connection: code that asks the
    kernel, as ``ucspi_env.remote(strict=True)`` does, wants `ucspi_run`.
    """
    return SetEnviron(monkeypatch, ucspi_caller)


@pytest.fixture(scope="session")
def ucspi_harness() -> Iterator[Harness]:
    """The session's `ucspi_env.testing.Harness`: one namespace for the connections of all tests."""
    from ucspi_env.testing import Caller, Harness

    with Harness() as harness:
        for end in harness.connect(Caller()):  # the first connection tells whether there can be any: harness.reason
            end.close()
        yield harness


class RunServer:
    """The type of `ucspi_run`."""

    def __init__(self, harness: Harness, caller: Caller) -> None:
        self._harness = harness
        self._caller = caller

    def __call__(
        self,
        server: Any,
        dialect: str | None = None,
        *,
        send: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        **options: Any,
    ) -> Run:
        """Run a server for one caller on a real connection between the two addresses.

        Args:
            server: the program and its arguments, or a function (see `ucspi_env.testing.Harness.run`).
            dialect: who speaks; None: the caller of the matrix.
            send: what the caller says.
            env: further variables of the environment.
            timeout: seconds until a program is killed.
            **options: ``remote``, ``local``, ``host``, ``info``, ``mapped``, ``as_ipv6``, as for
                `ucspi_env.testing.Caller`.

        Returns:
            What it did: ``output``, ``errors``, ``status``, ``seconds``, ``hung``.
        """
        __tracebackhide__ = True
        from ucspi_env.testing import Caller

        caller = self._caller
        if dialect is not None or options:
            caller = Caller(dialect or caller.dialect, **options)
        return self._harness.run(server, caller, send=send, env=env, timeout=timeout)


@pytest.fixture
def ucspi_run(ucspi_harness: Harness, ucspi_caller: Caller) -> RunServer:
    """Run a program or a function for one caller: ``ucspi_run(["./server.py"], remote="::1", send=b"hello")``.

    Where the system allows no network namespaces there is no connection between the caller's two addresses, and the
    test is skipped with the reason. `ucspi_harness` runs servers on socket pairs there.
    """
    if ucspi_harness.reason:
        pytest.skip(f"ucspi_run makes no connections here: {ucspi_harness.reason}")
    return RunServer(ucspi_harness, ucspi_caller)


class StartServer:
    """The type of `ucspi_server`."""

    def __init__(self) -> None:
        self.running: list[Server] = []

    def __call__(
        self,
        program: Sequence[str | os.PathLike[str]],
        *,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> Server:
        """Start a `ucspi_env.testing.Server`; the end of the test ends it, and shows its log if the test failed."""
        __tracebackhide__ = True
        from ucspi_env.testing import Server

        server = Server(program, options=options, env=env, cwd=cwd)
        self.running.append(server)
        return server


@pytest.fixture
def ucspi_server(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    """Run programs under tcpserver, on 127.0.0.1 and ::1: ``ucspi_server(["./server.py"]).call()``."""
    servers = StartServer()
    yield servers
    test: Any = getattr(request, "node")  # noqa: B009 - its type is not known to every checker
    for server in servers.running:
        # pytest shows this below the failure of a test, and nowhere else.
        test.add_report_section("teardown", "tcpserver's log", "\n".join(server.stop()))
