"""The command: files, settings, suppression, formats, rewriting, exit codes."""

# ruff: noqa: E501 - a program on one line is read as one

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # has no stubs
import pytest
from click.testing import CliRunner, Result

from ucspi_env.envcheck.lint import Finding, _report, lint_text
from ucspi_env.envcheck.lint._fix import fixed
from ucspi_env.envcheck.lint._model import RULES
from ucspi_env.envcheck.lint._walk import HUGE
from ucspi_env.envcheck.lint.cli import lint

ROOT = Path(__file__).resolve().parents[2]
BAD = 'ip = __import__("os").environ["TCPREMOTEIP"]\nprint(ip.split("."))\n'
BAD_PERL = "my @p = split /\\./, $ENV{TCPREMOTEIP};\n"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(lint, [str(one) for one in arguments])
    assert result.exit_code == code, result.output
    return result


def found(*arguments: str | Path, code: int = 1) -> list[dict[str, object]]:
    loaded = json.loads(run("--format", "json", *arguments, code=code).stdout)
    assert isinstance(loaded, list)
    return loaded


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(BAD)
    (tmp_path / "b.pl").write_text(BAD_PERL)
    (tmp_path / "clean.c").write_text("int x;\n")
    return tmp_path


def test_findings_exit_1_and_none_exit_0(tree: Path) -> None:
    run(tree, code=1)
    assert run(tree / "clean.c").stdout == ""


def test_a_missing_path_and_an_unknown_rule_are_wrong_usage(tree: Path) -> None:
    run(tree / "nowhere", code=2)
    assert "no rule" in run("--select", "U9", tree, code=2).output
    run(code=2)


def test_an_unreadable_file_is_named_and_exits_2(tree: Path) -> None:
    (tree / "loop").mkdir()
    (tree / "loop" / "x.c").symlink_to("x.c")
    result = run(tree / "clean.c", tree / "loop" / "x.c", code=2)
    assert "x.c" in result.output


def test_json_is_an_array_with_the_promised_members(tree: Path) -> None:
    one = found(tree / "a.py")[0]
    assert list(one) == ["path", "line", "column", "code", "name", "severity", "message", "fix"]
    assert (one["path"], one["line"], one["column"], one["code"], one["name"]) == (
        str(tree / "a.py"),
        2,
        7,
        "U101",
        "dot-split",
    )
    assert json.loads(run("--format", "json", tree / "clean.c").stdout) == []


def test_text_points_at_the_place(tree: Path) -> None:
    rows = run(tree / "a.py", code=1).stdout.splitlines()
    assert rows[0].startswith(f"{tree / 'a.py'}:2:7 U101 ")
    assert rows[1] == '    print(ip.split("."))'
    assert rows[2] == "          ^"
    assert rows[3].startswith("    fix: ")


def test_text_shows_no_control_characters_of_the_source() -> None:
    one = Finding("a\x1b.py", 1, 1, "U101", "dot-split", "breaks", "message", "fix")
    assert "\x1b" not in _report.text([one], {one.path: ["\x1b[31m\tx"]})
    assert "\x1b[" in _report.text([one], {}, colour=True)


def test_each_file_gets_the_fix_of_its_language(tree: Path) -> None:
    fixes = {str(one["path"])[-4:]: one["fix"] for one in found(tree)}
    assert "ucspi_env" in str(fixes["a.py"])
    assert "NetAddr::IP" in str(fixes["b.pl"])


def test_github_annotations_escape_what_would_end_them() -> None:
    one = Finding("a,b:c%.py", 1, 2, "U101", "dot-split", "security", "x\ny", "z")
    assert _report.github([one]) == "::error file=a%2Cb%3Ac%25.py,line=1,col=2,title=U101 dot-split::x%0Ay. Fix: z\n"


# The published schema of SARIF 2.1.0 (OASIS; MIT licence, as Microsoft ships it in its jest-sarif package).
SARIF = json.loads((Path(__file__).parent / "sarif-2.1.0.schema.json").read_text())


def test_sarif_is_valid_by_the_published_schema(tree: Path) -> None:
    log = json.loads(run("--format", "sarif", tree, code=1).stdout)
    jsonschema.validate(log, SARIF)
    run_ = log["runs"][0]
    assert len(run_["tool"]["driver"]["rules"]) == len(RULES)
    for result in run_["results"]:
        assert run_["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif"])
def test_a_severity_is_shown_in_every_format(form: str, tree: Path) -> None:
    assert run("--format", form, tree, code=1).stdout


