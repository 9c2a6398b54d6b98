"""Selectors between model and wire."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

from spire_py._proto.spire.api import types_pb2
from spire_py.model.selector import Selector

# Many entries have the same few selectors: those that are equal are one object.
_selector = lru_cache(maxsize=4096)(Selector)


class SelectorMessage(Protocol):
    """A selector of any of SPIRE's packages."""

    type: str
    value: str


def selectors_from_pb(messages: Iterable[SelectorMessage]) -> tuple[Selector, ...]:
    """The selectors, sorted, none twice.

    Raises:
        InvalidArgument: `missing selector type`, `selector type contains ':'` or
            `missing selector value`.
    """
    return tuple(sorted({_selector(message.type, message.value) for message in messages}))


def selectors_to_pb(selectors: Iterable[Selector]) -> list[types_pb2.Selector]:
    """The selectors as messages, in their order."""
    return [types_pb2.Selector(type=each.type, value=each.value) for each in selectors]
