"""What a running daemon has used, as the kernel tells it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of one process, by its id."""

    pid: int

    def cpu_seconds(self) -> float:
        """CPU time since its start: utime + stime of all its threads, also of those that ended.

        It is read from the process's own clock: /proc/<pid>/stat gives the same sum, in steps of
        10 ms.
        """
        process_clock = (~self.pid << 3) | 2  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
        return time.clock_gettime(process_clock)

    def private_bytes(self) -> int:
        """Memory that no other process shares with it."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        lines = (line.split() for line in text.splitlines() if line.startswith("Private_"))
        return sum(int(words[1]) for words in lines) * 1024

    def peak_bytes(self) -> int:
        """The most memory it ever had resident, what it shares with others included."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) * 1024
