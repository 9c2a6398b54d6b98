"""Which container and pod a process runs in, by its cgroups (feature J7, wire facts 9)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spire_py.errors import FailedPrecondition, Internal
from spire_py.telemetry.logs import get_logger

log = get_logger("workload_attestor")

_MAX_CGROUP_BYTES = 256 * 1024
_MAX_MOUNTINFO_BYTES = 4 * 1024 * 1024
_CGROUP_TYPES = frozenset({"cgroup", "cgroup2"})
_CONTAINER_ID = re.compile(r"\b[0-9a-fA-F]{64}\b", re.ASCII)
_HEX = "[0-9a-fA-F]"
_POD_UID = re.compile(
    rf"\bpod({_HEX}{{8}}[-_]{_HEX}{{4}}[-_]{_HEX}{{4}}[-_]{_HEX}{{4}}[-_]{_HEX}{{12}})\b", re.ASCII
)
_STATIC_POD_UID = re.compile(rf"\bpod({_HEX}{{32}})\b", re.ASCII)
"""A static pod's UID is a hash. It is no key to the pod list, but it is a pod."""


_DELEGATED = re.compile(r"/(user@[0-9]+\.service)(?=/)", re.ASCII)
"""Below it, systemd leaves the cgroups to a user, who names them at will."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where a process runs; empty outside of containers, the pod UID also where none is told.

    Attributes:
        container_id: the innermost container's.
        pod_uid: of the pod around it.
        outer: IDs of containers around it, the outermost first, within the pod if there is one.
            Whoever is in one of them may have made the inner cgroup, and chosen its name.
    """

    container_id: str = ""
    pod_uid: str = ""
    outer: tuple[str, ...] = ()

    def refuse_nested(self) -> None:
        """For those who take a container's name for the runtime's word.

        Raises:
            FailedPrecondition: there are containers around it.
        """
        _only((*self.outer, self.container_id), "container IDs")


class ContainerLocator:
    """Reads `/proc/<pid>/cgroup`, which the kernel writes.

    `mountinfo` may tell more, but it shows what a process has mounted, which anybody may choose. So
    only this agent's own is consulted, and only for processes in this agent's own cgroup: what they
    run in is this agent's container.

    Args:
        proc: where the host's `/proc` is mounted.
        pods: look for pods as well.
        fall_back: consult mountinfo for this agent's own container.
        verbose: log each path that is looked at, at level debug.
    """

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        pods: bool = True,
        fall_back: bool = True,
        verbose: bool = False,
    ) -> None:
        self._proc = proc
        self._pods = pods
        self._fall_back = fall_back
        self._verbose = verbose

    @property
    def proc(self) -> Path:
        """Where the host's `/proc` is mounted."""
        return self._proc

    async def locate(self, pid: int) -> Location:
        """Where the process runs.

        Raises:
            FailedPrecondition: its cgroups name several containers or pods.
            Internal: what the kernel says cannot be read.
        """
        paths = self.cgroup_paths(pid)
        found = self._locate_in(paths)
        if found.container_id or not self._fall_back or paths != self.cgroup_paths("self"):
            return found
        roots = await asyncio.to_thread(self._mount_roots)
        self._show("PID mount enumerated", roots)
        return self._locate_in(roots)

    def _locate_in(self, paths: list[str]) -> Location:
        """Pods are none of what a user named, unless this agent is such a user's, and so is all."""
        if self._pods and any(map(_DELEGATED.search, paths)):
            own = {name for path in self.cgroup_paths("self") for name in _DELEGATED.findall(path)}
            paths = [path for path in paths if own.issuperset(_DELEGATED.findall(path))]
        return locate_in(paths, pods=self._pods)

    def cgroup_paths(self, pid: int | str) -> list[str]:
        """The paths of the process's cgroups; none where there is no such process.

        Raises:
            Internal: they cannot be read.
        """
        # The kernel answers this one from memory, in microseconds.
        paths = _cgroup_paths(self._read(pid, "cgroup", _MAX_CGROUP_BYTES))
        self._show("PID cgroup enumerated", paths)
        return paths

    def _mount_roots(self) -> list[str]:
        return _cgroup_mount_roots(self._read("self", "mountinfo", _MAX_MOUNTINFO_BYTES))

    def _read(self, pid: int | str, name: str, most: int) -> str:
        """The file; empty where there is none, which ends in no selectors at all."""
        path = self._proc / str(pid) / name
        try:
            with path.open("rb") as file:
                content = file.read(most + 1)
        except (FileNotFoundError, ProcessLookupError):
            return ""
        except OSError as error:
            raise Internal(f"unable to read {path}: {error.strerror}") from error
        if len(content) > most:
            raise Internal(f"{path} is longer than {most} bytes")
        return content.decode("utf-8", "surrogateescape")

    def _show(self, message: str, paths: list[str]) -> None:
        if self._verbose:
            for index, path in enumerate(paths, 1):
                log.debug(message, index=index, total=len(paths), path=ascii(path))


