"""Calls FetchX509SVID some times and prints what came of it, as a process of its own."""

from __future__ import annotations

import asyncio

from spire_py._proto import workload_pb2
from spire_py.errors import SpireError
from spire_py.transport import Channel


async def _call(channel: Channel) -> str:
    try:
        async with channel.server_stream(
            "/SpiffeWorkloadAPI/FetchX509SVID",
            workload_pb2.X509SVIDRequest(),
            workload_pb2.X509SVIDResponse,
            timeout=20,
            metadata=[("workload.spiffe.io", "true")],
        ) as messages:
            await anext(messages)
    except SpireError as error:
        return f"{type(error).__name__} {error.message}"
    return "ok"


async def _run(path: str, count: int) -> None:
    channel = Channel.unix(path)
    for _ in range(count):
        print(await _call(channel))
    await channel.aclose()


def main(path: str, count: str) -> None:
    asyncio.run(_run(path, int(count)))
