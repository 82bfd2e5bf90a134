"""The example servers: what each promises, and that `try` and `lint` tell them from their broken twins."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import mailbox
import os
import re
import smtplib
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import PATIENCE, call, start_tcpserver, tool
from ucspi_env import Endpoint
from ucspi_env.testing import Caller, callers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ucspi_env.pytest_plugin import RunServer, StartServer
    from ucspi_env.testing import Server

SERVERS = Path(__file__).parents[2] / "examples" / "servers"
ENVCHECK = [sys.executable, "-m", "ucspi_env"]
LONGEST = 80
SUPER_SERVERS = ("the bundled tcp", "Debian's tcp", "s6", "systemd", "inetd")

# How to run each, and what the caller says. In a temporary directory; {} is a new directory for each caller, for
# servers that remember their callers.
COMMANDS = {
    "whoami.py": ([], ""),
    "echo.py": ([], "hello\r\n"),
    "daytime.py": (["127.0.0.0/8", "::1"], ""),
    "finger.py": (["."], "nobody\r\n"),
    "httpd.py": (["."], "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"),
    "smtpd.py": (["."], "EHLO here\r\nQUIT\r\n"),
    "greylist.py": (["{}/db", "cat"], "hello\r\n"),
    "ratelimit.py": (["{}", "30", "cat"], "hello\r\n"),
    "adminshell.py": (["127.0.0.0/8", "::1"], "quit\r\n"),
    "chat.py": (["{}"], "hello\r\n"),
    "whoami.sh": ([], ""),
    "whoami.pl": ([], ""),
    "whoami.c": ([], ""),
    "whoami.rb": ([], ""),
    "whoami.awk": ([], ""),
}
CODES = {
    "broken_adminshell.py": "U201",
    "broken_banner.py": "U601",
    "broken_chat.py": "U602",
    "broken_daytime.py": "U202",
    "broken_echo.py": "U502",
    "broken_finger.py": "U102",
    "broken_greylist.py": "U302",
    "broken_httpd.py": "U101",
    "broken_ratelimit.py": "U102",
    "broken_smtpd.py": "U404",
    "broken_whoami.awk": "U101",
    "broken_whoami.c": "U301",
    "broken_whoami.pl": "U102",
    "broken_whoami.py": "U503",
    "broken_whoami.rb": "U206",
    "broken_whoami.sh": "U101",
}
# The callers that show a broken twin's mistake, where IPv6 callers do not; each costs a start of the twin, or two.
MISTAKEN_FOR = {"adminshell.py": "mapped", "finger.py": "tcp6"}
INTERPRETERS = {".sh": ["sh"], ".pl": ["perl"], ".rb": ["ruby"], ".awk": ["awk", "-f"]}
COMPILER = "cc"
EXAMPLES = sorted(path.name for path in SERVERS.iterdir() if path.is_file())
GOOD = [name for name in EXAMPLES if not name.startswith("broken_")]
WHOAMI = [name for name in GOOD if name.startswith("whoami.") and name != "whoami.py"]


def each_with_its_language(names: Iterable[str]) -> pytest.MarkDecorator:
    """One test of each example, with the mark of what runs or compiles it."""
    languages = {name: INTERPRETERS.get(Path(name).suffix, [COMPILER])[0] for name in names if not name.endswith(".py")}
    return pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=[pytest.mark.peer(languages[name])] if name in languages else [], id=name)
            for name in names
        ],
    )


@pytest.fixture(scope="session")
def command(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    """The command that runs an example: by its interpreter, or compiled."""

    def make(name: str) -> list[str]:
        path = SERVERS / name
        if path.suffix == ".py":
            return [sys.executable, str(path)]
        if path.suffix == ".c":
            program = tmp_path_factory.mktemp("c") / path.stem
            done = subprocess.run(
                [peer(COMPILER), "-Wall", "-Wextra", "-o", program, path], capture_output=True, text=True, check=False
            )
            assert not done.stderr or name.startswith("broken_")
            return [str(program)]
        interpreter, *options = INTERPRETERS[path.suffix]
        return [peer(interpreter), *options, str(path)]

    return make


def tried(argv: list[str], said: str, cwd: Path, *options: str) -> tuple[dict[str, Any], int]:
    """What `ucspi-envcheck try` says, as data, and its exit status."""
    (cwd / "dialogue").write_text(said, newline="")
    if any("{}" in word for word in argv):
        words = " ".join('"$d' + word[2:] + '"' if word.startswith("{}") else f"'{word}'" for word in argv)
        argv = ["sh", "-c", f"d=$(mktemp -d) && exec {words}"]
    done = subprocess.run(
        [*ENVCHECK, "try", "--json", "--input", "dialogue", "--timeout", "60", *options, "--", *argv],
        cwd=cwd,
        env={**os.environ, "TMPDIR": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


# -- all of them --


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_short_and_executable(name: str) -> None:
    path = SERVERS / name
    text = path.read_text()

    assert len(text.splitlines()) <= LONGEST
    assert path.suffix == ".c" or (os.access(path, os.X_OK) and text.startswith("#!"))


@pytest.mark.parametrize("name", GOOD)
def test_examples_say_what_they_teach_and_how_to_run_them(name: str) -> None:
    opening = "\n".join((SERVERS / name).read_text().splitlines()[:25])

    assert "Teaches: " in opening
    for super_server in SUPER_SERVERS[:3] if name == "banner.py" else SUPER_SERVERS:
        assert super_server in opening, super_server


def words_of_the_opening(name: str, super_server: str) -> list[str]:
    """The command that an example's opening has for a super-server."""
    found = re.search(rf"{super_server} +(.*)", (SERVERS / name).read_text())
    assert found, name
    return found[1].split()


