"""Any bytes, and bytes that are nearly right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence


def near(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes that are random, a seed with some places changed, or the beginning of one with another's end."""
    patch = st.tuples(st.integers(0, 4095), st.integers(0, 4), st.binary(max_size=4) | st.sampled_from(list(seeds)))

    def change(seed: bytes, patches: list[tuple[int, int, bytes]]) -> bytes:
        for place, removed, added in patches:
            at = place % (len(seed) + 1)
            seed = seed[:at] + added + seed[at + removed :]
        return seed

    return st.binary(max_size=600) | st.builds(change, st.sampled_from(list(seeds)), st.lists(patch, max_size=6))
