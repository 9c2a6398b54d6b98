"""gRPC over HTTP/2 on asyncio: server and client, on Unix sockets and TCP, with TLS or without.

See `docs/decisions/0001-own-grpc-core.md` for why it is our own.
"""

from __future__ import annotations

from .client import BidiCall, Channel
from .context import CallContext
from .limits import Limits
from .metadata import Metadata
from .peer import Peer, UnixPeer
from .processes import check_process
from .server import Server
from .service import Service, snake_case
from .tls import client_context, insecure_client_context, server_context

__all__ = [
    "BidiCall",
    "CallContext",
    "Channel",
    "Limits",
    "Metadata",
    "Peer",
    "Server",
    "Service",
    "UnixPeer",
    "check_process",
    "client_context",
    "insecure_client_context",
    "server_context",
    "snake_case",
]