OPENINGS = [
    (name, super_server)
    for name in COMMANDS
    if name != "whoami.c"  # it has to be compiled first
    for super_server in ("Under the bundled tcpserver", "Under Debian's tcpserver")
]


@pytest.mark.peer("ucspi-tcp-ipv6/tcpserver", "awk", "perl", "ruby")
@pytest.mark.parametrize(("name", "super_server"), [*OPENINGS, ("chat.py", "The same, imported only once")])
def test_the_command_of_the_opening_serves_both_families(
    name: str, super_server: str, peer: Callable[[str], str], tmp_path: Path
) -> None:
    words = words_of_the_opening(name, super_server)
    host = words.index("::0")
    # Directories and files of the machine become the test's own. Nobody is asked about block lists.
    program = [
        str(tmp_path / Path(word).name) if word.startswith("/") else word
        for word in words[host + 2 :]
        if "example.org" not in word
    ]
    for word in program:
        if word.startswith(str(tmp_path)) and not word.endswith(".db"):
            Path(word).mkdir()
            (Path(word) / "index.html").write_text("<p>hello</p>")
    said = COMMANDS[name][1].encode()
    server = start_tcpserver(
        *words[1 : host + 1],
        "0",
        *program,
        command={"tcpserver": [peer("ucspi-tcp-ipv6/tcpserver")], "ucspi-tcpserver": tool("tcpserver")}[words[0]],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
        cwd=SERVERS,
    )
    with server:
        answers = [call(server.port, host, said).data for host in ("127.0.0.1", "::1")]
        lines = server.stop()

    assert all(answers), lines
    assert not any("Traceback" in line or "warning" in line for line in lines), lines


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("whoami.sh", "whoami.awk")])
def test_the_line_for_inetd_is_one(name: str) -> None:
    program = name.removesuffix(".c")
    port, *words = words_of_the_opening(name, "Under inetd")

    assert port.isdigit()
    assert words[:3] == ["stream", "tcp6", "nowait"]
    assert words[4:6] == [f"/usr/local/bin/{program}", program]


