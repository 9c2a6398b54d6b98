"""Selectors: what is known of a workload or a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from spire_py.errors import InvalidArgument


@dataclass(frozen=True, slots=True, order=True)
class Selector:
    """A fact such as `unix:uid:1000`: `type` is `unix`, `value` is `uid:1000`. Always valid."""

    type: str
    value: str

    def __post_init__(self) -> None:
        if not self.type:
            raise InvalidArgument("missing selector type")
        if ":" in self.type:
            raise InvalidArgument("selector type contains ':'")
        if not self.value:
            raise InvalidArgument("missing selector value")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `type:value`, split at the first colon.

        Raises:
            InvalidArgument: there is no colon, or a side is empty.
        """
        kind, colon, value = text.partition(":")
        if not colon:
            raise InvalidArgument(f"selector {text!r} must be formatted as type:value")
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.type}:{self.value}"
