"""gRPC over HTTP/2 on asyncio: server and client, on Unix sockets and TCP, with TLS or without.

See `docs/decisions/0001-own-grpc-core.md` for why it is our own.
"""

from __future__ import annotations

from .context import CallContext
from .limits import Limits
from .metadata import Metadata
from .peer import Peer, UnixPeer
from .processes import check_process
from .server import Server
from .service import Service, snake_case

__all__ = [
    "CallContext",
    "Limits",
    "Metadata",
    "Peer",
    "Server",
    "Service",
    "UnixPeer",
    "check_process",
    "snake_case",
]