def test_every_example_has_a_broken_twin() -> None:
    assert {f"broken_{name}" for name in GOOD} == {name for name in EXAMPLES if name.startswith("broken_")}


def test_lint_finds_the_mistake_of_every_broken_twin_and_nothing_else() -> None:
    done = subprocess.run(
        [*ENVCHECK, "lint", "--isolated", "--format", "json", str(SERVERS)], capture_output=True, text=True, check=False
    )

    found: dict[str, set[str]] = {}
    for finding in json.loads(done.stdout):
        found.setdefault(Path(finding["path"]).name, set()).add(finding["code"])
    assert set(found) == set(CODES)
    for name, code in CODES.items():
        assert code in found[name], name


@pytest.mark.stage
@each_with_its_language(COMMANDS)
def test_try_calls_the_example_ready(name: str, command: Callable[[str], list[str]], tmp_path: Path) -> None:
    arguments, said = COMMANDS[name]
    (tmp_path / "index.html").write_text("<p>hello</p>")

    trial, status = tried([*command(name), *arguments], said, tmp_path)

    assert (trial["ready"], status) == (True, 0), trial["verdict"]


@pytest.mark.stage
@each_with_its_language([name for name in COMMANDS if name != "smtpd.py"])
def test_try_calls_the_broken_twin_not_ready(name: str, command: Callable[[str], list[str]], tmp_path: Path) -> None:
    arguments, said = COMMANDS[name]

    only = MISTAKEN_FOR.get(name, "ipv6")
    trial, status = tried([*command(f"broken_{name}"), *arguments], said, tmp_path, "--only", only)

    assert (trial["ready"], status) == (False, 1), trial["verdict"]


# -- block lists, by a hosts file of the test's own --

WITH_HOSTS = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
OWN_MOUNTS = ("--user", "--map-root-user", "--mount")


@pytest.mark.stage
@pytest.mark.unshare(*OWN_MOUNTS)
@pytest.mark.needs("/etc/hosts")
@pytest.mark.parametrize(("name", "ready"), [("smtpd.py", True), ("broken_smtpd.py", False)])
def test_a_listed_caller_is_refused_in_both_families(
    name: str, ready: bool, command: Callable[[str], list[str]], tmp_path: Path
) -> None:
    unshare = ["unshare", *OWN_MOUNTS, "sh", "-c", WITH_HOSTS, "sh"]
    argv = [*command(name), "." if ready else "list.example", "list.example"]
    free, _ = tried([*command("smtpd.py"), "."], "QUIT\r\n", tmp_path)
    names = {Endpoint.parse(caller["remote"]).dnsbl_name("list.example") for caller in free["callers"]}
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"127.0.0.2 {name}\n" for name in sorted(names)))

    trial, _ = tried([*unshare, str(hosts), *argv], "QUIT\r\n", tmp_path, "--expect", "^554 ")

    assert trial["ready"] is ready, trial["verdict"]
    outputs = {caller["output"][:3] for caller in trial["callers"]}
    assert outputs - {""} == ({"554"} if ready else {"554", "220"})


# -- whoami in other languages --


@each_with_its_language(WHOAMI)
@pytest.mark.parametrize("caller", callers(["ucspi-tcp-ipv6", "s6", "couriertcpd", "sslserver"]), ids=str)
def test_whoami_by_hand_says_what_the_library_says(
    name: str, caller: Caller, command: Callable[[str], list[str]], ucspi_run: RunServer
) -> None:
    run = ucspi_run(command(name), caller.dialect, remote=caller.remote, mapped=caller.mapped, as_ipv6=caller.as_ipv6)

    ip = caller.remote.ip
    assert run.output.decode() == f"you are {ip} port {caller.remote.port}\r\nwhich is IPv{ip.version}\r\n"
    assert (run.errors, run.status) == (b"", 0)


