"""A tiny server for h2spec: prints its port and serves until its input ends."""

from __future__ import annotations

import asyncio
import sys

from spire_py.transport import Server, Service
from tests.integration.transport.echo import ECHO, Echo


async def main() -> None:
    server = Server([Service(ECHO, Echo())])
    _, port = await server.listen_tcp(
        "127.0.0.1", 0, tls=None, verify_peer=None, max_connection_age=None
    )
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.aclose()


if __name__ == "__main__":
    asyncio.run(main())
