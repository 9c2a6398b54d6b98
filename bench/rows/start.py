"""From the start of a daemon, with its data there, until its health check says that it serves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.admin import wait_until_healthy
from bench.sides import Scene, Sides
from tests.integration.daemons import Process


def measure(sides: Sides) -> Iterator[tuple[str, str, float]]:
    for side in sides.all:
        with sides.fresh(side) as scene:
            scene.stack.start_agent()
            wait_until_healthy(scene.stack.agent_socket)
            scene.stack.processes.pop().stop()
            yield "start.agent", side.name, _restart(scene, side.agent, "agent")
            for process in reversed(scene.stack.processes):
                process.stop()
            yield "start.server", side.name, _restart(scene, side.server, "server")


def _restart(scene: Scene, program: tuple[str, ...], kind: str) -> float:
    socket: Path = scene.stack.agent_socket if kind == "agent" else scene.stack.server_socket
    # A socket file that was left behind is no daemon yet.
    socket.unlink(missing_ok=True)
    started_at = time.monotonic()
    process = Process((*program, "run", "-config", f"{scene.stack.folder}/{kind}.conf"))
    scene.stack.processes.append(process)
    wait_until_healthy(socket)
    return time.monotonic() - started_at