@each_with_its_language(WHOAMI)
@pytest.mark.parametrize("text", ["::ffff:c000:201", "::ffff:192.0.2.1"])
def test_whoami_by_hand_unmaps_both_spellings(
    name: str, text: str, command: Callable[[str], list[str]], ucspi_run: RunServer
) -> None:
    run = ucspi_run(command(name), "s6", env={"TCPREMOTEIP": text})

    assert run.output.startswith(b"you are 192.0.2.1 port 4711\r\nwhich is IPv4")


@each_with_its_language(WHOAMI)
@pytest.mark.parametrize(
    "ip",
    ["::ffff:1:2:3", "::ffff:0:c000:201", "64:ff9b::c000:201", "::7f00:1", "2001:db8::ffff:c000:201", "::ffff:0:0:1"],
)
def test_whoami_by_hand_takes_nothing_else_for_mapped(
    name: str, ip: str, command: Callable[[str], list[str]], ucspi_run: RunServer
) -> None:
    run = ucspi_run(command(name), "s6", env={"TCPREMOTEIP": ip})

    assert (run.errors, run.status) == (b"", 0)
    said = run.output.decode().split()
    assert ipaddress.ip_address(said[2]) == ipaddress.IPv6Address(ip)
    assert said[-1] == "IPv6"


@pytest.mark.peer("dash", "bash", "busybox", "ksh93")
@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh", "ksh93"])
@pytest.mark.parametrize("text", ["::ffff:1+a[`echo ran >&2`]:2", "::ffff:$(echo ran >&2):1", "`echo ran >&2`"])
def test_the_shell_runs_nothing_of_what_it_is_told(
    shell: str, text: str, peer: Callable[[str], str], ucspi_run: RunServer
) -> None:
    program, *words = shell.split()

    run = ucspi_run([peer(program), *words, SERVERS / "whoami.sh"], "s6", env={"TCPREMOTEIP": text})

    assert (run.output, run.errors, run.status) == (b"", b"whoami: fatal: that is no address\n", 111)


@each_with_its_language(WHOAMI)
def test_whoami_by_hand_asks_the_kernel_or_gives_up(
    name: str, command: Callable[[str], list[str]], ucspi_run: RunServer
) -> None:
    run = ucspi_run(command(name), "inetd", remote="[2001:db8::1]:4711")

    if name in ("whoami.sh", "whoami.awk"):
        assert (run.output, run.status) == (b"", 111)
    else:
        assert run.output == b"you are 2001:db8::1 port 4711\r\nwhich is IPv6\r\n"


@pytest.mark.peer("busybox", "gawk", "mawk", "dash")
@pytest.mark.parametrize(
    "words",
    ["gawk -f whoami.awk", "mawk -f whoami.awk", "busybox awk -f whoami.awk", "busybox sh whoami.sh", "dash whoami.sh"],
)
def test_scripts_are_portable(words: str, peer: Callable[[str], str], ucspi_run: RunServer) -> None:
    program, *options, script = words.split()

    run = ucspi_run([peer(program), *options, SERVERS / script], "s6", remote="[2001:db8::1]:4711")

    assert run.output == b"you are 2001:db8::1 port 4711\r\nwhich is IPv6\r\n"


# -- what each does --


def example(name: str) -> list[str]:
    return [sys.executable, str(SERVERS / name)]


def test_echo_sends_lines_back(ucspi_server: StartServer) -> None:
    server = ucspi_server(example("echo.py"))

    assert [server.call(b"one\ntwo", host=host) for host in server.hosts] == [b"one\ntwo"] * len(server.hosts)


