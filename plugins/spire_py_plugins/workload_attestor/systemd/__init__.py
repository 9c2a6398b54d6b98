"""WorkloadAttestor `systemd` (feature J14)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py_plugins.extras import require_libraries

if TYPE_CHECKING:
    from spire_py_plugins.workload_attestor.systemd.attestor import SystemdWorkloadAttestor


def configure(data: Mapping[str, Any], context: PluginContext) -> SystemdWorkloadAttestor:  # noqa: ARG001 - the shape of all factories
    """The plugin, which has no settings.

    Raises:
        InvalidArgument: there are some, or the extra `systemd` is not installed.
    """
    if data:
        keys = ", ".join(data)
        raise InvalidArgument(f"no supported configuration interface found: remove {keys}")
    require_libraries("systemd", "jeepney")
    from spire_py_plugins.workload_attestor.systemd.attestor import SystemdWorkloadAttestor

    return SystemdWorkloadAttestor()
