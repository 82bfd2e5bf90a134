"""Who a caller claims to be: reverse DNS and ident, all at the same time, as one task that never blocks.

None of it is true because somebody said so. A failed look-up turns nobody away; it is an unset variable.
"""

from __future__ import annotations

from importlib import import_module

from ucspi_env._model import Endpoint
from ucspi_env.tools._tasks import Bell, Outcome, Wait, gather

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ucspi_env._address import IPAddress
    from ucspi_env.tools._resolve import Resolver
    from ucspi_env.tools._tasks import Task


class _Question:
    """One that several callers wait for.

    Attributes:
        answered: rings when it is, or when whoever has asked is given up.
        outcome: the answer, as soon as there is one.
    """

    def __init__(self) -> None:
        self.answered = Bell()
        self.outcome: Outcome[str | None] | None = None


class Lookups:
    """What is looked up for each caller.

    Args:
        local_name: what ``-l`` says the local name is, or None: ask DNS.
        remote_name: whether to ask DNS for the caller's name (``-h``).
        paranoid: whether that name must lead back to the caller (``-p``).
        ident: seconds for the caller's ident server, or None: do not ask it (``-R``).
    """

    def __init__(self, *, local_name: str | None, remote_name: bool, paranoid: bool, ident: float | None) -> None:
        self.local_name: Final = local_name
        self._remote_name: Final = remote_name
        self._paranoid: Final = paranoid
        self._ident: Final = ident
        self._resolver: Resolver | None = None
        self._questions: dict[tuple[IPAddress, bool], _Question] = {}

    def any(self) -> bool:
        """Whether there is anything to look up."""
        return self.local_name is None or self._remote_name or self._ident is not None

    def prepare(self) -> str:
        """Import what the look-ups need, while this process may still read it; returns a warning, or nothing."""
        if self._remote_name or self.local_name is None:
            self.resolver.servers()
        if self._ident is not None:
            import_module("ucspi_env.tools._ident")
        return self._resolver.warning if self._resolver is not None else ""

    @property
    def resolver(self) -> Resolver:
        """The resolver, with its settings as they were when it was first used, or last forgotten."""
        if self._resolver is None:
            from ucspi_env.tools._resolve import Resolver

            self._resolver = Resolver()
        return self._resolver

    def forget(self) -> None:
        """Read the resolver's settings anew when they are next needed."""
        self._resolver = None
        self._questions.clear()

    def task(self, remote: Endpoint, local: Endpoint) -> Task[tuple[Endpoint, Endpoint]]:
        """Look everything up; the result is ``remote`` and ``local`` with what was found.

        Args:
            remote: the caller.
            local: the called end, which the ident server is asked from.
        """
        questions: dict[str, Task[Any]] = {}
        if self.local_name is None:
            questions["local"] = self._name(local.ip, verify=False)
        if self._remote_name:
            questions["host"] = self._name(remote.ip, verify=self._paranoid)
        if self._ident is not None:
            from ucspi_env.tools._ident import ident

            questions["info"] = ident(remote, local, self._ident)
        outcomes: list[Outcome[Any]] = yield from gather(*questions.values())
        # An outcome with an error has no value, and not knowing is what it comes to.
        found = {question: outcome.value for question, outcome in zip(questions, outcomes, strict=True)}
        return (
            Endpoint(remote.ip, remote.port, remote.zone, found.get("host"), found.get("info")),
            Endpoint(local.ip, local.port, local.zone, found.get("local", self.local_name)),
        )

    def _name(self, ip: IPAddress, *, verify: bool) -> Task[str | None]:
        """The name of an address, asked for once for all callers who wait for it at the same time.

        A flood from one address is then no flood of questions.
        """
        key = (ip, verify)
        while True:
            question = self._questions.get(key)
            if question is None:
                break
            yield Wait(float("inf"), read=[question.answered])
            if question.outcome is not None:
                return question.outcome.result()
            # Whoever had asked has been given up.
        question = self._questions[key] = _Question()
        try:
            name = yield from self._ask(ip, verify=verify)
        except Exception as error:
            question.outcome = Outcome(error=error)
            raise
        else:
            question.outcome = Outcome(name)
            return name
        finally:
            if self._questions.get(key) is question:
                del self._questions[key]
            question.answered.ring()

    def _ask(self, ip: IPAddress, *, verify: bool) -> Task[str | None]:
        name = yield from self.resolver.ptr(ip)
        if name and verify and not (yield from self.resolver.verify_ptr(ip, name)):
            return None
        return name or None
