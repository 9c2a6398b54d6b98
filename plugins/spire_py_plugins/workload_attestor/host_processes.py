"""Whether the agent can see the processes that it is to attest."""

from __future__ import annotations

import os
from pathlib import Path

_IN_KUBERNETES = "KUBERNETES_SERVICE_HOST"


def missing_around_processes(proc: Path, name: str) -> list[str]:
    """One sentence for each thing that keeps the node's processes from being looked into.

    Args:
        proc: where the host's `/proc` is mounted.
        name: the file of each process that is needed, such as `cgroup`.
    """
    first = proc / "1" / name
    try:
        with first.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return [f"{first} does not exist: {proc} (HOST_PROC) must be the host's /proc, mounted"]
    except OSError as error:
        reason = f"unable to read {first}: {error.strerror}"
        return [f"{reason}; the agent must run as root, or /proc be mounted without hidepid"]
    if os.environ.get(_IN_KUBERNETES) and _is_alone(proc):
        return [
            "the agent sees the processes of its own container only: its pod needs hostPID: true"
        ]
    return []


def _is_alone(proc: Path) -> bool:
    """Whether process 1 is of the agent's own container, instead of the node.

    The node's is in another cgroup than any pod, also where the node is a container itself.
    """
    own = _cgroups(proc / "self")
    return own != "" and own == _cgroups(proc / "1")


def _cgroups(process: Path) -> str:
    try:
        return (process / "cgroup").read_text(errors="replace")
    except OSError:
        return ""