def locate_in(paths: Iterable[str], *, pods: bool = True) -> Location:
    """What the paths of one process's cgroups say together; those that name a pod count first.

    Raises:
        FailedPrecondition: they contradict each other.
    """
    found = [each for each in (_parse_path(path, pods=pods) for path in paths) if each.container_id]
    # On a kind node, some of the paths are the node's, which is a container without a pod.
    found = [each for each in found if each.pod_uid] or found
    return Location(
        container_id=_only((each.container_id for each in found), "container IDs"),
        pod_uid=_only((each.pod_uid for each in found), "pod UIDs"),
        outer=tuple(dict.fromkeys(outer for each in found for outer in each.outer)),
    )


def _parse_path(path: str, *, pods: bool) -> Location:
    """The last container ID in a path, and the pod before it."""
    matches = list(_CONTAINER_ID.finditer(path))
    if not matches:
        return Location()
    last = matches[-1]
    before = path[: last.start()]
    uid, end = _pod(before) if pods else ("", 0)
    outer = dict.fromkeys(_CONTAINER_ID.findall(before[end:]))
    outer.pop(last[0], None)
    return Location(last[0], uid, tuple(outer))


def _pod(path: str) -> tuple[str, int]:
    """The pod that a path names, and where that name ends; empty for none or a static one.

    A path through two pods would let a container that may make cgroups pass for another pod's.
    """
    matches = (*_STATIC_POD_UID.finditer(path), *_POD_UID.finditer(path))
    uid = _only((match[1].replace("_", "-") for match in matches), "pod UIDs")
    end = max((match.end() for match in matches), default=0)
    return (uid if "-" in uid else ""), end


def _only(values: Iterable[str], what: str) -> str:
    """The one value; empty for none."""
    different = list(dict.fromkeys(values))
    if len(different) > 1:
        raise FailedPrecondition(f'multiple {what} found ("{different[0]}", "{different[1]}")')
    return different[0] if different else ""


def _cgroup_paths(content: str) -> list[str]:
    """The paths in `/proc/<pid>/cgroup`: `hierarchy:controllers:path`, see cgroups(7)."""
    paths: list[str] = []
    for line in _lines(content):
        fields = line.split(":", 2)
        if len(fields) < 3:
            raise Internal(
                f"unable to obtain cgroups: invalid cgroup entry, contains {len(fields)} colon "
                f"separated fields but expected at least 3: {line!a}"
            )
        paths.append(fields[2])
    return paths


def _cgroup_mount_roots(content: str) -> list[str]:
    """Which cgroups are mounted, by `/proc/<pid>/mountinfo`, see proc(5); not the root cgroup."""
    roots: list[str] = []
    for line in _lines(content):
        # Fields are parted by one space each; an empty mount source is a field too.
        fields = line.split(" ")
        try:
            kind = fields[fields.index("-", 6) + 1]
        except (ValueError, IndexError) as error:
            raise Internal(f"failed to parse mount info: malformed line {line[:200]!a}") from error
        if kind in _CGROUP_TYPES and fields[3] != "/":
            roots.append(fields[3])
    return roots


def _lines(content: str) -> Iterator[str]:
    # Only a line feed ends a line: no other separator of Python's may, as paths can hold them.
    return (line for line in content.split("\n") if line)