def test_finger_answers_and_logs_who_asked(ucspi_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("plan: none\n")
    (tmp_path.parent / "secret").write_text("secret")
    server = ucspi_server([*example("finger.py"), tmp_path])

    assert server.call(b"alice\r\n") == b"plan: none\r\n"
    assert server.call(b"\r\n") == b"alice\r\n"
    assert server.call(b"../secret\r\n") == b"no such person\r\n"
    assert server.call(b"\x1b[31m\r\n") == b"no such person\r\n"
    host = f"[{server.hosts[-1]}]" if ":" in server.hosts[-1] else server.hosts[-1]
    assert f"peer={host}:" in server.wait_for_log("query='alice'")
    assert "\x1b" not in "".join(server.log)


@pytest.fixture
def website(ucspi_server: StartServer, tmp_path: Path) -> Server:
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text("<p>home</p>")
    (tmp_path / "sub" / "index.html").write_text("<p>sub</p>")
    (tmp_path / "big.bin").write_bytes(bytes(range(256)) * 4096)
    (tmp_path.parent / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path.parent / "secret")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "index.html").symlink_to(tmp_path.parent / "secret")
    return ucspi_server([*example("httpd.py"), tmp_path])


def url(server: Server, host: str, path: str) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}{path}"


def fetched(*argv: str) -> bytes:
    return subprocess.run(argv, capture_output=True, check=True, timeout=PATIENCE).stdout


@pytest.mark.peer("curl", "wget")
def test_curl_and_wget_fetch_over_both_families(website: Server, peer: Callable[[str], str]) -> None:
    for host in website.hosts:
        big = url(website, host, "/big.bin")
        assert fetched(peer("curl"), "--noproxy", "*", "-sf", big) == bytes(range(256)) * 4096
        assert fetched(peer("wget"), "--no-proxy", "-qO-", big) == bytes(range(256)) * 4096


@pytest.mark.peer("curl")
def test_a_redirect_to_an_ipv6_address_has_brackets(website: Server, peer: Callable[[str], str]) -> None:
    for host in website.hosts:
        # Without a Host header the server has to name itself.
        answer = website.call(b"GET /sub HTTP/1.1\r\nConnection: close\r\n\r\n", host=host)
        assert f"\r\nLocation: {url(website, host, '/sub/')}\r\n".encode() in answer
        assert fetched(peer("curl"), "--noproxy", "*", "-sfL", url(website, host, "/sub")) == b"<p>sub</p>"


@pytest.mark.peer("curl")
def test_one_connection_serves_several_requests(website: Server, peer: Callable[[str], str]) -> None:
    pages = [url(website, website.hosts[-1], path) for path in ("/", "/sub/", "/nowhere")]

    assert fetched(peer("curl"), "--noproxy", "*", "-s", *pages) == b"<p>home</p><p>sub</p>not found\n"

    website.stop()
    assert sum(" pid " in line for line in website.log) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /../secret HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /%2e%2e/secret HTTP/1.0\r\n\r\n", b"404"),
        (b"GET //etc/passwd HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /link HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /.. HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /linked/ HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /index.html/ HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /%00 HTTP/1.0\r\n\r\n", b"404"),
        (b"GET /" + 300 * b"a" + b" HTTP/1.0\r\n\r\n", b"404"),
        (b"HEAD / HTTP/1.0\r\n\r\n", b"200"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"GET /\r\n\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ],
)
def test_httpd_serves_nothing_else(website: Server, request_: bytes, status: bytes) -> None:
    answer = website.call(request_)

    assert answer.split()[1] == status
    assert b"secret" not in answer
    assert b"root:" not in answer
    if request_.startswith(b"HEAD"):
        assert b"home" not in answer
    website.stop()
    assert not any("Traceback" in line for line in website.log)


def test_a_redirect_keeps_the_query(website: Server) -> None:
    answer = website.call(b"GET /sub?a=1 HTTP/1.0\r\nHost: example.org\r\n\r\n")

    assert b"\r\nLocation: http://example.org/sub/?a=1\r\n" in answer


def test_httpd_is_not_kept_busy_by_endless_headers(website: Server) -> None:
    request = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n"

    assert website.call(request) == b""


