"""The two sides that are compared, and the servers and agents they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from bench.admin import wait_until_healthy
from bench.budgets import OURS, SPIRE
from bench.daemon import Usage
from bench.load import Load, load
from tests.integration.daemons import OUR_AGENT, OUR_SERVER, Stack, stack_folder
from tests.peers.find import peer_binary

_NO_RATE_LIMITS = "ratelimit { attestation = false signing = false }"
"""They only make callers wait, so that a measurement takes minutes."""


@dataclass(frozen=True, slots=True)
class Side:
    """One implementation: what stands before `run` and the other commands."""

    name: str
    server: tuple[str, ...]
    agent: tuple[str, ...]


def find_sides() -> list[Side]:
    """Ours, and SPIRE's where both of its programs are found."""
    sides = [Side(OURS, OUR_SERVER, OUR_AGENT)]
    server, agent = peer_binary("spire-server"), peer_binary("spire-agent")
    if server and agent:
        sides.append(Side(SPIRE, (str(server),), (str(agent),)))
    return sides


@dataclass
class Scene:
    """A running server, its agent where one was started, and the loader's own agent."""

    stack: Stack
    server: Usage
    agent: Usage | None = None
    load_starts_with: str = ""
    """Words of a shell by which the load generator places itself somewhere first."""

    @property
    def identity(self) -> Path:
        """The file with the loader's agent."""
        return self.stack.folder / "load-agent.json"

    @cached_property
    def identity_path(self) -> str:
        """The path of the loader's agent, which is made when first asked for."""
        with self.load("enroll", "-entries", 0) as running:
            path: str = running.next("agent")["path"]
            return path

    @contextmanager
    def load(self, op: str, *words: object) -> Iterator[Load]:
        """Run the load generator against this scene."""
        places = (
            *("-server", f"127.0.0.1:{self.stack.port}"),
            *("-server-socket", self.stack.server_socket),
            *("-agent-socket", self.stack.agent_socket),
            *("-identity", self.identity),
        )
        with load(op, *places, *words, first=self.load_starts_with) as running:
            yield running

    def cpu_ms(self, usage: Usage, op: str, *words: object) -> float:
        """CPU time of a daemon per operation, in milliseconds, while the load runs."""
        with self.load(op, *words) as running:
            running.next("ready")
            before = usage.cpu_seconds()
            running.go()
            done = running.next("done")
            return 1000 * (usage.cpu_seconds() - before) / int(done["count"])

    def fill(self, count: int) -> float:
        """Give the loader's agent `count` entries more; CPU-ms of the server for each."""
        words = ("-callers", 1, "-batch", 100, "-count", count // 100)
        parent = ("-parent", self.identity_path)
        return self.cpu_ms(self.server, "create-entries", *words, *parent) / 100

    def start_agent(self) -> Usage:
        """The agent, with one entry for this user; its workloads have their SVID."""
        process = self.stack.start_agent()
        self.agent = Usage(process.popen.pid)
        wait_until_healthy(self.stack.agent_socket)
        self.stack.create_entry("workload")
        self.stack.wait_for_svids(1)
        return self.agent


class Sides:
    """Makes scenes and keeps two for several rows: a small one, and one with 10,000 entries."""

    def __init__(self, sides: list[Side], progress: Callable[[str], None]) -> None:
        self.all = sides
        self.progress = progress
        self.fill_cost: dict[str, float] = {}
        self._kept: dict[tuple[str, str], Scene] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @contextmanager
    def fresh(self, side: Side) -> Iterator[Scene]:
        """A new server with nothing in it."""
        with stack_folder() as folder:
            stack = Stack(
                folder, side.server, side.agent, server_keys=_NO_RATE_LIMITS, log_level="INFO"
            )
            try:
                process = stack.start_server()
                wait_until_healthy(stack.server_socket)
                yield Scene(stack, Usage(process.popen.pid))
            finally:
                stack.close()

    def small(self, side: Side) -> Scene:
        """A server with 1,000 entries, and an agent of it."""
        return self._keep("small", side, self._make_small)

    def full(self, side: Side) -> Scene:
        """A server with 10,000 entries; what making them cost is in `fill_cost`."""
        return self._keep("full", side, self._make_full)

    def streams(self, side: Side) -> Scene:
        """An agent that served nobody before."""
        return self._keep("streams", side, self._make_streams)

    def _keep(self, kind: str, side: Side, make: Callable[[Side], Scene]) -> Scene:
        key = (kind, side.name)
        if key not in self._kept:
            self.progress(f"{side.name}: making the {kind} scene")
            self._kept[key] = make(side)
        return self._kept[key]

    def _make_small(self, side: Side) -> Scene:
        scene = self._open.enter_context(self.fresh(side))
        scene.fill(1_000)
        scene.start_agent()
        return scene

    def _make_streams(self, side: Side) -> Scene:
        scene = self._open.enter_context(self.fresh(side))
        scene.start_agent()
        return scene

    def _make_full(self, side: Side) -> Scene:
        scene = self._open.enter_context(self.fresh(side))
        self.fill_cost[side.name] = scene.fill(10_000)
        return scene


def agent_of(scene: Scene) -> Usage:
    """The agent of a scene that has one."""
    assert scene.agent is not None
    return scene.agent
