"""WorkloadAttestor `docker`: the container of a process, by Docker or Podman (feature J13)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from spire_py.errors import FailedPrecondition, NotFound, SpireError, Unavailable
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger
from spire_py_plugins.workload_attestor.container_locator import ContainerLocator, Location
from spire_py_plugins.workload_attestor.docker.engine import Engine
from spire_py_plugins.workload_attestor.docker.settings import DockerSettings
from spire_py_plugins.workload_attestor.host_processes import missing_around_processes

log = get_logger("workload_attestor")

_TYPE = "docker"
_PODMAN_CGROUP = re.compile("libpod-|/libpod/")
_USER_SLICE = re.compile(r"/user-([0-9]{1,10})\.slice/")
_DELEGATED = re.compile(r"/user@([0-9]{1,10})\.service/")
_MAX_UID = 2**32 - 1
_WAITS = tuple(timedelta(milliseconds=each) for each in (100, 200, 400))


class DockerWorkloadAttestor(WorkloadAttestor):
    """Finds a process's container by its cgroups, and asks the engine that runs it.

    Args:
        settings: the plugin's.
        locator: tells the container; without pods.
        clock: for the waits between attempts.
    """

    def __init__(
        self, settings: DockerSettings, *, locator: ContainerLocator, clock: Clock
    ) -> None:
        self._settings = settings
        self._locator = locator
        self._clock = clock

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        paths = self._locator.cgroup_paths(pid)
        if self._settings.matchers:
            where = Location(self._settings.matchers.find(paths))
        else:
            where = await self._locator.locate(pid)
        if not where.container_id:
            return ()
        engine = self._engine(paths)
        config = _config(await self._fetch_container(engine, where.container_id))
        await self._check_outer(where, paths)
        values = [*_container_selectors(config)]
        if digest := await _image_digest(engine, _text(config.get("Image"))):
            values.append(f"image_config_digest:{digest}")
        return tuple(Selector(_TYPE, value) for value in values)

    async def check_surroundings(self) -> Sequence[str]:
        missing = await asyncio.to_thread(missing_around_processes, self._locator.proc, "cgroup")
        usual = (self._docker(), Engine(self._settings.podman_socket))
        engines = [engine for engine in usual if engine.is_there()]
        if not engines and not self._has_podman_of_user():
            # Of the sockets that are not there, Docker's is the one that most look for.
            engines = [self._docker()]
        for engine in engines:
            try:
                await engine.check()
            except SpireError as error:
                missing.append(error.message)
        return missing

    def _has_podman_of_user(self) -> bool:
        template = self._settings.podman_socket_template
        return any(Path("/").glob((template.replace("%d", "*") % ()).lstrip("/")))

    def _docker(self) -> Engine:
        return Engine(self._settings.docker_socket, version=self._settings.docker_version)

    async def _check_outer(self, where: Location, paths: Sequence[str]) -> None:
        """Refuse a container in a container that an engine of ours runs.

        The outer one may make cgroups, and name them like any other container's. In an outer one
        that no engine knows, an engine of its own runs, which is the one that was asked.
        """
        for outer in where.outer:
            around = [path[: path.index(outer) + len(outer)] for path in paths if outer in path]
            try:
                await self._engine(around).fetch_container(outer)
            except NotFound:
                continue
            where.refuse_nested()

    def _engine(self, paths: Sequence[str]) -> Engine:
        """The one that runs the container: Podman names its cgroups in its own way.

        Raises:
            FailedPrecondition: a user named the container's cgroup, whose engine it is not.
        """
        settings = self._settings
        of_podman = next((path for path in paths if _PODMAN_CGROUP.search(path)), None)
        if of_podman is None:
            _check_user(paths, settings.docker_socket)
            return self._docker()
        user = _USER_SLICE.search(of_podman)
        if user is None or int(user[1]) > _MAX_UID:
            return Engine(settings.podman_socket)
        return Engine(Path(settings.podman_socket_template % int(user[1])))

    async def _fetch_container(self, engine: Engine, container_id: str) -> dict[str, Any]:
        """An engine that stumbles is asked again.

        One that is not there, or does not know the container, is not: neither will be otherwise in
        a moment, and on a node whose pods run in containerd each of them would wait for it.
        """
        for wait in _WAITS:
            try:
                return await engine.fetch_container(container_id)
            except NotFound:
                raise
            except SpireError as error:
                if not engine.is_there():
                    raise
                log.debug("Container engine does not answer; will retry", error=error.message)
                await self._clock.sleep(wait)
        return await engine.fetch_container(container_id)


def _check_user(paths: Sequence[str], socket: Path) -> None:
    """A user's own engine may be asked what runs in the cgroups that systemd leaves to the user."""
    for user in (int(user) for path in paths for user in _DELEGATED.findall(path)):
        try:
            owner = socket.stat().st_uid
        except OSError as error:
            raise Unavailable(
                f"cannot connect to the container engine at {socket}: {error.strerror}"
            ) from error
        if owner != user:
            raise FailedPrecondition(
                f"the container's cgroup is of user {user}, and the engine at {socket} is not"
            )


def _config(container: dict[str, Any]) -> dict[str, Any]:
    config = container.get("Config")
    if not isinstance(config, dict):
        raise Unavailable("the engine's answer is no container")
    return config


def _container_selectors(config: dict[str, Any]) -> Iterator[str]:
    labels, environment = config.get("Labels") or {}, config.get("Env") or []
    if not isinstance(labels, dict) or not isinstance(environment, list):
        raise Unavailable("the engine's answer is malformed")
    for name, value in labels.items():
        yield f"label:{name}:{_text(value)}"
    for variable in environment:
        yield f"env:{_text(variable)}"
    if image := _text(config.get("Image")):
        yield f"image_id:{image}"


async def _image_digest(engine: Engine, image: str) -> str:
    """The digest of the image's configuration; empty where it cannot be had, as in SPIRE."""
    if not image:
        return ""
    try:
        return _text((await engine.fetch_image(image)).get("Id"))
    except SpireError as error:
        log.debug("Image cannot be inspected", error=error.message)
        return ""


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unavailable("the engine's answer is malformed")
    return value
