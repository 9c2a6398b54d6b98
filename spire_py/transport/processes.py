"""What the kernel says about a process: when did it start, and does it still run (feature H19)."""

from __future__ import annotations

import select
from pathlib import Path

PROC = Path("/proc")
_START_TIME_FIELD = 19  # counted after the command's name; field 22 of proc(5)


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
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
