"""Who is at the other end of a connection."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from spire_py.errors import FailedPrecondition, PermissionDenied

from .processes import PROC, process_is_gone, start_time


@dataclass(frozen=True, slots=True)
class UnixPeer:
    """The process that connected to a Unix socket, as the kernel tells it.

    The pid alone is no identity: the number is given out again after the process ended. Whoever
    derives facts from `/proc/<pid>` reads them first and asks `still_alive` afterwards.

    Attributes:
        pidfd: stands for the process itself (Linux 6.5 and newer), else None. It is closed when
            the last holder of this value lets go of it, so a held one never names another process.
        started: the start time of the process in clock ticks, where there is no pidfd.
        owner: what closes `pidfd`.
    """

    pid: int
    uid: int
    gid: int
    pidfd: int | None = None
    started: int | None = None
    owner: object | None = field(default=None, repr=False, compare=False)

    def still_alive(self) -> bool:
        """Whether the process that connected still lives, and so still owns its pid."""
        if self.pidfd is not None:
            return not process_is_gone(self.pidfd)
        return self.started is not None and start_time(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        address: `127.0.0.1:4711`, or `@` for a Unix socket.
        unix: the process at the other end of a Unix socket.
        identity: what `verify_peer` returned for the chain of a TLS client; None without a
            certificate.
    """

    address: str
    unix: UnixPeer | None = None
    identity: object | None = None
    tls: bool = False

    @property
    def host(self) -> str:
        """The IP address; empty for a Unix peer."""
        return "" if self.unix else self.address.rpartition(":")[0].strip("[]")


def peer_key(host: str) -> str | bytes:
    """What counts as one peer: an IPv4 address, or the /64 network of an IPv6 address.

    Whoever has one IPv6 address has all 2**64 of its network.
    """
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return packed if packed.startswith(_MAPPED_IPV4) else packed[:8]


def check_process(peer: UnixPeer, proc: Path = PROC) -> None:
    """Refuse a peer whose pid does not, or not surely, stand for the process that connected.

    To be called before and after facts are read from `/proc/<pid>`.

    Raises:
        FailedPrecondition: the process is gone; its pid may be another's by now.
        PermissionDenied: `/proc/<pid>` belongs to another user or group than the peer, as that of
            a process that changed its identity or may not be looked into.
    """
    try:
        owner = os.stat(proc / str(peer.pid))  # noqa: PTH116 - one call, no Path arithmetic twice
    except OSError as error:
        raise FailedPrecondition("caller is no longer running") from error
    if not peer.still_alive():
        raise FailedPrecondition("caller is no longer running")
    if (owner.st_uid, owner.st_gid) != (peer.uid, peer.gid):
        raise PermissionDenied("caller's process belongs to another user or group")


class _OwnedDescriptor:
    """Closes a file descriptor when nobody needs it any more."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


_SO_PEERPIDFD = 77
_MAPPED_IPV4 = bytes(10) + b"\xff\xff"
_UCRED = struct.Struct("3i")


def unix_peer(sock: socket.socket) -> UnixPeer:
    """Ask the kernel who connected `sock`.

    Raises:
        OSError: it cannot tell.
    """
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    pidfd = _peer_pidfd(sock)
    # Without a pidfd the start time is read as early as can be: at accept.
    started = start_time(pid) if pidfd is None else None
    owner = None if pidfd is None else _OwnedDescriptor(pidfd)
    return UnixPeer(pid=pid, uid=uid, gid=gid, pidfd=pidfd, started=started, owner=owner)


def _peer_pidfd(sock: socket.socket) -> int | None:
    try:
        return sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None  # an older kernel, or a process that is gone and was never pinned
