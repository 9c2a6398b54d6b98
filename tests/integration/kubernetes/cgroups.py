"""Cgroups with the names that a kubelet gives, for processes of the tests."""

from __future__ import annotations

import shlex
import uuid
from pathlib import Path

HIERARCHIES = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/pids")]


class Cgroups:
    """Places processes in cgroups: real ones where the kernel lets us, else in a `/proc` made up.

    Args:
        folder: for the `/proc`.
    """

    def __init__(self, folder: Path) -> None:
        self._made: list[Path] = []
        self._name = f"spire-py-{uuid.uuid4()}"
        self._root = next((each for each in HIERARCHIES if self._can_make(each / self._name)), None)
        self._proc = folder / "proc"
        self._proc.mkdir()

    @property
    def environment(self) -> dict[str, str]:
        """For the agent."""
        return {} if self._root else {"HOST_PROC": str(self._proc)}

    def enter(self, path: str) -> str:
        """Shell words by which a process places itself."""
        if self._root is None:
            copy = f"{self._proc}/$$"
            line = shlex.quote(f"0::{path}")
            return f"mkdir {copy} && cp /proc/$$/status {copy} && echo {line} > {copy}/cgroup"
        folder = self._root / self._name
        for segment in path.strip("/").split("/"):
            folder /= segment
            if not folder.exists():
                folder.mkdir()
                self._made.append(folder)
        return f"echo $$ > {folder}/cgroup.procs"

    def remove(self) -> None:
        for folder in reversed(self._made):
            folder.rmdir()

    def _can_make(self, folder: Path) -> bool:
        try:
            folder.mkdir()
        except OSError:
            return False
        self._made.append(folder)
        if (folder / "cgroup.procs").exists():
            return True
        self._made.remove(folder)
        folder.rmdir()
        return False
