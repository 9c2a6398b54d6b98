"""The agent's configuration (features C1 to C32).

Every key has SPIRE's name and default. `docs/config/agent.md` is the page for users.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from spire_py.config.agent_checks import (
    check_agent,
    check_bootstrap,
    check_experimental,
    warn_of_agent,
)
from spire_py.config.agent_section import AgentSection
from spire_py.config.files import load
from spire_py.config.overrides import override
from spire_py.config.plugins import check_agent_plugins, read_plugins
from spire_py.config.reader import Reader
from spire_py.config.shared import DaemonConfig, FileSection, check_shared
from spire_py.config.tree import Body
from spire_py.config.unavailable import check_agent_keys, check_telemetry

__all__ = [
    "DEFAULT_PATH",
    "MOUNTED_BUNDLES",
    "OVERRIDES",
    "AgentConfig",
    "AgentSection",
    "load_agent_config",
    "read_agent_config",
]

DEFAULT_PATH = Path("conf/agent/agent.conf")

MOUNTED_BUNDLES = Path("/run/spire/bundle")
"""Where guides mount the ConfigMap of the trust bundle."""

_MOUNTED = (("bundle.crt", "pem"), ("bundle.spiffe", "spiffe"))

OVERRIDES: Mapping[str, str] = {
    "allowUnauthenticatedVerifiers": "allow_unauthenticated_verifiers",
    "dataDir": "data_dir",
    "disableSDSAPI": "disable_sds_api",
    "disableWorkloadAPI": "disable_workload_api",
    "insecureBootstrap": "insecure_bootstrap",
    "joinToken": "join_token",
    "joinTokenFile": "join_token_file",
    "logFile": "log_file",
    "logFormat": "log_format",
    "logLevel": "log_level",
    "logSourceLocation": "log_source_location",
    "rebootstrapDelay": "rebootstrap_delay",
    "rebootstrapMode": "rebootstrap_mode",
    "serverAddress": "server_address",
    "serverPort": "server_port",
    "socketPath": "socket_path",
    "trustBundle": "trust_bundle_path",
    "trustBundleFormat": "trust_bundle_format",
    "trustBundleUrl": "trust_bundle_url",
    "trustDomain": "trust_domain",
}
"""The flags of `run`, and the key of `agent` that each sets (feature F1)."""


class AgentConfig(DaemonConfig):
    """The whole of the agent's file, checked."""

    agent: AgentSection


class _File(FileSection):
    """The top level of the file."""

    required: ClassVar[Mapping[str, str]] = {"agent": "agent section must be configured"}
    placeholders: ClassVar[Mapping[str, Any]] = {"agent": AgentSection.placeholders}

    agent: AgentSection


def load_agent_config(
    path: Path = DEFAULT_PATH,
    *,
    expand_env: bool = False,
    overrides: Mapping[str, str] | None = None,
    mounted_bundles: Path = MOUNTED_BUNDLES,
    runs_here: bool = True,
) -> AgentConfig:
    """Read and check the agent's file.

    Args:
        path: HCL 1 or JSON.
        expand_env: replace variables of the environment first.
        overrides: values by flag or by key, see `OVERRIDES`; they win over the file.
        mounted_bundles: where to look for a trust bundle when none is configured.
        runs_here: False where the file is only looked at: that the mounted bundle is not on this
            machine is no fault of the file then.

    Raises:
        NotFound: there is no such file.
        ConfigProblems: something is wrong; all of it is told.
        InvalidArgument: the file cannot be read or parsed.
    """
    return read_agent_config(
        load(path, expand_env).body,
        overrides=overrides,
        mounted_bundles=mounted_bundles,
        runs_here=runs_here,
    )


def read_agent_config(
    body: Body,
    *,
    overrides: Mapping[str, str] | None = None,
    mounted_bundles: Path = MOUNTED_BUNDLES,
    runs_here: bool = True,
) -> AgentConfig:
    """As `load_agent_config`, from what was parsed already."""
    reader = Reader()
    body = override(body, "agent", overrides or {}, OVERRIDES, reader)
    file = reader.read(_File, body)
    agent = _with_mounted_bundle(file.agent, mounted_bundles, reader, runs_here)
    check_shared(file.health_checks, file.telemetry, reader)
    check_bootstrap(agent, reader)
    check_agent(agent, reader)
    check_experimental(agent, reader)
    warn_of_agent(agent, reader)
    check_agent_keys(agent, reader)
    check_telemetry(file.telemetry, reader)
    plugins = read_plugins(file.plugins, reader.problems, reader.warnings)
    if file.plugins is None:
        reader.fault("plugins section must be configured")
    else:
        reader.problems.extend(check_agent_plugins(plugins))
    reader.check()
    return AgentConfig(
        agent=agent,
        plugins=plugins,
        telemetry=file.telemetry,
        health_checks=file.health_checks,
        warnings=tuple(reader.warnings),
    )


def _has_bootstrap(agent: AgentSection) -> bool:
    return bool(
        agent.insecure_bootstrap
        or agent.trust_bundle_path
        or agent.trust_bundle_url
        or agent.trust_bundle_spiffe_workload_api
    )


def _with_mounted_bundle(
    agent: AgentSection, mounted: Path, reader: Reader, runs_here: bool
) -> AgentSection:
    """Take the bundle that guides mount, where none is configured (SPIRE refuses to start)."""
    if _has_bootstrap(agent):
        return agent
    for name, bundle_format in _MOUNTED:
        path = mounted / name
        if path.is_file():
            reader.warn(
                f"no trust bundle is configured; using {path}; please set trust_bundle_path = "
                f'"{path}" and trust_bundle_format = "{bundle_format}"',
                "agent",
            )
            return agent.model_copy(
                update={"trust_bundle_path": str(path), "trust_bundle_format": bundle_format}
            )
    places = " or ".join(str(mounted / name) for name, _ in _MOUNTED)
    if runs_here:
        reader.fault(
            "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be "
            f"configured unless insecure_bootstrap is set; nor is there {places}",
            "agent",
        )
    else:
        reader.warn(
            "no trust bundle is configured: the agent will start only where there is "
            f"{places}; please set trust_bundle_path, trust_bundle_url, or "
            "trust_bundle_spiffe_workload_api",
            "agent",
        )
    return agent
