"""gRPC over HTTP/2 on asyncio: server and client, on Unix sockets and TCP, with TLS or without.

See `docs/decisions/0001-own-grpc-core.md` for why it is our own. A name is imported when it is
first used, so that a command that only calls a server does not load one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import BidiCall, Channel
    from .context import CallContext
    from .limits import Limits
    from .metadata import Metadata
    from .peer import Peer, UnixPeer, check_process, peer_key
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
    "peer_key",
    "server_context",
    "snake_case",
]
_MODULES = {
    "BidiCall": "client",
    "CallContext": "context",
    "Channel": "client",
    "Limits": "limits",
    "Metadata": "metadata",
    "Peer": "peer",
    "Server": "server",
    "Service": "service",
    "UnixPeer": "peer",
    "check_process": "peer",
    "client_context": "tls",
    "insecure_client_context": "tls",
    "peer_key": "peer",
    "server_context": "tls",
    "snake_case": "service",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value
