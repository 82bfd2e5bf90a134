"""Where network namespaces are not allowed, envcheck says so and goes on with socket pairs."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.envcheck.running import CLEAN, ENVCHECK, PYTHON
from tests.support import PATIENCE

# A user namespace in which no more of either may be made: what a strict container looks like.
STRICT = [
    "unshare",
    "-r",
    "sh",
    "-c",
    'echo 0 >/proc/sys/user/max_user_namespaces && echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"',
    "sh",
]


def strictly(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*STRICT, *ENVCHECK, *arguments],
        env=CLEAN,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.mark.netns
def test_env_says_that_the_program_gets_a_socket_pair() -> None:
    kernel = "import socket; print(socket.socket(fileno=0).family.name)"

    done = strictly("env", "ucspi-tcp", "--", *PYTHON, "-c", kernel)

    assert done.stdout == b"AF_UNIX\n", done.stderr
    assert done.stderr.startswith(b"ucspi-envcheck: warning: network namespaces are not allowed here: ")
    assert done.stderr.endswith(b": the program gets an unnamed socket pair\n")


@pytest.mark.netns
def test_try_judges_all_the_same_and_says_so() -> None:
    done = strictly("try", "--json", "--only", "ipv6", "--", "echo", "hello")

    data = json.loads(done.stdout)
    assert (done.returncode, data["ready"]) == (0, True), done.stderr
    assert "unnamed socket pairs" in data["warning"]
