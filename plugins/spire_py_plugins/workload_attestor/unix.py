"""WorkloadAttestor `unix`: what the kernel tells of a process (feature J12)."""

from __future__ import annotations

import asyncio
import grp
import hashlib
import io
import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spire_py.errors import Internal
from spire_py.model.selector import Selector
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.plugin_api.workload_attestor import WorkloadAttestor

_TYPE = "unix"
_MAX_STATUS_BYTES = 1024 * 1024


class UnixWorkloadAttestor(WorkloadAttestor):
    """Tells user, groups and, where asked to, path and digest of a process. IDs are effective ones.

    Args:
        discover_workload_path: also tell `path` and `sha256`; the agent needs the right to see
            into processes of others.
        workload_size_limit: bytes; a larger executable is an error. 0 is any size, below 0 tells no
            `sha256`.
        proc: where the host's `/proc` is mounted.
    """

    def __init__(
        self,
        *,
        discover_workload_path: bool = False,
        workload_size_limit: int = 0,
        proc: Path = Path("/proc"),
    ) -> None:
        self._discover_workload_path = discover_workload_path
        self._size_limit = workload_size_limit
        self._proc = proc

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        return await asyncio.to_thread(self._attest, pid)

    def _attest(self, pid: int) -> tuple[Selector, ...]:
        process = self._proc / str(pid)
        values = list(_identity(_read_status(process, pid)))
        if self._discover_workload_path:
            values.append(f"path:{_path(process, pid)}")
            if self._size_limit >= 0:
                values.append(f"sha256:{_digest(process, pid, self._size_limit)}")
        return tuple(Selector(_TYPE, value) for value in values)


def configure(data: Mapping[str, Any], context: PluginContext) -> UnixWorkloadAttestor:
    """The plugin. `HOST_PROC` in the environment moves `/proc`, as it does for SPIRE."""
    settings = Settings(data, context)
    discover = settings.flag("discover_workload_path")
    limit = settings.integer("workload_size_limit", 0)
    settings.finish()
    return UnixWorkloadAttestor(
        discover_workload_path=discover,
        workload_size_limit=limit,
        proc=Path(os.environ.get("HOST_PROC") or "/proc"),
    )


def _read_status(process: Path, pid: int) -> dict[str, list[str]]:
    """The lines of `/proc/<pid>/status`, read in one go so that they fit each other."""
    try:
        with (process / "status").open("rb") as file:
            content = file.read(_MAX_STATUS_BYTES)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Internal(f"failed to get process: process {pid} does not exist") from error
    except OSError as error:
        raise Internal(f"failed to get process: process {pid}: {error.strerror}") from error
    # The first line holds the process's name, which is the process's own choice. The kernel escapes
    # a line feed in it and nothing else that `splitlines` would split at.
    status: dict[str, list[str]] = {}
    for line in content.split(b"\n"):
        name, _, value = line.partition(b":")
        status.setdefault(name.decode("ascii", "replace"), value.decode("ascii", "replace").split())
    return status


def _identity(status: Mapping[str, list[str]]) -> Iterator[str]:
    uid = _effective(status, "Uid", "UIDs")
    yield f"uid:{uid}"
    if user := _user_name(uid):
        yield f"user:{user}"
    gid = _effective(status, "Gid", "GIDs")
    yield f"gid:{gid}"
    if group := _group_name(gid):
        yield f"group:{group}"
    for text in status.get("Groups", []):
        supplementary = _number(text, "supplementary GIDs")
        yield f"supplementary_gid:{supplementary}"
        if group := _group_name(supplementary):
            yield f"supplementary_group:{group}"


def _effective(status: Mapping[str, list[str]], name: str, what: str) -> int:
    """The second of the real, effective, saved and file system IDs."""
    ids = status.get(name, [])
    if len(ids) < 2:
        raise Internal(f"{what} lookup: no {what} for process")
    return _number(ids[1], what)


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise Internal(f"{what} lookup: {text!r} is no number") from error


def _user_name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None


def _group_name(gid: int) -> str | None:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OverflowError):
        return None


def _path(process: Path, pid: int) -> str:
    try:
        return str((process / "exe").readlink())
    except OSError as error:
        raise Internal(f"path lookup: process {pid}: {error.strerror}") from error


def _digest(process: Path, pid: int, limit: int) -> str:
    try:
        # Through /proc and not by path: the process may run in a mount namespace of its own.
        with (process / "exe").open("rb", buffering=0) as file:
            return _digest_of(file, pid, limit)
    except OSError as error:
        raise Internal(f"SHA256 digest: process {pid}: {error.strerror}") from error


def _digest_of(file: io.FileIO, pid: int, limit: int) -> str:
    size = os.fstat(file.fileno()).st_size
    if 0 < limit < size:
        raise Internal(
            f"SHA256 digest: workload of process {pid} exceeds size limit ({size} > {limit})"
        )
    return hashlib.file_digest(file, "sha256").hexdigest()
