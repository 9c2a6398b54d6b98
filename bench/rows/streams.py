"""Rows about workloads that hold a FetchX509SVID stream each, on a connection of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

from bench.admin import create_entry
from bench.sides import Scene, Sides, agent_of

Samples = Iterator[tuple[str, str, float]]

_STREAMS = 1_000
_UPDATES = 3
_MEBIBYTE = 1 << 20
_numbers = count()


def memory(sides: Sides) -> Samples:
    for side in sides.all:
        scene = sides.full(side)
        yield "memory.server", side.name, scene.server.private_bytes() / _MEBIBYTE
    for side in sides.all:
        scene = sides.streams(side)
        with scene.load("hold", "-callers", _STREAMS) as held:
            held.next("update")
            yield "memory.agent", side.name, agent_of(scene).private_bytes() / _MEBIBYTE


def fan_out(sides: Sides) -> Samples:
    for side in sides.all:
        scene = sides.streams(side)
        with scene.load("hold", "-callers", _STREAMS) as held:
            held.next("update")
            for _ in range(_UPDATES):
                usage = agent_of(scene)
                before = usage.cpu_seconds()
                create_entry(scene.stack.server_socket, f"fan-out-{next(_numbers)}")
                held.next("update")
                time.sleep(0.2)  # the last bytes are read, what follows an update is done
                yield "fan-out", side.name, 1000 * (usage.cpu_seconds() - before) / _STREAMS


def propagation(sides: Sides) -> Samples:
    for side in sides.all:
        yield "propagation", side.name, _seconds_until_svid(sides.small(side))


def _seconds_until_svid(scene: Scene) -> float:
    with scene.load("hold", "-callers", 1) as held:
        held.next("update")
        created_at = create_entry(scene.stack.server_socket, f"new-{next(_numbers)}")
        return float(held.next("update")["last_unix_ms"]) / 1000 - created_at
