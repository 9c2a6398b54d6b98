"""DNS names of a certificate, taken together."""

from __future__ import annotations

from collections.abc import Sequence

from spire_py.errors import InvalidArgument


def check_wildcard_overlap(names: Sequence[str]) -> None:
    """Refuse names of which one is covered by a wildcard among the others.

    Raises:
        InvalidArgument: such a pair is there, in SPIRE's words.
    """
    present = set(names)
    for name in names:
        _, dot, rest = name.partition(".")
        if not name.startswith("*") and f"*{dot}{rest}" in present:
            raise InvalidArgument(
                f'name "{name}" overlaps with an existing wildcard name in the list: '
                "wildcard overlap"
            )
