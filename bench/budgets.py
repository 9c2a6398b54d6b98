"""What is measured and what it may cost: the table of budgets, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OURS = "ours"
SPIRE = "SPIRE"


@dataclass(frozen=True, slots=True)
class Times:
    """At most so many times SPIRE's figure of the same run."""

    factor: float

    def limit(self, _key: str, medians: Mapping[tuple[str, str], float]) -> float | None:
        theirs = medians.get((_key, SPIRE))
        return None if theirs is None else self.factor * theirs

    def __str__(self) -> str:
        return f"{self.factor:g} ×"


@dataclass(frozen=True, slots=True)
class Value:
    """At most so much, in the figure's own unit."""

    value: float
    unit: str

    def limit(self, _key: str, _medians: Mapping[tuple[str, str], float]) -> float | None:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class FlatWith:
    """At most a quarter above another figure of ours: it does not grow with what is stored."""

    other: str

    def limit(self, _key: str, medians: Mapping[tuple[str, str], float]) -> float | None:
        ours = medians.get((self.other, OURS))
        return None if ours is None else 1.25 * ours

    def __str__(self) -> str:
        return "flat"


Bound = Times | Value | FlatWith


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a row. Without bounds it is printed for the record."""

    key: str
    text: str
    unit: str
    at_most: Bound | None = None
    aim: Bound | None = None

    @property
    def row(self) -> str:
        return self.key.partition(".")[0]


FIGURES = (
    Figure("mint-x509", "MintX509SVID, 8 callers", "CPU-ms", Times(1.0), Times(0.5)),
    Figure("mint-jwt", "MintJWTSVID, 8 callers", "CPU-ms", Times(1.0), Times(0.6)),
    Figure("batch-x509", "BatchNewX509SVID by 500, per SVID", "CPU-ms", Times(0.7), Times(0.4)),
    Figure("attest.new", "AttestAgent, new TLS connection", "CPU-ms", Times(1.2), Times(0.8)),
    Figure("attest.kept", "AttestAgent, kept connection", "CPU-ms", Times(1.0), Times(0.5)),
    Figure(
        "create.500", "BatchCreateEntry by 100, per entry, to 500", "CPU-ms", Times(1.0), Times(0.5)
    ),
    Figure(
        "create.10000",
        "BatchCreateEntry by 100, per entry, to 10,000",
        "CPU-ms",
        Times(1.0),
        FlatWith("create.500"),
    ),
    Figure("authorized.1000", "GetAuthorizedEntries, 1,000 entries", "CPU-ms"),
    Figure(
        "authorized.10000", "GetAuthorizedEntries, 10,000 entries", "CPU-ms", Times(0.5), Times(0.1)
    ),
    Figure("sync.1000", "SyncAuthorizedEntries, 1,000, full", "CPU-ms"),
    Figure("sync.1000-unchanged", "SyncAuthorizedEntries, 1,000, unchanged", "CPU-ms"),
    Figure("sync.10000", "SyncAuthorizedEntries, 10,000, full", "CPU-ms", Times(0.7), Times(0.3)),
    Figure(
        "sync.10000-unchanged",
        "SyncAuthorizedEntries, 10,000, unchanged",
        "CPU-ms",
        Times(0.7),
        Times(0.3),
    ),
    Figure(
        "idle.server", "server idle, 10,000 entries, per second", "CPU-ms", Times(0.5), Times(0.1)
    ),
    Figure("idle.agent", "agent idle, per second", "CPU-ms"),
    Figure("fetch-x509.new", "FetchX509SVID, new connection", "CPU-ms", Times(1.0), Times(0.5)),
    Figure("fetch-x509.kept", "FetchX509SVID, kept connection", "CPU-ms", Times(1.0), Times(0.5)),
    Figure("jwt.fetch", "FetchJWTSVID, cached", "CPU-ms", Times(1.0), Times(0.5)),
    Figure("jwt.validate", "ValidateJWTSVID", "CPU-ms", Times(1.0), Times(0.5)),
    Figure("pod.first", "first call from a pod → its SVID, 250 pods", "s"),
    Figure("pod.cold", "FetchX509SVID in a pod, 250 pods, kubelet asked", "CPU-ms"),
    Figure("pod.warm", "FetchX509SVID in a pod, pod list at hand", "CPU-ms"),
    Figure("pod.250-private", "private memory, agent, 250 pods", "MiB"),
    Figure("pod.250-peak", "peak of resident memory, agent, 250 pods", "MiB"),
    Figure("pod.500-private", "private memory, agent, 500 pods", "MiB"),
    Figure("pod.500-peak", "peak of resident memory, agent, 500 pods", "MiB"),
    Figure("fan-out", "an update to 1,000 streams, per stream", "CPU-ms", Times(1.0), Times(0.3)),
    Figure(
        "memory.server", "private memory, server, 10,000 entries", "MiB", Times(1.2), Times(1.0)
    ),
    Figure("memory.agent", "private memory, agent, 1,000 streams", "MiB", Times(1.2), Times(1.0)),
    Figure("propagation", "entry created → workload has it", "s", Value(1.0, "s"), Value(0.2, "s")),
    Figure("start.server", "start to healthy, server", "s", Value(1.0, "s"), Value(0.4, "s")),
    Figure("start.agent", "start to healthy, agent", "s", Value(1.0, "s"), Value(0.4, "s")),
    Figure("cli.entry-show", "CLI: entry show", "s", Value(0.25, "s")),
    Figure("cli.token", "CLI: token generate", "s", Value(0.25, "s")),
    Figure("cli.fetch", "CLI: api fetch x509", "s", Value(0.25, "s")),
)
