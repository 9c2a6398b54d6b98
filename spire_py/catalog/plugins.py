"""The plugins of a daemon, by type, open until the daemon ends (features B10, B13, B14)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from spire_py.catalog import known
from spire_py.catalog.finder import Finder, Made
from spire_py.config.problems import ConfigProblems, ConfigWarning
from spire_py.errors import InvalidArgument, SpireError
from spire_py.plugin_api.bundle_sink import BundleSink
from spire_py.plugin_api.key_manager import KeyManager
from spire_py.plugin_api.node_attestor import AgentNodeAttestor, ServerNodeAttestor
from spire_py.plugin_api.plugin import Plugin
from spire_py.plugin_api.upstream_authority import UpstreamAuthority
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.telemetry.logs import get_logger, log_config_warnings

if TYPE_CHECKING:
    from spire_py.config.agent import AgentConfig
    from spire_py.config.server import ServerConfig

log = get_logger("catalog")

_SERVER = Finder(
    "server",
    {
        "BundlePublisher": BundleSink,
        "KeyManager": KeyManager,
        "NodeAttestor": ServerNodeAttestor,
        "Notifier": BundleSink,
        "UpstreamAuthority": UpstreamAuthority,
    },
    known.SERVER,
)
_AGENT = Finder(
    "agent",
    {
        "KeyManager": KeyManager,
        "NodeAttestor": AgentNodeAttestor,
        "WorkloadAttestor": WorkloadAttestor,
    },
    known.AGENT,
)


@dataclass(frozen=True, slots=True)
class ServerPlugins:
    """The server's plugins; by name where there may be several.

    Of `upstream_authorities` there is one at most. `loaded` are all of them.
    """

    key_manager: KeyManager
    node_attestors: Mapping[str, ServerNodeAttestor]
    notifiers: Mapping[str, BundleSink]
    bundle_publishers: Mapping[str, BundleSink]
    upstream_authorities: Mapping[str, UpstreamAuthority]
    loaded: tuple[Made, ...]


@dataclass(frozen=True, slots=True)
class AgentPlugins:
    """The agent's plugins. `names` are those of the file, by type, such as for log lines.

    `loaded` are all of them.
    """

    key_manager: KeyManager
    node_attestor: AgentNodeAttestor
    workload_attestors: Mapping[str, WorkloadAttestor]
    key_manager_name: str
    node_attestor_name: str
    loaded: tuple[Made, ...]


@asynccontextmanager
async def load_server_plugins(
    config: ServerConfig, trust_bundle: Watch[Bundle] | None = None
) -> AsyncIterator[ServerPlugins]:
    """The plugins, closed in reverse at the end.

    Args:
        config: of the server.
        trust_bundle: the server's own, which it follows later on; given to the plugins.

    Raises:
        ConfigProblems: some cannot be had or configured; all of them are told.
        InvalidArgument: the upstream authority cannot be opened.
    """
    made, warnings = _SERVER.make(config.plugins, config.server.trust_domain, trust_bundle)
    async with _opened(made, warnings):
        upstream = cast("dict[str, UpstreamAuthority]", _by_name(made, "UpstreamAuthority"))
        for name, authority in upstream.items():
            await _open(name, authority)
        yield ServerPlugins(
            key_manager=cast("KeyManager", _one(made, "KeyManager").plugin),
            node_attestors=cast("dict[str, ServerNodeAttestor]", _by_name(made, "NodeAttestor")),
            notifiers=cast("dict[str, BundleSink]", _by_name(made, "Notifier")),
            bundle_publishers=cast("dict[str, BundleSink]", _by_name(made, "BundlePublisher")),
            upstream_authorities=upstream,
            loaded=tuple(made),
        )


@asynccontextmanager
async def load_agent_plugins(config: AgentConfig) -> AsyncIterator[AgentPlugins]:
    """The plugins, closed in reverse at the end.

    Raises:
        ConfigProblems: some cannot be had or configured; all of them are told.
    """
    made, warnings = _AGENT.make(config.plugins, config.agent.trust_domain)
    async with _opened(made, warnings):
        key_manager, node_attestor = _one(made, "KeyManager"), _one(made, "NodeAttestor")
        yield AgentPlugins(
            key_manager=cast("KeyManager", key_manager.plugin),
            node_attestor=cast("AgentNodeAttestor", node_attestor.plugin),
            workload_attestors=cast(
                "dict[str, WorkloadAttestor]", _by_name(made, "WorkloadAttestor")
            ),
            key_manager_name=key_manager.config.name,
            node_attestor_name=node_attestor.config.name,
            loaded=tuple(made),
        )


def check_server_plugins(config: ServerConfig) -> list[str]:
    """What `run` would find wrong with the plugins, without opening one (feature B14).

    Returns:
        Warnings, one sentence each.

    Raises:
        ConfigProblems: some cannot be had or configured; all of them are told.
    """
    trust_domain = config.server.trust_domain
    _, warnings = _SERVER.make(config.plugins, trust_domain)
    # An agent's in the server's file are ignored; yet what is odd in them goes with them.
    try:
        _, others = _AGENT.make(config.agent_plugins, trust_domain)
    except ConfigProblems as problems:
        others = list(problems.warnings)
    return [str(warning) for warning in (*warnings, *others)]


def check_agent_plugins(config: AgentConfig) -> list[str]:
    """As `check_server_plugins`, for the agent."""
    _, warnings = _AGENT.make(config.plugins, config.agent.trust_domain)
    return [str(warning) for warning in warnings]


@asynccontextmanager
async def _opened(made: Iterable[Made], warnings: Iterable[ConfigWarning]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for one in made:
            stack.push_async_callback(one.plugin.aclose)
            log.info(
                "Plugin loaded",
                external=one.config.is_external,
                plugin_name=one.config.name,
                plugin_type=one.config.type,
            )
        log_config_warnings(log, warnings)
        yield


async def _open(name: str, authority: UpstreamAuthority) -> None:
    try:
        await authority.open()
    except SpireError as error:
        raise InvalidArgument(f'failed to configure plugin "{name}": {error.message}') from error


def _by_name(made: Iterable[Made], plugin_type: str) -> dict[str, Plugin]:
    return {one.config.name: one.plugin for one in made if one.config.type == plugin_type}


def _one(made: Iterable[Made], plugin_type: str) -> Made:
    # The configuration's reader has made sure that there is exactly one.
    (one,) = (one for one in made if one.config.type == plugin_type)
    return one
