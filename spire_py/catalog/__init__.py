"""Finds, configures and closes plugins."""

from __future__ import annotations

from spire_py.catalog.plugins import (
    AgentPlugins,
    ServerPlugins,
    check_agent_plugins,
    check_server_plugins,
    load_agent_plugins,
    load_server_plugins,
)
from spire_py.catalog.surroundings import Surroundings

__all__ = [
    "AgentPlugins",
    "ServerPlugins",
    "Surroundings",
    "check_agent_plugins",
    "check_server_plugins",
    "load_agent_plugins",
    "load_server_plugins",
]
