"""Rows that count calls: CPU time of the daemon over the number of them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.sides import Scene, Sides, agent_of

Samples = Iterator[tuple[str, str, float]]

_BATCH = 500


def _server_calls(sides: Sides, key: str, op: str, *words: object) -> Samples:
    for side in sides.all:
        scene = sides.small(side)
        yield key, side.name, scene.cpu_ms(scene.server, op, *words)


def _agent_calls(sides: Sides, key: str, op: str, *words: object) -> Samples:
    for side in sides.all:
        scene = sides.small(side)
        yield key, side.name, scene.cpu_ms(agent_of(scene), op, *words)


def mint_x509(sides: Sides) -> Samples:
    yield from _server_calls(sides, "mint-x509", "mint-x509", "-callers", 8, "-count", 2_000)


def mint_jwt(sides: Sides) -> Samples:
    yield from _server_calls(sides, "mint-jwt", "mint-jwt", "-callers", 8, "-count", 3_000)


def batch_x509(sides: Sides) -> Samples:
    words = ("-callers", 2, "-batch", _BATCH, "-count", 8)
    for key, side, cpu_ms in _server_calls(sides, "batch-x509", "batch-x509", *words):
        yield key, side, cpu_ms / _BATCH


def attest(sides: Sides) -> Samples:
    words = ("-callers", 8, "-count", 400)
    yield from _server_calls(sides, "attest.new", "attest", *words, "-new-connection")
    yield from _server_calls(sides, "attest.kept", "attest", *words)


def fetch_x509(sides: Sides) -> Samples:
    words = ("-callers", 8, "-count", 2_000)
    yield from _agent_calls(sides, "fetch-x509.new", "fetch-x509", *words, "-new-connection")
    yield from _agent_calls(sides, "fetch-x509.kept", "fetch-x509", *words)


def jwt(sides: Sides) -> Samples:
    words = ("-callers", 8, "-count", 2_000)
    yield from _agent_calls(sides, "jwt.fetch", "fetch-jwt", *words)
    yield from _agent_calls(sides, "jwt.validate", "validate-jwt", *words)


def create(sides: Sides) -> Samples:
    for side in sides.all:
        with sides.fresh(side) as scene:
            yield "create.500", side.name, scene.fill(500)
    for side in sides.all:
        sides.full(side)
        yield "create.10000", side.name, sides.fill_cost[side.name]


def authorized(sides: Sides) -> Samples:
    for count, calls in ((1_000, 200), (10_000, 60)):
        for name, scene in _with_entries(sides, count):
            words = ("-entries", count, "-callers", 2, "-count", calls)
            yield f"authorized.{count}", name, scene.cpu_ms(scene.server, "authorized", *words)


def sync(sides: Sides) -> Samples:
    for count, full, unchanged in ((1_000, 150, 300), (10_000, 25, 100)):
        words = ("-entries", count, "-callers", 2, "-count")
        for name, scene in _with_entries(sides, count):
            yield f"sync.{count}", name, scene.cpu_ms(scene.server, "sync", *words, full)
        for name, scene in _with_entries(sides, count):
            cost = scene.cpu_ms(scene.server, "sync", *words, unchanged, "-unchanged")
            yield f"sync.{count}-unchanged", name, cost


def _with_entries(sides: Sides, count: int) -> Iterator[tuple[str, Scene]]:
    for side in sides.all:
        yield side.name, sides.small(side) if count == 1_000 else sides.full(side)
