"""Workloads of all languages that watch one agent, and what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.peers.process import Line, PeerProcess, running

Find = Callable[[str], Path]

LANGUAGES = ("workload", "py-workload", "rust-workload")


class Followers:
    """One watching workload of each language."""

    def __init__(self, watching: dict[str, PeerProcess]) -> None:
        self.watching = watching

    async def until(
        self, wanted: Callable[[Line], bool], *, event: str = "x509", timeout: float = 40.0
    ) -> dict[str, Line]:
        """What each is told when it is first told so; what it was told before is past."""

        async def one(process: PeerProcess) -> Line:
            while True:
                line = await process.event(event, timeout=timeout)
                if wanted(line):
                    return line

        async with asyncio.TaskGroup() as tasks:
            waiting = {
                name: tasks.create_task(one(process)) for name, process in self.watching.items()
            }
        return {name: task.result() for name, task in waiting.items()}

    async def until_ids(self, *ids: str) -> dict[str, Line]:
        """Until each has just these identities, in this order."""
        return await self.until(lambda line: ids_of(line) == list(ids))


def ids_of(line: Line) -> list[str]:
    return [svid["id"] for svid in line["svids"]]


def serial_of(line: Line, spiffe_id: str) -> str:
    """The serial number of that identity, empty where there is none."""
    return next((svid["serial"] for svid in line["svids"] if svid["id"] == spiffe_id), "")


@asynccontextmanager
async def following(find: Find, endpoint: str) -> AsyncIterator[Followers]:
    """Start a watch in each language."""
    words = ("watch", "-socket", endpoint, "-timeout", "100s")
    async with AsyncExitStack() as opened:
        yield Followers(
            {
                name: await opened.enter_async_context(running(find(name), *words))
                for name in LANGUAGES
            }
        )
