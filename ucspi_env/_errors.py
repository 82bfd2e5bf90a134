"""Every way in which the question "who is calling?" can fail, told apart by whose fault it is."""

from __future__ import annotations

from ucspi_env._address import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env._model import Endpoint

__all__ = [
    "BadVariableError",
    "DialectError",
    "MissingVariableError",
    "NoPeerYetError",
    "NotUnderSuperServerError",
    "PeerError",
    "ProxyError",
    "UCSPIError",
    "UnconfirmedPeerError",
    "VariableError",
    "WrongKindError",
]


class UCSPIError(Exception):
    """The root of all errors of this package. Never raised itself."""


class VariableError(UCSPIError):
    """Something is wrong with one variable of the environment.

    Attributes:
        name: the variable.
    """

    name: str


class MissingVariableError(VariableError, LookupError):
    """A variable that has to be there, because another one is, is not; or it is, and says nothing."""

    def __init__(self, name: str, why: str, what: str = "is not set") -> None:
        super().__init__(name, why, what)
        self.name = name
        self.why = why
        self.what = what

    def __str__(self) -> str:
        return f"{self.name} {self.what}: {self.why}"


class BadVariableError(VariableError, ValueError):
    """A variable is set, but to something that cannot be used.

    Attributes:
        name: the variable.
        value: what it is set to.
        why: what is wrong with that.
        remedy: what to do about it.
    """

    def __init__(self, name: str, value: str, why: str, remedy: str) -> None:
        super().__init__(name, value, why, remedy)
        self.name = name
        self.value = value
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.name}={shown(self.value)} {self.why}; {self.remedy}"


class PeerError(UCSPIError):
    """There is no peer that could be named."""


class UnconfirmedPeerError(PeerError):
    """``strict=True`` asked for a peer that something vouches for, and nothing does.

    Attributes:
        endpoint: what the variables claim all the same; None for a UNIX-domain caller.
    """

    def __init__(self, endpoint: Endpoint | None, why: str) -> None:
        super().__init__(endpoint, why)
        self.endpoint = endpoint
        self.why = why

    def __str__(self) -> str:
        return f"the peer {self.endpoint or 'on the UNIX-domain socket'} is unconfirmed: {self.why}"


class NoPeerYetError(PeerError):
    """The descriptor is a listening or an unconnected socket: the peer shows up with accept(2) or recvfrom(2)."""


class NotUnderSuperServerError(PeerError):
    """Neither the descriptor nor any variable speaks of a connection."""


class WrongKindError(PeerError):
    """The caller came over a UNIX-domain socket and has no IP address; see ``connection().unix``."""


class DialectError(UCSPIError, ValueError):
    """A dialect is not known, or cannot say what it was asked to say."""


class ProxyError(UCSPIError, ValueError):
    """Bytes that are not, or can no longer become, a PROXY protocol header."""


for _name in __all__:  # a traceback, and a pickle, name what users can import
    globals()[_name].__module__ = "ucspi_env"
