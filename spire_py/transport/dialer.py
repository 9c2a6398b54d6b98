"""Connecting: names to addresses, addresses to sockets."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spire_py.errors import Unavailable

_TCP_USER_TIMEOUT_MS = 20_000


@dataclass(frozen=True, slots=True)
class Address:
    """Where a socket connects to."""

    family: int
    target: Any
    text: str


def dial_error(address: str, error: OSError) -> Unavailable:
    """What a failed connection attempt is told as; the wording is that of gRPC for Go."""
    reason = os.strerror(error.errno).lower() if error.errno else (str(error) or "timed out")
    return Unavailable(
        f'connection error: desc = "transport: Error while dialing: dial {address}: '
        f'connect: {reason}"'
    )


async def resolve_unix(path: Path) -> list[Address]:
    return [Address(socket.AF_UNIX, str(path), f"unix {path}")]


async def resolve_tcp(host: str, port: int) -> list[Address]:
    """All addresses of a name.

    Raises:
        Unavailable: it has none, or the resolver cannot tell.
    """
    loop = asyncio.get_running_loop()
    try:
        try:
            found = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        except socket.gaierror:  # a name: ask in a thread
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"name resolver error: cannot resolve {host!r}: {error}") from error
    return [
        Address(family, target, f"tcp {join_host_port(str(target[0]), port)}")
        for family, _, _, _, target in dict.fromkeys(found)
    ]


def join_host_port(host: str, port: int) -> str:
    """`host:port`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def connect(address: Address) -> socket.socket:
    """A connected socket.

    Raises:
        OSError: it does not connect.
    """
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A dead server shows itself by what it does not acknowledge.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
        await asyncio.get_running_loop().sock_connect(sock, address.target)
    except BaseException:
        sock.close()
        raise
    return sock
