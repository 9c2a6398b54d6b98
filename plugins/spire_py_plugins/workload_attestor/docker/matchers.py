"""Patterns of cgroup paths that hold a container ID (feature J13)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence

from spire_py.errors import FailedPrecondition, InvalidArgument

_ID = "<id>"
_ANY = "*"
_PARTS = {_ID: "([^/]*)", _ANY: "[^/]*"}


class CgroupMatchers:
    """Finds container IDs in paths.

    A pattern is a path; `*` stands for any segment, `<id>`, exactly once, for the container ID. No
    path can match two of them.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Read the patterns.

        Raises:
            InvalidArgument: one lacks its `<id>`, or two can match the same path.
        """
        segments = [pattern.split("/") for pattern in patterns]
        for pattern, parts in zip(patterns, segments, strict=True):
            if parts.count(_ID) != 1:
                raise InvalidArgument(
                    f'pattern "{pattern}" must contain the container id token "{_ID}" exactly once'
                )
        for one, other in itertools.combinations(range(len(patterns)), 2):
            if _overlap(segments[one], segments[other]):
                raise InvalidArgument(
                    "dockerfinder: patterns must not be ambiguous: "
                    f'["{patterns[one]}" "{patterns[other]}"]'
                )
        self._expressions = [
            re.compile("/".join(_PARTS.get(part) or re.escape(part) for part in parts))
            for parts in segments
        ]

    def find(self, paths: Iterable[str]) -> str:
        """The container ID in the paths of one process's cgroups; empty where none matches.

        Raises:
            FailedPrecondition: there are several, or one is blank.
        """
        found = {match[1] for path in paths if (match := self._match(path))}
        if len(found) > 1:
            first, second, *_ = sorted(found)
            raise FailedPrecondition(f"multiple container IDs found in cgroups ({first}, {second})")
        if found == {""}:
            raise FailedPrecondition("a pattern matched, but no container id was found")
        return found.pop() if found else ""

    def _match(self, path: str) -> re.Match[str] | None:
        matches = (expression.fullmatch(path) for expression in self._expressions)
        return next((match for match in matches if match), None)


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a path can match both."""
    return len(one) == len(other) and all(
        first == second or first in _PARTS or second in _PARTS
        for first, second in zip(one, other, strict=True)
    )
