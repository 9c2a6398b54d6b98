"""What parsers of strangers' words are tried with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(), max_size=20)
"""Any text, half surrogate pairs among it: JSON can spell them."""

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


def objects(names: Sequence[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of the names that a parser looks for, or something else altogether."""
    return st.dictionaries(st.sampled_from(names), values, max_size=len(names)) | ANYTHING