def maildir(tmp_path: Path) -> list[str]:
    return [message.as_string() for message in mailbox.Maildir(tmp_path / "in")]


def test_smtplib_delivers_and_the_literal_is_in_the_trace(ucspi_server: StartServer, tmp_path: Path) -> None:
    server = ucspi_server([*example("smtpd.py"), tmp_path / "in"])
    for host in server.hosts:
        with smtplib.SMTP(host, server.port, local_hostname="client.example", timeout=PATIENCE) as client:
            client.sendmail("a@example.org", "b@example.org", "Subject: hi\r\n\r\n.dot\r\nlast")

    literals = {"127.0.0.1": "[127.0.0.1]", "::1": "[IPv6:::1]"}
    for host in server.hosts:
        assert any(
            f"Received: from client.example ({literals[host]})" in text and ".dot\nlast" in text
            for text in maildir(tmp_path)
        )


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b"one\r\n..two\r\n.\r\n", ["one\n.two\n"]),
        (b".\r\n", [""]),
        # What follows is the mail's text, whatever other servers see in it.
        (b"one\n.\nMAIL FROM:<forged@example.org>\r\n.\r\n", ["one\n.\nMAIL FROM:<forged@example.org>\n"]),
        (b"one\n.\r\ntwo\r\n.\r\n", ["one\n.\ntwo\n"]),
        (b"x" * 1002 + b".\r\ntwo\r\n.\r\n", ["x" * 1002 + ".\ntwo\n"]),
        (b"never ended\r\n", []),
    ],
)
def test_a_mail_ends_at_a_lone_dot_and_nowhere_else(
    ucspi_run: RunServer, tmp_path: Path, sent: bytes, stored: list[str]
) -> None:
    hello = (
        b"EHLO a\rX-Forged: yes\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n"
    )

    run = ucspi_run([*example("smtpd.py"), tmp_path / "in"], send=hello + b"DATA\r\n\r\n" + sent + b"DATA\r\nQUIT\r\n")

    mails = maildir(tmp_path) if stored else []
    assert [text.partition("\n\n")[2] for text in mails] == stored
    assert all(text.startswith("Received: from a X-Forged: yes (") for text in mails)
    # Recipients were those of the mail before.
    assert (b"502 5.5.1" in run.output) == bool(stored)


# swaks calls over IPv6 only with that module.
@pytest.mark.peer("swaks", "INET6.pm")
@pytest.mark.needs("/etc/protocols")
def test_swaks_delivers(ucspi_server: StartServer, tmp_path: Path, peer: Callable[[str], str]) -> None:
    server = ucspi_server([*example("smtpd.py"), tmp_path / "in"])
    for host in server.hosts:
        said = fetched(peer("swaks"), "--server", host, "--port", str(server.port), "--to", "you@example.org", "-n")
        assert b"250 2.0.0 taken" in said

    assert len(maildir(tmp_path)) == len(server.hosts)


def test_greylist_knows_a_network_again(ucspi_run: RunServer, tmp_path: Path) -> None:
    database = tmp_path / "grey.db"
    program = [*example("greylist.py"), str(database), "echo", "220 welcome"]

    def answer(remote: str, **options: Any) -> bytes:
        return ucspi_run(program, remote=remote, **options).output[:4]

    assert answer("2001:db8:1:2::7") == b"421 "
    assert answer("2001:db8:1:2::7") == b"421 "
    with contextlib.closing(sqlite3.connect(database)) as table, table:
        table.execute("UPDATE seen SET first = first - 1000")
    assert answer("2001:db8:1:2:3:4:5:6") == b"220 "
    assert answer("2001:db8:1:3::7") == b"421 "
    assert answer("192.0.2.7") == b"421 "
    with contextlib.closing(sqlite3.connect(database)) as table:
        keys = {row[0] for row in table.execute("SELECT key FROM seen")}
    assert keys == {"20010db8000100020000000000000000", "20010db8000100030000000000000000", "c0000200"}


