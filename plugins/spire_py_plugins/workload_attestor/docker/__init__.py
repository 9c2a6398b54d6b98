"""WorkloadAttestor `docker` (feature J13)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spire_py.plugin_api.context import PluginContext
from spire_py.runtime.clock import SystemClock
from spire_py_plugins.kubernetes.extra import require_extra
from spire_py_plugins.workload_attestor.container_locator import ContainerLocator
from spire_py_plugins.workload_attestor.docker.attestor import DockerWorkloadAttestor
from spire_py_plugins.workload_attestor.docker.settings import parse_settings


def configure(data: Mapping[str, Any], context: PluginContext) -> DockerWorkloadAttestor:
    """The plugin. `HOST_PROC` in the environment moves `/proc`, as it does for `unix`."""
    require_extra()
    settings = parse_settings(data, context)
    locator = ContainerLocator(
        proc=Path(os.environ.get("HOST_PROC") or "/proc"),
        pods=False,
        verbose=settings.verbose_container_locator_logs,
    )
    return DockerWorkloadAttestor(settings, locator=locator, clock=SystemClock())