def test_select_and_ignore_take_codes_beginnings_and_names(tree: Path) -> None:
    for chosen in ("U101", "u1", "dot-split", "U2,U1"):
        assert len(found("--select", chosen, tree)) == 2
    assert found("--select", "U2", tree, code=0) == []
    assert found("--ignore", "dot-split", tree, code=0) == []
    assert found("--select", "U1", "--ignore", "U101", tree, code=0) == []


def test_settings_come_from_the_nearest_file_and_options_go_before(tree: Path) -> None:
    (tree / "pyproject.toml").write_text('[tool.ucspi-envcheck]\nignore = ["U101"]\n')
    assert found(tree, code=0) == []
    assert len(found("--isolated", tree)) == 2
    (tree / ".ucspi-envcheck.toml").write_text('select = ["U2"]\nexclude = ["*.pl"]\n')
    assert found(tree, code=0) == []
    assert [Path(str(one["path"])).name for one in found("--select", "U1", tree)] == ["a.py"]


@pytest.mark.parametrize("text", ["selects = []", "select = 1", "select = ['U9']", "select = [", "lint = 1"])
def test_bad_settings_are_wrong_usage_and_name_the_file(text: str, tree: Path) -> None:
    (tree / ".ucspi-envcheck.toml").write_text(text)
    run(tree, code=2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.c", 'int f(void) { return inet_aton(getenv("TCPREMOTEIP"), 0); /* envcheck: ignore */ }\n'),
        (
            "a.c",
            '// envcheck: ignore[inet-aton-family, missing-env]\nint f(void) { return inet_aton(getenv("TCPREMOTEIP"), 0); }\n',
        ),
        ("a.pl", "my @p = split /\\./, $ENV{TCPREMOTEIP}; # envcheck: ignore[U101]\n"),
        ("a.pl", "# envcheck: ignore-file[dot-split]\n\nmy @p = split /\\./, $ENV{TCPREMOTEIP};\n"),
        ("a.sh", "# envcheck: ignore\necho ${TCPREMOTEIP%.*}\n"),
        ("a.py", 'import os\nip = os.environ["TCPREMOTEIP"]\nip.split(".")  # envcheck: ignore[dot-split]\n'),
        ("a.sql", "CREATE TABLE x (ip CHAR(15)); -- envcheck: ignore\n"),
        ("a.hs", 'main = lookupEnv "TCPREMOTEIP" >>= \\ip -> print (splitOn "." ip) -- envcheck: ignore\n'),
    ],
)
def test_a_comment_in_the_files_own_syntax_silences(name: str, text: str) -> None:
    assert lint_text(name, text) == []


def test_a_comment_silences_only_the_rule_it_names() -> None:
    text = "my @p = split /\\./, $ENV{TCPREMOTEIP}; # envcheck: ignore[U102]\n"
    assert [one.code for one in lint_text("a.pl", text)] == ["U101"]
    assert lint_text("a.pl", 'my $x = "envcheck: ignore-file";\n' + BAD_PERL)


def test_gitignore_is_respected_with_its_negations(tree: Path) -> None:
    (tree / ".git").mkdir()
    (tree / ".gitignore").write_text("*.pl\n!keep.pl\n/deep/\nbuild\n")
    (tree / "keep.pl").write_text(BAD_PERL)
    for place in ("deep", "build", "sub/deep", "node_modules"):
        (tree / place).mkdir(parents=True)
        (tree / place / "x.py").write_text(BAD)
    (tree / "sub" / ".gitignore").write_text("y.py\n")
    (tree / "sub" / "y.py").write_text(BAD)
    names = {str(Path(str(one["path"])).relative_to(tree)) for one in found(tree)}
    assert names == {"a.py", "keep.pl", "sub/deep/x.py"}
    assert {Path(str(one["path"])).name for one in found(tree / "sub")} == {"x.py"}
    assert found(tree / "b.pl")


def test_binary_and_huge_files_are_skipped_with_a_count(tree: Path) -> None:
    (tree / "x.c").write_bytes(b"\x7fELF\0\0" + b"a" * 100)
    with (tree / "y.c").open("wb") as file:
        file.truncate(HUGE + 1)
    result = run(tree, code=1)
    assert "1 binary skipped, 1 huge skipped" in result.stderr


