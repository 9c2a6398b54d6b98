"""How long a person waits for a command that talks to a server or an agent."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.sides import Sides

_LIMIT_SECONDS = 60.0


def measure(sides: Sides) -> Iterator[tuple[str, str, float]]:
    for side in sides.all:
        stack = sides.small(side).stack
        server = (side.server, stack.server_socket)
        yield (
            "cli.entry-show",
            side.name,
            _seconds(*server, "entry", "show", "-spiffeID", "spiffe://example.org/workload"),
        )
        yield "cli.token", side.name, _seconds(*server, "token", "generate")
        yield "cli.fetch", side.name, _seconds(side.agent, stack.agent_socket, "api", "fetch")


def _seconds(program: tuple[str, ...], socket: Path, *words: str) -> float:
    command = [*_without_daemon(program), *words, "-socketPath", str(socket)]
    started_at = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # Not by `wait(timeout)`: it looks in steps that grow to 50 ms, and so would be the figures.
    limit = threading.Timer(_LIMIT_SECONDS, process.kill)
    limit.start()
    try:
        code = process.wait()
        seconds = time.monotonic() - started_at
    finally:
        limit.cancel()
    if code:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {code}")
    return seconds


def _without_daemon(program: tuple[str, ...]) -> tuple[str, ...]:
    """`spire-py server run` and `spire-py entry show` are commands of one level."""
    return program[:-1] if program[-1] in {"server", "agent"} else program
