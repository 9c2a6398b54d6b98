"""How each row of the table is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.rows import calls, commands, idle, pods, start, streams
from bench.sides import Sides

Sample = tuple[str, str, float]
"""The figure's key, the side's name, the value."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `measure` gives a round of samples, for all sides one after the other."""

    measure: Callable[[Sides], Iterator[Sample]]
    rounds_once: bool = False
    """It takes several samples by itself, or is long."""
    needs_load: bool = True
    """Whether the load generator is needed."""


ROWS: Mapping[str, Row] = {
    "start": Row(start.measure, needs_load=False),
    "cli": Row(commands.measure),
    "mint-x509": Row(calls.mint_x509),
    "mint-jwt": Row(calls.mint_jwt),
    "batch-x509": Row(calls.batch_x509),
    "attest": Row(calls.attest),
    "fetch-x509": Row(calls.fetch_x509),
    "jwt": Row(calls.jwt),
    "pod": Row(pods.measure),
    "authorized": Row(calls.authorized),
    "sync": Row(calls.sync),
    "create": Row(calls.create),
    "idle": Row(idle.measure, rounds_once=True),
    "memory": Row(streams.memory, rounds_once=True),
    "fan-out": Row(streams.fan_out, rounds_once=True),
    "propagation": Row(streams.propagation),
}
