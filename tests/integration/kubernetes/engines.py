"""Container engines of our own, Docker's and Podman's, with one image and in one cgroup."""

from __future__ import annotations

import io
import os
import re
import select
import shutil
import signal
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.integration.daemons import Process, stack_folder

IMAGE = "sleeper:v1"
IMAGE_LABEL = "org.example.made-by:tests"
IMAGE_ENV = "FROM=image"
_SLEEP = ("/bin/sleep", "300")
END_SECONDS = 20.0


@dataclass
class Engine:
    """An engine that runs.

    Attributes:
        socket: where it listens.
        parent: the cgroup, as a path, below which all of its containers are.
    """

    socket: Path
    parent: str
    api: httpx2.Client

    def create(
        self, host: Mapping[str, Any] | None = None, *, below: str = "/engine", **config: Any
    ) -> str:
        """A container that will sleep, in a cgroup below `parent`: its ID."""
        body = {
            "Image": IMAGE,
            "Cmd": _SLEEP,
            "HostConfig": {
                "NetworkMode": "none",
                "CgroupParent": f"{self.parent}{below}",
                **(host or {}),
            },
            **config,
        }
        container: str = self._post("/containers/create", json=body).json()["Id"]
        return container

    def run(self, container: str) -> int:
        """Start what was created: the pid of its process, 0 when that is done already."""
        self._post(f"/containers/{container}/start")
        pid: int = self.api.get(f"/containers/{container}/json").json()["State"]["Pid"]
        return pid

    def start(self, host: Mapping[str, Any] | None = None, **options: Any) -> tuple[str, int]:
        """`create` and `run`: ID and pid."""
        container = self.create(host, **options)
        return container, self.run(container)

    def execute(self, container: str) -> int:
        """One more process in the container: its pid."""
        made = self._post(f"/containers/{container}/exec", json={"Cmd": _SLEEP}).json()["Id"]
        self._post(f"/exec/{made}/start", json={"Detach": True})
        pid: int = self.api.get(f"/exec/{made}/json").json()["Pid"]
        return pid

    def end(self, container: str) -> None:
        """Kill the container's processes, and return when they are gone."""
        self._post(f"/containers/{container}/kill")
        self._post(f"/containers/{container}/wait")

    def output(self, container: str) -> str:
        """What a container with a terminal has printed when it is done."""
        self._post(f"/containers/{container}/wait")
        return self.api.get(f"/containers/{container}/logs?stdout=1&stderr=1").text

    def image_digest(self) -> str:
        """As the selector has it."""
        digest: str = self.api.get(f"/images/{IMAGE}/json").json()["Id"]
        return f"sha256:{digest.removeprefix('sha256:')}"

    def load_image(self) -> None:
        changes = [f"LABEL {IMAGE_LABEL.replace(':', '=')}", f"ENV {IMAGE_ENV}"]
        self._post(
            "/images/create",
            params={"fromSrc": "-", "repo": IMAGE, "changes": changes},
            headers={"Content-Type": "application/x-tar"},
            content=root_file_system("sleep"),
        )

    def remove_all(self) -> None:
        for container in self.api.get("/containers/json?all=true").json():
            self.api.delete(f"/containers/{container['Id']}?force=true").raise_for_status()

    def _post(self, path: str, **options: Any) -> httpx2.Response:
        answer = self.api.post(path, **options)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer


def root_file_system(*programs: str | Path) -> bytes:
    """An archive with programs of this machine, in `/bin`, and what they are linked to."""
    archive = io.BytesIO()
    linked: set[str] = set()
    with tarfile.open(fileobj=archive, mode="w") as files:
        for program in programs:
            found = shutil.which(program)
            assert found, f"this machine has no {program}"
            files.add(Path(found).resolve(), f"bin/{Path(program).name}")
            answer = subprocess.run(["ldd", found], capture_output=True, text=True, check=False)
            linked.update(re.findall(r"(/\S+) \(0x", answer.stdout))
        for library in sorted(linked):
            files.add(Path(library).resolve(), library.lstrip("/"))
    return archive.getvalue()


@contextmanager
def docker_engine(program: Path) -> Iterator[Engine]:
    """Docker's engine, on a containerd of its own.

    Args:
        program: dockerd; containerd and runc are beside it, or found by `PATH`.
    """
    beside = [program.parent, program.parent.parent / "bin"]
    path = os.pathsep.join([*map(str, beside), os.environ["PATH"]])
    containerd = shutil.which("containerd", path=path)
    assert containerd, f"no containerd beside {program} or in the PATH"
    with stack_folder() as folder, _parent_cgroup() as parent:
        socket, below = folder / "docker.sock", folder / "containerd.sock"
        (folder / "containerd.toml").write_text(_containerd_configuration(folder, below))
        with (
            _daemon(
                [containerd, "--config", f"{folder}/containerd.toml"],
                {"PATH": path},
                ready="successfully booted",
            ),
            _daemon(
                [
                    *(str(program), "--iptables=false", "--bridge=none"),
                    *("--storage-driver=vfs", "--cgroup-parent", f"{parent}/engine"),
                    *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
                    *("--host", f"unix://{socket}", "--pidfile", f"{folder}/pid"),
                    *("--containerd", str(below)),
                ],
                {"PATH": path},
                ready="API listen on",
            ),
            _engine(socket, parent) as engine,
        ):
            yield engine
        _unmount_all(folder)


