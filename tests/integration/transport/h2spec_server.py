"""A tiny server for h2spec, `plain` or `tls`: prints its port and serves until its input ends."""

from __future__ import annotations

import asyncio
import sys

from spire_py.transport import Server, Service, server_context
from tests.integration.transport.certificates import Authority
from tests.integration.transport.echo import ECHO, Echo


async def main(kind: str) -> None:
    authority = Authority("spiffe://example.org")
    own = authority.issue("spiffe://example.org/spire/server")
    context = server_context(chain=[own.certificate], key=own.key, roots=[authority.root])
    server = Server([Service(ECHO, Echo())])
    _, port = await server.listen_tcp(
        "127.0.0.1",
        0,
        tls=(lambda: context) if kind == "tls" else None,
        verify_peer=None,
        max_connection_age=None,
    )
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
