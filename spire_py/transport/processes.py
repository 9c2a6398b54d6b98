"""What the kernel says about a process: is it the one we mean, and whose is it (feature H19)."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import TYPE_CHECKING

from spire_py.errors import FailedPrecondition, PermissionDenied

if TYPE_CHECKING:
    from .peer import UnixPeer

_PROC = Path("/proc")
_START_TIME_FIELD = 19  # counted after the command's name; field 22 of proc(5)


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name is in parentheses and may hold any byte, even ')'.
    fields = text.rpartition(b")")[2].split()
    return int(fields[_START_TIME_FIELD]) if len(fields) > _START_TIME_FIELD else None


def process_is_gone(pidfd: int) -> bool:
    """Whether the process of a pidfd has ended; a pidfd becomes readable then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def check_process(peer: UnixPeer, proc: Path = _PROC) -> None:
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
