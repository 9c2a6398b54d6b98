"""What the daemons use while nobody asks."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.daemon import Usage
from bench.sides import Sides, agent_of

_WINDOWS = 3
_WINDOW_SECONDS = 5.0
"""SPIRE reads its entries anew every five seconds, so that each window holds one such time. Ours
does so once, a minute after the start, and then once a day; the median leaves that out."""


def measure(sides: Sides) -> Iterator[tuple[str, str, float]]:
    """Both kinds of both sides in the same seconds."""
    watched = [
        watch
        for side in sides.all
        for watch in (
            ("idle.server", side.name, sides.full(side).server),
            ("idle.agent", side.name, agent_of(sides.small(side))),
        )
    ]
    time.sleep(2.0)  # until what making the scenes left is done
    for _ in range(_WINDOWS):
        before = [_reading(usage) for *_, usage in watched]
        time.sleep(_WINDOW_SECONDS)
        for (key, name, usage), (cpu_before, at_before) in zip(watched, before, strict=True):
            cpu, at = _reading(usage)
            yield key, name, 1000 * (cpu - cpu_before) / (at - at_before)


def _reading(usage: Usage) -> tuple[float, float]:
    return usage.cpu_seconds(), time.monotonic()