def test_a_directory_without_ucspi_is_judged_by_its_names_only(tmp_path: Path) -> None:
    (tmp_path / "ping.c").write_text(
        'void f(char *remote_ip) { unsigned a, b, c, d; sscanf(remote_ip, "%u.%u.%u.%u", &a, &b, &c, &d); }\n'
    )
    assert found(tmp_path, code=0) == []
    assert found(tmp_path / "ping.c")
    (tmp_path / "server.c").write_text('char *p(void) { return getenv("TCPREMOTEIP"); }\n')
    assert found(tmp_path)


def test_a_directory_that_names_a_super_server_is_judged_like_a_named_file(tmp_path: Path) -> None:
    (tmp_path / "finger.c").write_text(
        "void f(void) { struct sockaddr_in there; getpeername(0, (struct sockaddr *) &there, &size); }\n"
    )
    assert found(tmp_path, code=0) == []
    (tmp_path / "README").write_text("Put this line into inetd.conf:\n")
    assert [one["name"] for one in found(tmp_path)] == ["af-inet-socket"]


@pytest.mark.needs("/dev/shm")  # where processes share what locks them
def test_jobs_find_the_same_in_the_same_order(tree: Path) -> None:
    for number in range(12):
        (tree / f"n{number}.pl").write_text(BAD_PERL)
    assert found("--jobs", "2", tree) == found(tree)


@pytest.mark.needs("/dev/shm")  # to mount something over
@pytest.mark.unshare("--map-root-user", "--mount")
def test_jobs_are_ignored_with_a_line_where_processes_cannot_share_locks(tree: Path) -> None:
    for number in range(12):
        (tree / f"n{number}.pl").write_text(BAD_PERL)
    enter = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]
    command = [*enter, sys.executable, "-m", "ucspi_env.envcheck.lint", "--format", "json", "--jobs", "2", str(tree)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, json.loads(ended.stdout)) == (1, found(tree))
    assert "ucspi-envcheck lint: --jobs 2 is ignored" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_fix_rewrites_what_is_certain_and_leaves_the_rest(tree: Path) -> None:
    (tree / "a.py").write_text('import os\nimport sys\n\nip = os.environ["TCPREMOTEIP"]  # é\nsys.exit(len(ip))\n')
    (tree / "handled.py").write_text(
        'import os\ntry:\n    ip = os.environ["TCPREMOTEIP"]\nexcept KeyError:\n    raise SystemExit(1)\n'
    )
    before = (tree / "b.pl").read_text(), (tree / "handled.py").read_text()
    result = run("--fix", tree, code=1)
    assert "1 place rewritten" in result.stderr
    assert (
        (tree / "a.py").read_text()
        == "import os\nimport sys\nimport ucspi_env\n\nip = str(ucspi_env.remote().ip)  # é\nsys.exit(len(ip))\n"
    )
    assert ((tree / "b.pl").read_text(), (tree / "handled.py").read_text()) == before


@pytest.mark.parametrize(
    "text",
    [
        'import os\nos.environ["TCPREMOTEIP"] = "::1"\nprint(os.environ["TCPREMOTEIP"])\n',
        'import os\nucspi_env = 1\nprint(os.environ["TCPREMOTEIP"])\n',
        'import os\nprint(os.environ.get("TCPREMOTEIP"))\n',
        "print 'x'\n",
        "",
    ],
)
def test_fix_does_not_touch_what_is_not_certain(text: str) -> None:
    assert fixed(text) == (text, 0)


def test_rewritten_code_runs() -> None:
    text, count = fixed('import os\nprint(os.environ["TCPREMOTEIP"], os.environ["TCPREMOTEPORT"])\n')
    assert count == 2
    done = subprocess.run(
        [sys.executable, "-c", text],
        env={"PYTHONPATH": str(ROOT), "PROTO": "TCP6", "TCPREMOTEIP": "::ffff:192.0.2.1", "TCPREMOTEPORT": "25", "TCPLOCALIP": "::1", "TCPLOCALPORT": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "192.0.2.1 25\n"


def test_it_runs_as_a_module(tree: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ucspi_env.envcheck.lint", str(tree / "a.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "U101" in done.stdout) == (1, True)


def test_our_own_examples_are_clean_but_for_those_that_are_broken_on_purpose() -> None:
    run("--exclude", "broken_*", ROOT / "examples")


def test_each_example_that_is_broken_on_purpose_is_found() -> None:
    for path in (ROOT / "examples").rglob("broken_*.*"):
        assert found(path), path


def test_the_pre_commit_hook_names_an_entry_and_languages() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text()
    assert "id: ucspi-envcheck-lint" in text
    assert "entry: ucspi-envcheck lint" in text
