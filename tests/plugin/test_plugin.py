"""The pytest plugin, as other people's test suites see it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from ucspi_env.envcheck._stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """Somebody's test suite, with the plugin as an install of the package gives it."""
    pytester.makeini(
        "[pytest]\naddopts = --strict-markers -p no:randomly -p no:cacheprovider\nfilterwarnings = error\n"
    )
    return pytester


def outcomes(suite: pytest.Pytester, code: str, *arguments: str, **expected: int) -> pytest.RunResult:
    suite.makepyfile(code)
    result = suite.runpytest_inprocess(*arguments)
    result.assert_outcomes(**expected)
    return result


def collected(result: pytest.RunResult) -> Sequence[str]:
    return [match[1] for line in result.outlines if (match := re.search(r"::\w+\[([^]]*)\] PASSED", line))]


def test_the_marker_is_registered_with_its_signature(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("--markers")

    result.stdout.fnmatch_lines(["@pytest.mark.ucspi_matrix(?dialects, callers=('IPv4', 'IPv6', *)): run the test*"])


def test_the_fixtures_are_documented(suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess("--fixtures")

    for name in ("ucspi_environ", "ucspi_run", "ucspi_server", "ucspi_caller"):
        result.stdout.fnmatch_lines([f"{name}*", "    *"])
    assert "no docstring available" not in "\n".join(line for line in result.outlines if "ucspi" in line)


def test_ucspi_environ_sets_a_dialect_and_clears_the_others(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCP6REMOTEIP", "2001:db8::bad")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.99 1 192.0.2.98 22")

    outcomes(
        suite,
        """
        import os
        import ucspi_env

        def test_one(ucspi_environ):
            variables = ucspi_environ("s6", remote="[2001:db8::1]:4711", host="mail.example")
            assert os.environ["TCPREMOTEIP"] == variables["TCPREMOTEIP"] == "2001:db8::1"
            assert "TCP6REMOTEIP" not in os.environ
            assert "SSH_CONNECTION" not in os.environ
            peer = ucspi_env.remote(variables)
            assert (str(peer), peer.host) == ("[2001:db8::1]:4711", "mail.example")

        def test_two():
            assert os.environ["TCP6REMOTEIP"] == "2001:db8::bad"
            assert "TCPREMOTEIP" not in os.environ
        """,
        passed=2,
    )


@pytest.mark.stage
def test_ucspi_run_runs_programs_and_functions(suite: pytest.Pytester) -> None:
    outcomes(
        suite,
        f"""
        import ucspi_env

        def greet(session):
            session.writer.write(b"hello " + session.reader.readline())

        def test_program(ucspi_run):
            run = ucspi_run([{sys.executable!r}, "-c", "import os; print(os.environ['TCPREMOTEIP'])"], remote="::1")
            assert (run.output, run.status) == (b"::1\\n", 0)

        def test_function(ucspi_run):
            assert ucspi_run(greet, "s6", remote="[2001:db8::1]:9", send=b"world\\n").output == b"hello world\\n"
        """,
        passed=2,
    )


@pytest.mark.stage
def test_a_function_that_raises_fails_its_test_with_its_own_traceback(suite: pytest.Pytester) -> None:
    result = outcomes(
        suite,
        """
        def server(session):
            raise ZeroDivisionError("in the server")

        def test_it(ucspi_run):
            ucspi_run(server)
        """,
        failed=1,
    )

    result.stdout.fnmatch_lines(["*def server(session):", "E * ZeroDivisionError: in the server"])


@pytest.mark.stage
def test_a_failure_shows_what_the_server_did(suite: pytest.Pytester) -> None:
    result = outcomes(
        suite,
        """
        def test_status(ucspi_run):
            assert ucspi_run(["/bin/sh", "-c", "echo oops >&2; echo 220; exit 3"]).status == 0

        def test_time(ucspi_run):
            assert not ucspi_run(["/bin/sleep", "1000"], timeout=0.1).hung

        def test_log(ucspi_server):
            assert ucspi_server(["./nobody"]).call() == b"220\\r\\n"

        def test_string(ucspi_run):
            ucspi_run("./server.py")

        def test_absent(ucspi_run):
            ucspi_run(["./server.py"])
        """,
        failed=5,
    )

    result.stdout.fnmatch_lines(["E * where 3 = <Run status=3 errors=b'oops\\n' output=b'220\\n' seconds=*>.status"])
    result.stdout.fnmatch_lines(["E * where True = <Run hung errors=b'' output=b'' seconds=*>.hung"])
    result.stdout.fnmatch_lines(
        [
            "*Captured tcpserver's log teardown*",
            "tcpserver: warning: dropping connection, unable to run ./nobody: file does not exist",
        ]
    )
    said = result.stdout.str()
    assert "TypeError: a program is a list of words, ['./server.py'], and not './server.py'" in said
    assert "FileNotFoundError: [Errno 2] No such file or directory: './server.py'" in said
    # The test's own line is what is shown, not the inside of the harness or of subprocess.
    assert not [
        line for line in result.outlines if re.search(r"^\S*(_harness|_play|pytest_plugin|subprocess)\.py", line)
    ]


def test_the_log_of_a_test_that_passes_is_not_shown(suite: pytest.Pytester) -> None:
    result = outcomes(
        suite,
        """
        def test_it(ucspi_server):
            assert ucspi_server(["/bin/echo", "220"]).call() == b"220\\n"
        """,
        passed=1,
    )

    assert "tcpserver" not in result.stdout.str()


@pytest.mark.stage
def test_it_works_on_the_workers_of_xdist(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import pytest
        import ucspi_env

        @pytest.mark.ucspi_matrix("s6", "inetd")
        def test_matrix(ucspi_run, ucspi_caller):
            def main():
                print(ucspi_env.remote().ip)
            assert ucspi_run(main).output.decode() == f"{ucspi_caller.remote.ip}\\n"

        @pytest.mark.parametrize("number", range(4))
        def test_server(ucspi_server, number):
            assert ucspi_server(["/bin/echo", "220"]).call() == b"220\\n"
        """
    )

    result = suite.runpytest_subprocess("-p", "xdist", "-n", "2")

    result.assert_outcomes(passed=12)


def test_it_can_be_left_out(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_nothing_of_it_is_there(request):
            assert not [name for name in sys.modules if name.startswith("ucspi_env")]
            assert not request.config.pluginmanager.has_plugin("ucspi_env")
        """
    )

    result = suite.runpytest_subprocess("-p", "no:ucspi_env")

    result.assert_outcomes(passed=1)


@pytest.mark.stage
@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_functions_work_under_every_kind_of_capture(suite: pytest.Pytester, capture: str) -> None:
    outcomes(
        suite,
        """
        def main():
            print("to the caller")

        def test_it(ucspi_run):
            print("to the terminal")
            assert ucspi_run(main).output == b"to the caller\\n"
        """,
        f"--capture={capture}",
        passed=1,
    )


def test_ucspi_server_serves_both_families_and_is_gone_afterwards(suite: pytest.Pytester) -> None:
    outcomes(
        suite,
        """
        import os
        import pytest
        seen = []

        def test_one(ucspi_server):
            server = ucspi_server(["/bin/sh", "-c", "echo $TCPREMOTEIP"])
            seen.append(server.pid)
            for host in server.hosts:
                assert server.call(host=host) == host.encode() + b"\\n"

        def test_two():
            with pytest.raises(ProcessLookupError):
                os.kill(seen[0], 0)
        """,
        passed=2,
    )


@pytest.mark.stage
def test_the_matrix_multiplies_a_test(suite: pytest.Pytester) -> None:
    result = outcomes(
        suite,
        """
        import pytest
        import ucspi_env

        @pytest.mark.ucspi_matrix("s6", "ucspi-tcp")
        def test_run(ucspi_run, ucspi_caller):
            def main():
                assert ucspi_env.remote().ip == ucspi_caller.remote.ip
            ucspi_run(main)

        @pytest.mark.ucspi_matrix(callers=["IPv6"])
        def test_environ(ucspi_environ, ucspi_caller):
            variables = ucspi_environ()
            assert ucspi_caller.kind == "IPv6"
            if ucspi_caller.dialect != "inetd":
                assert ucspi_env.remote(variables) == ucspi_caller.remote or ucspi_caller.dialect == "couriertcpd"
        """,
        "-v",
        passed=13,
    )

    ids = collected(result)
    assert ids[:4] == [f"s6-networking-{kind}" for kind in ("IPv4", "IPv6", "mapped", "link-local")]
    assert ids[4] == "ucspi-tcp-IPv4"
    assert "inetd-IPv6" in ids


def test_where_no_connection_can_be_made_ucspi_run_skips_and_says_why(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stage: Stage) -> Stage:
        stage.reason = "network namespaces are not allowed here: for a test"
        return stage

    monkeypatch.setattr(Stage, "__enter__", refuse)

    result = outcomes(
        suite,
        """
        import pytest
        from ucspi_env.testing import Caller

        @pytest.mark.ucspi_matrix("inetd", callers=["IPv4", "IPv6"])
        def test_matrix(ucspi_run):
            assert False, "not reached"

        @pytest.mark.ucspi_matrix("inetd", callers=["IPv4", "IPv6"])
        def test_environ(ucspi_environ):
            ucspi_environ()

        def test_harness(ucspi_harness):
            assert ucspi_harness.run(["/bin/echo", "220"], Caller()).output == b"220\\n"
        """,
        "-rs",
        passed=3,
        skipped=2,
    )

    result.stdout.fnmatch_lines(
        ["SKIPPED * ucspi_run makes no connections here: network namespaces are not allowed here: for a test"]
    )


def test_a_caller_can_be_chosen_by_overriding_the_fixture(suite: pytest.Pytester) -> None:
    outcomes(
        suite,
        """
        import pytest
        from ucspi_env.testing import Caller

        @pytest.fixture
        def ucspi_caller():
            return Caller("systemd", "2001:db8::5")

        def test_it(ucspi_environ):
            assert ucspi_environ()["REMOTE_ADDR"] == "2001:db8::5"
        """,
        passed=1,
    )


@pytest.mark.parametrize(
    ("marker", "argument", "message"),
    [
        ("'s6'", "tmp_path", "ucspi_matrix needs one of ucspi_run, ucspi_environ, ucspi_caller"),
        ("'tcpservre'", "ucspi_run", "'tcpservre' is not a dialect; there are *"),
        ("callers=['IPv5']", "ucspi_run", "'IPv5' is not a kind of caller (IPv4, IPv6, mapped, link-local)"),
        ("callers='IPv6'", "ucspi_run", "the marker is ucspi_matrix(*"),
        ("kinds=['IPv6']", "ucspi_run", "the marker is ucspi_matrix(*"),
    ],
)
def test_a_wrong_marker_is_one_clear_error(suite: pytest.Pytester, marker: str, argument: str, message: str) -> None:
    suite.makepyfile(
        f"""
        import pytest

        @pytest.mark.ucspi_matrix({marker})
        def test_it({argument}):
            pass
        """
    )

    result = suite.runpytest_inprocess()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*test_it: *{message}"])
    assert "Traceback" not in result.stdout.str()


def test_a_run_that_does_not_use_the_plugin_does_not_load_the_rest(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        """
        import sys

        def test_it():
            loaded = sorted(name for name in sys.modules if name.startswith("ucspi_env"))
            heavy = {"ucspi_env.testing", "ucspi_env._harness", "ucspi_env._dialects", "ucspi_env.envcheck"}
            assert not heavy & set(loaded), loaded
        """
    )

    result = suite.runpytest_subprocess()

    result.assert_outcomes(passed=1)
