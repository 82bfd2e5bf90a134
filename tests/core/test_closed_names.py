"""Rule 1 of the decision: only listed names count, since clients choose the names of other variables.

Request headers (``HTTP_*``), what sshd accepts (``LC_*``, ``AcceptEnv``), what git and rsync hand on: none of it can
change who is calling, whatever it is called and whatever its value is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recordings import environment, recordings, trust_of
from ucspi_env import Connection, Descriptor, Endpoint, Facts, UCSPIError, identify
from ucspi_env._dialects import DECISIVE, PEER_VARIABLES, dialects
from ucspi_env.testing import facts_from_capture

if TYPE_CHECKING:
    from collections.abc import Iterator

PEER, HERE = Endpoint("192.0.2.1", 4711), Endpoint("198.51.100.1", 25)


def answer(environ: Mapping[str, str], facts: Facts, trust: str | None) -> Connection | str:
    """All that `identify` says: the connection with its problems, or the error."""
    try:
        return identify(environ, facts, trust=trust)
    except UCSPIError as error:
        return f"{type(error).__name__}: {error}"


def chosen_by_a_client(facts: Facts, seed: str) -> dict[str, str]:
    """Variables as a client can have them set: listed names with something before or behind, and made-up ones."""
    dice = random.Random(seed)
    pids = [str(pid) for pid in (facts.pid, facts.ppid, facts.grandparent, 1) if pid is not None]
    found: dict[str, str] = {}
    for prefix in ("HTTP_X", "HTTP_SOCAT", "LC_A0", "LC_SOCAT", "GIT_CONFIG_VALUE_0", "RSYNC_ARG0", "", "_", "X-Y"):
        found |= {
            f"{prefix}_PEERADDR": dice.choice(["10.1.2.3", "[::1]", "/run/admin.sock", "<anon>", "192.0.2.1"]),
            f"{prefix}_PEERPORT": "1",
            f"{prefix}_SOCKADDR": "10.1.2.4",
            f"{prefix}_SOCKPORT": "25",
            f"{prefix}_PID": dice.choice(pids),
        }
        for name in dice.sample(sorted(DECISIVE), 12):
            value = dice.choice(["10.1.2.3", "1", "proxy", "socat:HTTP_X", "TCP", "SSL", "UNIX", *pids])
            found[f"{prefix}_{name}"] = value
            found[f"{name}_{prefix}"] = value
            found[name.lower()] = value
    return {name: value for name, value in found.items() if name not in DECISIVE}


@pytest.mark.parametrize("case", recordings())
def test_names_that_are_not_listed_never_change_an_answer(case: dict[str, Any]) -> None:
    environ, facts, trust = environment(case), facts_from_capture(case), trust_of(case)
    listed = {name for name in environ if name in DECISIVE or trust.startswith("socat:")}
    told = answer(environ, facts, trust)

    assert answer({name: environ[name] for name in listed}, facts, trust) == told
    for number in range(3):
        chosen = chosen_by_a_client(facts, f"{case['id']} {number}")
        assert answer({**chosen, **environ}, facts, trust) == told
        assert answer({**environ, **chosen}, facts, trust) == told


class Asked(Mapping[str, str]):
    """An environment that can be asked for names, and not searched for them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._environ[name]

    def __len__(self) -> int:
        return len(self._environ)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the environment was searched: names are the client's to choose")


@pytest.mark.parametrize("case", recordings())
def test_only_listed_names_are_asked_for(case: dict[str, Any]) -> None:
    # ucspi-pp appends: where the operator says so, values that come twice are put into a copy.
    facts = facts_from_capture(case)
    if trust_of(case) == "proxy" and facts.duplicates:
        facts = Facts(facts.descriptors, fd=facts.fd, pid=facts.pid, ppid=facts.ppid)
    environ = Asked(environment(case))
    answer(environ, facts, None)

    assert environ.names <= DECISIVE


names = st.sampled_from(sorted(DECISIVE))
other_names = st.one_of(
    st.text(min_size=1, max_size=30),
    st.builds("{}_PEERADDR".format, st.text("ABCHTP_", max_size=8)),
    st.builds("{}{}".format, st.sampled_from(["HTTP_", "LC_", "X", "GIT_"]), names),
    st.builds("{}{}".format, names, st.sampled_from(["_", "0", " ", "\n"])),
).filter(lambda name: name not in DECISIVE)
values = st.one_of(
    st.sampled_from(["", "TCP", "TCP6", "UNIX", "192.0.2.1", "4711", "::ffff:192.0.2.1", "192.0.2.1:4711", "17"]),
    st.sampled_from(["proxy", "rules,stunnel", "socat:SOCAT", "kernel"]),
    st.text(max_size=20),
)
facts = st.sampled_from(
    [
        Facts(),
        Facts({0: Descriptor("pipe")}, pid=17, ppid=16),
        Facts({0: Descriptor("socket", family="inet", type="stream", sockname=HERE, peername=PEER)}),
        Facts(
            {
                0: Descriptor("pipe"),
                5: Descriptor("socket", family="inet", type="stream", sockname=HERE, peername=PEER),
            },
            pid=17,
        ),
        Facts(
            {0: Descriptor("socket", family="unix", type="stream", sockname="/run/s", peername="", peercred=(1, 2, 3))},
            pid=17,
        ),
    ]
)


@given(
    st.dictionaries(names, values, max_size=10),
    st.dictionaries(other_names, values, max_size=10),
    facts,
    st.sampled_from([None, "kernel", "proxy", "rules", "stunnel"]),
)
def test_generated_names_never_change_an_answer(
    environ: dict[str, str], others: dict[str, str], facts: Facts, trust: str | None
) -> None:
    assert answer(environ | others, facts, trust) == answer(environ, facts, trust)


def test_the_list_is_the_table_of_dialects_and_a_handful_of_signs() -> None:
    of_the_table = {name for row in dialects() for family, _ in row.writes for name in family.names}
    of_the_table |= {name for row in dialects() for name in (*row.unix_names, *(name for name, _ in row.fixed))}

    assert of_the_table <= DECISIVE
    signs = {"UCSPI_TRUST", "LISTEN_PID", "SYSTEMD_EXEC_PID", "LOG_ID", "GIT_DIR"}
    assert signs == DECISIVE - PEER_VARIABLES
