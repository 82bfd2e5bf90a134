"""The operator's word about what else to believe: the values of ``UCSPI_TRUST`` and of the argument ``trust``.

Imported where there is one.
"""

from ucspi_env._variables import SOCAT, prefixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env._variables import Family

_TRUST_WORDS = ("proxy", "rules", "stunnel")
_SOCAT_WORD = "socat:"
_PREFIX = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.+")  # a program's name in upper case


def trusted_words(text: str) -> "tuple[frozenset[str], str | None]":
    """Read a value of ``UCSPI_TRUST`` or of the argument ``trust``.

    Args:
        text: words separated by commas: ``proxy``, ``rules``, ``stunnel``, ``socat:PREFIX``; ``kernel`` adds nothing.

    Returns:
        The words, and the first one that has no meaning, or None.
    """
    words: set[str] = set()
    unknown = None
    for word in map(str.strip, text.split(",")):
        prefix = word.removeprefix(_SOCAT_WORD)
        if word in _TRUST_WORDS or (prefix not in (word, "") and _PREFIX.issuperset(prefix)):
            words.add(word)
        elif word and word != "kernel" and unknown is None:
            unknown = word
    return frozenset(words), unknown


def socat_families(words: "frozenset[str]") -> "list[Family]":
    """The families of socats that the operator named."""
    prefixes = sorted(word.removeprefix(_SOCAT_WORD) for word in words if word.startswith(_SOCAT_WORD))
    return [SOCAT if prefix == "SOCAT" else prefixed(prefix) for prefix in prefixes]