def _containerd_configuration(folder: Path, socket: Path) -> str:
    plugins = ("cri", "aufs", "btrfs", "devmapper", "zfs")
    names = ", ".join(f'"io.containerd.snapshotter.v1.{each}"' for each in plugins[1:])
    return f"""
        version = 2
        root = "{folder}/containerd-root"
        state = "{folder}/containerd-state"
        disabled_plugins = ["io.containerd.grpc.v1.cri", {names}]
        [grpc]
          address = "{socket}"
    """


@contextmanager
def podman_engine(program: Path) -> Iterator[Engine]:
    """Podman's service, as root.

    Args:
        program: podman; conmon and a runtime are where its configuration says.
    """
    with stack_folder() as folder, _parent_cgroup() as parent:
        socket = folder / "podman.sock"
        # crun refuses hosts with both versions of cgroups. Limits cannot be raised everywhere.
        runtime = "runc" if shutil.which("runc") else "crun"
        (folder / "containers.conf").write_text(
            f"""
            [containers]
            default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
            [engine]
            cgroup_manager = "cgroupfs"
            events_logger = "file"
            runtime = "{runtime}"
            """
        )
        with (
            _daemon(
                [
                    *(str(program), "--root", f"{folder}/root", "--runroot", f"{folder}/run"),
                    *("--tmpdir", f"{folder}/tmp", "--storage-driver=vfs", "--log-level=info"),
                    *("system", "service", "--time=0", f"unix://{socket}"),
                ],
                {"CONTAINERS_CONF": f"{folder}/containers.conf"},
                ready="API service listening on",
            ),
            _engine(socket, parent) as engine,
        ):
            yield engine
        _unmount_all(folder)


@contextmanager
def _daemon(command: list[str], environment: dict[str, str], *, ready: str) -> Iterator[None]:
    daemon = Process(command, environment=environment)
    try:
        try:
            daemon.wait_for(ready)
        except AssertionError:
            last = "\n".join(daemon.lines[-15:])
            pytest.fail(
                f"{command[0]} does not run on this machine, as root; it needs to mount, and "
                f"cgroups that it may write. Its last words:\n{last}",
                pytrace=False,
            )
        yield
    finally:
        daemon.stop()


@contextmanager
def _engine(socket: Path, parent: str) -> Iterator[Engine]:
    transport = httpx2.HTTPTransport(uds=str(socket))
    with httpx2.Client(transport=transport, base_url="http://engine", timeout=60) as api:
        engine = Engine(socket, parent, api)
        engine.load_image()
        try:
            yield engine
        finally:
            engine.remove_all()


def _mounts() -> list[tuple[Path, str]]:
    """Where something is mounted, and its kind."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [(Path(where), kind) for _, where, kind, *_ in (line.split(" ") for line in lines)]


def _unmount_all(folder: Path) -> None:
    """Docker's engine leaves its own network namespace mounted."""
    for where, _ in reversed(_mounts()):
        if where.is_relative_to(folder):
            subprocess.run(["umount", where], check=True)


def hierarchies() -> list[Path]:
    """Where the machine's cgroups are mounted."""
    return [where for where, kind in _mounts() if kind in {"cgroup", "cgroup2"}]


@contextmanager
def _parent_cgroup() -> Iterator[str]:
    """The path of a cgroup that is removed at the end, with all below it."""
    path = f"/spire-py-{uuid.uuid4()}"
    with ExitStack() as removals:
        for hierarchy in hierarchies():
            removals.callback(_remove_cgroup, hierarchy / path.lstrip("/"))
        yield path


def _remove_cgroup(root: Path) -> None:
    for folder, _, _ in os.walk(root, topdown=False):
        # Podman's watchers outlive what was executed in a container by five minutes.
        while pids := (Path(folder) / "cgroup.procs").read_text().split():
            for pid in pids:
                _end(int(pid))
        Path(folder).rmdir()


def _end(pid: int) -> None:
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(watched, signal.SIGKILL)
        assert select.select([watched], [], [], END_SECONDS)[0], f"process {pid} does not end"
    finally:
        os.close(watched)


def place(pid: int, path: str) -> None:
    """Move a process into a cgroup, which is made, in each of the machine's hierarchies."""
    for hierarchy in hierarchies():
        folder = hierarchy
        for segment in path.strip("/").split("/"):
            above, folder = folder, folder / segment
            folder.mkdir(exist_ok=True)
            # A process may be only where there are processors and memory for it.
            for name in ("cpuset.cpus", "cpuset.mems"):
                if hierarchy.name == "cpuset" and not (folder / name).read_text().strip():
                    (folder / name).write_text((above / name).read_text())
        (folder / "cgroup.procs").write_text(str(pid))
