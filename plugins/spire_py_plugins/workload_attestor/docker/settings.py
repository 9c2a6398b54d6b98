"""The settings of the workload attestor `docker` (feature J13)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py_plugins.workload_attestor.docker.matchers import CgroupMatchers

_SCHEME = "unix://"
_DOCKER = "unix:///var/run/docker.sock"
_PODMAN = "unix:///run/podman/podman.sock"
_PODMAN_TEMPLATE = "unix:///run/user/%d/podman/podman.sock"
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """All settings.

    Attributes:
        docker_socket: of the Docker engine.
        podman_socket: of Podman, run by root.
        podman_socket_template: of Podman, run by a user, with `%d` for the user's ID.
        docker_version: of the engine's API; empty for its own.
        matchers: how to find a container's ID; None for the container locator.
        verbose_container_locator_logs: log each path.
    """

    docker_socket: Path = Path("/var/run/docker.sock")
    podman_socket: Path = Path("/run/podman/podman.sock")
    podman_socket_template: str = "/run/user/%d/podman/podman.sock"
    docker_version: str = ""
    matchers: CgroupMatchers | None = None
    verbose_container_locator_logs: bool = False


def parse_settings(data: Mapping[str, Any], context: PluginContext) -> DockerSettings:
    """Read the plugin's data.

    Raises:
        InvalidArgument: something is wrong with it; the message names all of it.
    """
    settings = Settings(data, context)
    read = DockerSettings(
        docker_socket=Path(_socket(settings, "docker_socket_path", _DOCKER)),
        podman_socket=Path(_socket(settings, "podman_socket_path", _PODMAN)),
        podman_socket_template=_template(settings),
        docker_version=_version(settings),
        matchers=_matchers(settings, context),
        verbose_container_locator_logs=settings.flag("verbose_container_locator_logs"),
    )
    if settings.has("sigstore"):
        settings.fault(
            "sigstore is not available in this release, which would attest containers whose "
            "images nobody signed"
        )
    settings.finish()
    return read


def _socket(settings: Settings, key: str, default: str) -> str:
    text = settings.text(key) or default
    if not text.startswith(f"{_SCHEME}/"):
        settings.fault(f"{key} must be unix:// and the absolute path of a socket")
    return text.removeprefix(_SCHEME)


def _template(settings: Settings) -> str:
    key = "podman_socket_path_template"
    template = _socket(settings, key, _PODMAN_TEMPLATE)
    # What Go calls verbs: `%%` is a percent sign, `%d` the user's ID.
    verbs = re.findall(r"%(.?)", template, re.DOTALL)
    if "" in verbs:
        settings.fault(f"invalid {key}: trailing % at end of template")
    elif not set(verbs) <= {"%", "d"}:
        settings.fault(
            f"invalid {key}: template only supports escaped %% or the %d UID placeholder"
        )
    elif verbs.count("d") != 1:
        settings.fault(f"invalid {key}: template must contain exactly one %d UID placeholder")
    return template


def _version(settings: Settings) -> str:
    version = settings.text("docker_version").removeprefix("v")
    if version and not _VERSION.fullmatch(version):
        settings.fault("docker_version must be the version of an API, such as 1.41")
    return version


def _matchers(settings: Settings, context: PluginContext) -> CgroupMatchers | None:
    patterns = settings.texts("container_id_cgroup_matchers")
    located = settings.flag("use_new_container_locator", True)
    if not patterns:
        return None
    if located:
        # Guides set both; SPIRE refuses that. The locator finds what their patterns are for.
        context.warnings.append(
            "container_id_cgroup_matchers has no effect unless use_new_container_locator is false"
        )
        return None
    try:
        return CgroupMatchers(patterns)
    except InvalidArgument as error:
        settings.fault(error.message)
        return None
