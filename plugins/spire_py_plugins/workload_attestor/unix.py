"""WorkloadAttestor `unix`: what the kernel tells of a process (feature J12)."""

from __future__ import annotations

import asyncio
import grp
import hashlib
import io
import os
import pwd
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spire_py.errors import Internal
from spire_py.model.selector import Selector
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py_plugins.workload_attestor.host_processes import missing_around_processes

_TYPE = "unix"
_USUAL_STATUS_BYTES = 16 * 1024
_MAX_STATUS_BYTES = 1024 * 1024
_MAX_OWNERS = 1000
_NAMES_SECONDS = 10.0
_ID_LINES = re.compile(rb"^(Uid|Gid|Groups):(.*)$", re.MULTILINE)


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
        self._owners = _Owners()

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        process = self._proc / str(pid)
        # The kernel answers this from memory: a thread would cost more than the read.
        ids = _read_ids(process, pid)
        owner = self._owners.get(ids)
        if owner is None:
            # Names may come from a directory service, and take their time.
            owner = await asyncio.to_thread(_owner_selectors, ids)
            self._owners.put(ids, owner)
        if not self._discover_workload_path:
            return owner
        return owner + await asyncio.to_thread(self._executable, process, pid)

    async def check_surroundings(self) -> Sequence[str]:
        return await asyncio.to_thread(self._missing)

    def _missing(self) -> list[str]:
        missing = missing_around_processes(self._proc, "status")
        if self._discover_workload_path and not missing:
            try:
                (self._proc / "1" / "exe").readlink()
            except PermissionError:
                missing.append(
                    "discover_workload_path needs the right to look into processes of other users: "
                    "the agent must run as root, in a container with the capability SYS_PTRACE"
                )
            except OSError:
                pass  # a process that is gone or has no executable says nothing about rights
        return missing

    def _executable(self, process: Path, pid: int) -> tuple[Selector, ...]:
        values = [f"path:{_path(process, pid)}"]
        if self._size_limit >= 0:
            values.append(f"sha256:{_digest(process, pid, self._size_limit)}")
        return tuple(Selector(_TYPE, value) for value in values)


@dataclass(frozen=True, slots=True)
class _Ids:
    """The effective IDs of a process."""

    uid: int
    gid: int
    groups: tuple[int, ...]


class _Owners:
    """The selectors of the latest owners of processes, names and all, for some seconds."""

    def __init__(self) -> None:
        self._kept: dict[_Ids, tuple[float, tuple[Selector, ...]]] = {}

    def get(self, ids: _Ids) -> tuple[Selector, ...] | None:
        kept = self._kept.get(ids)
        return kept[1] if kept and time.monotonic() < kept[0] else None

    def put(self, ids: _Ids, selectors: tuple[Selector, ...]) -> None:
        if len(self._kept) >= _MAX_OWNERS:
            self._kept.clear()
        self._kept[ids] = (time.monotonic() + _NAMES_SECONDS, selectors)


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


def _read_ids(process: Path, pid: int) -> _Ids:
    """The IDs in `/proc/<pid>/status`, read in one go so that they fit each other."""
    try:
        with open(f"{process}/status", "rb", buffering=0) as file:  # noqa: PTH123 - twice as fast
            content = file.read(_USUAL_STATUS_BYTES)
            if len(content) == _USUAL_STATUS_BYTES:
                content += file.read(_MAX_STATUS_BYTES)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise Internal(f"failed to get process: process {pid} does not exist") from error
    except OSError as error:
        raise Internal(f"failed to get process: process {pid}: {error.strerror}") from error
    # The first line holds the process's name, which is the process's own choice. The kernel escapes
    # a line feed in it and nothing else that ends a line here. The first of each line counts.
    status: dict[bytes, list[bytes]] = {}
    for name, value in _ID_LINES.findall(content):
        status.setdefault(name, value.split())
    return _Ids(
        uid=_effective(status, b"Uid", "UIDs"),
        gid=_effective(status, b"Gid", "GIDs"),
        groups=tuple(_number(text, "supplementary GIDs") for text in status.get(b"Groups", [])),
    )


def _owner_selectors(ids: _Ids) -> tuple[Selector, ...]:
    return tuple(Selector(_TYPE, value) for value in _owner(ids))


def _owner(ids: _Ids) -> Iterator[str]:
    yield f"uid:{ids.uid}"
    if user := _user_name(ids.uid):
        yield f"user:{user}"
    yield f"gid:{ids.gid}"
    if group := _group_name(ids.gid):
        yield f"group:{group}"
    for gid in ids.groups:
        yield f"supplementary_gid:{gid}"
        if group := _group_name(gid):
            yield f"supplementary_group:{group}"


def _effective(status: Mapping[bytes, list[bytes]], name: bytes, what: str) -> int:
    """The second of the real, effective, saved and file system IDs."""
    ids = status.get(name, [])
    if len(ids) < 2:
        raise Internal(f"{what} lookup: no {what} for process")
    return _number(ids[1], what)


def _number(text: bytes, what: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        shown = text.decode("ascii", "replace")
        raise Internal(f"{what} lookup: {shown!r} is no number") from error


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
