"""The composition root of the server: opens what it needs in order, and runs it in one group."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from spire_py.catalog import ServerPlugins, Surroundings, load_server_plugins
from spire_py.config.server import ServerConfig, ServerSection
from spire_py.crypto.subject import CASubject
from spire_py.errors import FailedPrecondition, SpireError
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.runtime.watch import Watch
from spire_py.server.bundle_publishing import BundlePublishing
from spire_py.server.ca.ca import CA, SVIDDefaults
from spire_py.server.ca.manager import CAManager, CASettings
from spire_py.server.ca.upstream import UpstreamClient
from spire_py.server.datastore import Datastore, Page, open_datastore
from spire_py.server.endpoints import Endpoints
from spire_py.server.pruner import AgentPruner, Pruner
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.health import HealthRegistry
from spire_py.telemetry.logs import (
    Logging,
    configure_logging,
    get_logger,
    log_config_warnings,
)
from spire_py.transport.health import serve_health
from spire_py.version import SPIRE_VERSION

_DATA_DIR_MODE = 0o755

log = get_logger()


async def serve(config: ServerConfig) -> None:
    """Be a server until cancelled.

    Raises:
        SpireError: it cannot start, or something it cannot do without has failed; one line says
            why.
    """
    section = config.server
    logging = configure_logging(
        section.log_level, section.log_format, section.log_file, section.log_source_location
    )
    log_config_warnings(log, config.warnings)
    log.info(
        "Configured",
        admin_ids=[str(admin) for admin in section.admin_ids],
        data_dir=section.data_dir,
        launch_log_level=str(logging.levels.launch),
        version=SPIRE_VERSION,
    )
    try:
        await _serve(config, logging, SystemClock())
    except SpireError as error:
        log.error("Fatal run error", error=error.message)
        log.error("Server crashed", error=error.message)
        raise
    except BaseExceptionGroup as group:
        log.error("Server crashed", error=str(group.exceptions[0]))
        raise
    except asyncio.CancelledError:
        log.info("Server stopped gracefully")
        raise


async def _serve(config: ServerConfig, logging: Logging, clock: Clock) -> None:
    section = config.server
    _make_data_directory(Path(section.data_dir))
    trust_bundle = Watch(Bundle(section.trust_domain))
    async with (
        load_server_plugins(config, trust_bundle) as plugins,
        open_datastore(config.datastore, clock=clock) as datastore,
    ):
        await check_trust_domain(datastore, section.trust_domain)
        async with _open_ca(config, plugins, datastore, trust_bundle, clock) as (ca, manager):
            endpoints = Endpoints(
                section=section,
                datastore=datastore,
                ca=ca,
                attestors=plugins.node_attestors,
                levels=logging.levels,
                clock=clock,
            )
            await endpoints.load()
            publishing = BundlePublishing(
                trust_domain=section.trust_domain,
                notifiers=plugins.notifiers,
                publishers=plugins.bundle_publishers,
                bundles=endpoints.bundles.bundles,
                store=datastore,
                clock=clock,
            )
            async with (
                _listening(endpoints),
                _reopening_logs(logging),
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(manager.run(), name="ca manager")
                tasks.create_task(endpoints.run(), name="endpoints")
                tasks.create_task(publishing.run(), name="bundle publishing")
                for pruner in _pruners(section, datastore, clock):
                    tasks.create_task(pruner.run(), name="pruner")
                surroundings = Surroundings(plugins.loaded, clock=clock)
                tasks.create_task(surroundings.run(), name="surroundings")
                tasks.create_task(
                    _watch_health(config, endpoints, surroundings, clock), name="health"
                )


def _pruners(
    section: ServerSection, datastore: Datastore, clock: Clock
) -> list[Pruner | AgentPruner]:
    pruners: list[Pruner | AgentPruner] = [
        Pruner(
            store=datastore,
            clock=clock,
            events_older_than=section.experimental.prune_events_older_than,
        )
    ]
    if section.prune_attested_nodes_expired_for is not None:
        pruners.append(
            AgentPruner(
                store=datastore,
                clock=clock,
                expired_for=section.prune_attested_nodes_expired_for,
                include_non_reattestable=section.prune_tofu_nodes,
                batch_size=section.prune_attested_nodes_batch_size,
            )
        )
    return pruners


def _make_data_directory(path: Path) -> None:
    try:
        path.mkdir(mode=_DATA_DIR_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise FailedPrecondition(
            f"unable to create data directory {path}: {error.strerror}"
        ) from error


async def check_trust_domain(datastore: Datastore, trust_domain: TrustDomain) -> None:
    """Refuse a database that was made for another trust domain; its agents are only warned of.

    Raises:
        FailedPrecondition: there is an entry of another trust domain.
    """
    entries, _ = await datastore.list_entries(page=Page(1))
    for entry in entries:
        if entry.spiffe_id.trust_domain != trust_domain:
            raise FailedPrecondition(
                f"a registration entry with trust domain '{entry.spiffe_id.trust_domain}' has "
                "been detected, which does not match the configured trust domain of "
                f"'{trust_domain}'. If you want to change the trust domain, please delete all "
                "existing registration entries"
            )
    agents, _ = await datastore.list_agents(page=Page(1))
    for agent in agents:
        if agent.id.trust_domain != trust_domain:
            log.warning(
                "An attested node of another trust domain has been detected. Agents may need to "
                "be reconfigured to use the new trust domain",
                spiffe_id=str(agent.id),
                trust_domain_id=str(trust_domain.id),
            )


@asynccontextmanager
async def _open_ca(
    config: ServerConfig,
    plugins: ServerPlugins,
    datastore: Datastore,
    trust_bundle: Watch[Bundle],
    clock: Clock,
) -> AsyncIterator[tuple[CA, CAManager]]:
    """The CA, able to sign, and what keeps it so."""
    section = config.server
    ca = CA(
        trust_domain=section.trust_domain,
        clock=clock,
        defaults=SVIDDefaults(
            x509_svid_ttl=section.default_x509_svid_ttl,
            jwt_svid_ttl=section.default_jwt_svid_ttl,
            agent_ttl=section.agent_ttl,
            ca_ttl=section.ca_ttl,
            jwt_issuer=section.jwt_issuer,
        ),
        trust_bundle=trust_bundle,
    )
    settings = _ca_settings(section)
    try:
        yield (
            ca,
            await CAManager.load(
                ca=ca,
                key_manager=plugins.key_manager,
                store=datastore,
                clock=clock,
                settings=settings,
                upstream=_upstream_client(plugins, section.trust_domain, settings),
            ),
        )
    finally:
        await ca.aclose()


def _upstream_client(
    plugins: ServerPlugins, trust_domain: TrustDomain, settings: CASettings
) -> UpstreamClient | None:
    for name, plugin in plugins.upstream_authorities.items():
        return UpstreamClient(
            plugin,
            name,
            trust_domain=trust_domain,
            subject=settings.ca_subject,
            ttl=settings.ca_ttl,
        )
    return None


def _ca_settings(section: ServerSection) -> CASettings:
    subject = section.effective_ca_subject
    return CASettings(
        ca_key_type=section.ca_keys,
        jwt_key_type=section.jwt_keys,
        ca_ttl=section.ca_ttl,
        ca_subject=CASubject(
            country=subject.country,
            organization=subject.organization,
            common_name=subject.common_name,
        ),
        disable_jwt_svids=section.disable_jwt_svids,
    )


@asynccontextmanager
async def _listening(endpoints: Endpoints) -> AsyncIterator[None]:
    try:
        await endpoints.listen()
        yield
    finally:
        await endpoints.aclose()


@asynccontextmanager
async def _reopening_logs(logging: Logging) -> AsyncIterator[None]:
    """SIGUSR2 opens the log file anew (feature A18)."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGUSR2, logging.reopen)
    except (RuntimeError, ValueError):
        # Signals reach the main thread only; a server in another one, as in tests, has none.
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGUSR2)


async def _watch_health(
    config: ServerConfig, endpoints: Endpoints, surroundings: Surroundings, clock: Clock
) -> None:
    """Check the health in rounds, and tell whoever asks over HTTP where that is on."""
    registry = HealthRegistry(clock=clock)
    checks = endpoints.health
    registry.add("server", checks.server)
    registry.add("server.ca", checks.ca)
    registry.add("catalog.datastore", checks.datastore)
    registry.add_remarks("plugins", surroundings.missing)
    settings = config.health_checks
    if not settings.listener_enabled:
        await registry.run()
        return
    await registry.check_now()
    async with serve_health(settings, registry):
        await registry.run()