def test_greylist_defers_rather_than_lets_in_what_it_cannot_store(ucspi_run: RunServer, tmp_path: Path) -> None:
    run = ucspi_run([*example("greylist.py"), str(tmp_path / "no" / "db"), "echo", "220 welcome"])

    assert run.output.startswith(b"421 ")
    assert run.errors.startswith(b"greylist: fatal: unable to open")


def test_ratelimit_counts_a_network_once(ucspi_run: RunServer, tmp_path: Path) -> None:
    program = [*example("ratelimit.py"), str(tmp_path), "2", "echo", "welcome"]
    outputs = [ucspi_run(program, remote=f"2001:db8::{number}").output for number in range(1, 4)]

    assert [output[:7] for output in outputs] == [b"welcome", b"welcome", b"sorry, "]
    assert ucspi_run(program, remote="2001:db8:0:1::1").output == b"welcome\n"
    assert ucspi_run(program, remote="192.0.2.1", mapped=True).output == b"welcome\n"
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "c0000201"


@pytest.mark.parametrize(
    ("remote", "options", "welcome"),
    [
        ("127.0.0.1", "", True),
        ("127.0.0.1", "mapped", True),
        ("::1", "", True),
        ("192.0.2.1", "", False),
        ("2001:db8::1", "", False),
    ],
)
def test_adminshell_keeps_its_list(ucspi_run: RunServer, remote: str, options: str, welcome: bool) -> None:
    program = [*example("adminshell.py"), "127.0.0.0/8", "::1"]
    mapped = options == "mapped"
    run = ucspi_run(program, remote=remote, send=b"rm\nquit\n", mapped=mapped, as_ipv6=mapped)

    if welcome:
        assert run.output == f"hello {remote}: uptime, disks, memory or quit\r\nno such command\r\n".encode()
    else:
        assert run.output == b"sorry, not you\r\n"


@pytest.mark.parametrize(
    ("program", "options"), [(example("chat.py"), []), (["chat:chat"], ["--handler"])], ids=["program", "handler"]
)
def test_chat_tells_everybody_else(
    ucspi_server: StartServer, tmp_path: Path, program: list[str], options: list[str]
) -> None:
    server = ucspi_server([*program, tmp_path], options=options, cwd=SERVERS)
    with contextlib.ExitStack() as stack:

        def join(host: str) -> tuple[socket.socket, Any, str]:
            connection = stack.enter_context(socket.create_connection((host, server.port), PATIENCE))
            lines = stack.enter_context(connection.makefile("rb"))
            name = str(Endpoint(*connection.getsockname()[:2]))
            assert lines.readline().startswith(f"welcome {name}, ".encode())
            return connection, lines, name

        _, heard, _ = join(server.hosts[0])
        speaker, _, name = join(server.hosts[-1])
        assert heard.readline() == f"{name} is here\r\n".encode()
        speaker.sendall(b"hello \x1b[2J world\nhalf a li")
        assert heard.readline() == f"{name}: hello [2J world\r\n".encode()
        speaker.sendall(b"ne\n")
        assert heard.readline() == f"{name}: half a line\r\n".encode()
        speaker.shutdown(socket.SHUT_WR)
        assert heard.readline() == f"{name} has gone\r\n".encode()


def test_banner_shows_who_answered(ucspi_server: StartServer) -> None:
    server = ucspi_server(["sh", "-c", r"printf '220 hi \033[31m there\r\n'"])
    for host in server.hosts:
        client = [sys.executable, "-m", "ucspi_env.tools.tcpclient", "-RHl0", host, str(server.port)]

        said = fetched(*client, *example("banner.py")).decode()

        peer = Endpoint(host, server.port)
        assert said == f"{peer} over IPv{peer.ip.version}: '220 hi \\x1b[31m there'\n"
