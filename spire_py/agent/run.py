"""The agent's composition root: what there is, how it hangs together, in which order it starts."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from spire_py.agent.agent_svid import AgentSVID, IssuedSVID, SVIDKeeper
from spire_py.agent.api.debug import AgentFacts, DebugServicer
from spire_py.agent.api.explain import ExplainServicer
from spire_py.agent.api.logger import LoggerServicer
from spire_py.agent.attestation import Reattestation
from spire_py.agent.bootstrap import Bootstrap, FirstIdentity, join_token_or, store_identity
from spire_py.agent.change_listener import ChangeListener
from spire_py.agent.endpoints import Serving, agent_services, open_endpoints, serve_admin
from spire_py.agent.health import WorkloadAPIProbe
from spire_py.agent.jwt_cache import CALL_TIMEOUT, JWTCache
from spire_py.agent.rebootstrap import Rebootstrap, Rebootstrapping
from spire_py.agent.rotation import RotationStrategy
from spire_py.agent.server_client import ServerClient
from spire_py.agent.server_connection import ServerAddress, open_channel
from spire_py.agent.starting import Start
from spire_py.agent.storage import AgentStorage
from spire_py.agent.svid_refresher import SVIDRefresher
from spire_py.agent.sync import Synchronizer
from spire_py.agent.taint import TaintResponder
from spire_py.agent.workload_attestation import WorkloadAttestation
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.catalog import AgentPlugins, Surroundings, load_agent_plugins
from spire_py.config.agent import AgentConfig, AgentSection
from spire_py.config.shared import HealthChecks
from spire_py.errors import PermissionDenied, SpireError
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.telemetry.health import HealthRegistry
from spire_py.telemetry.logs import (
    LogLevels,
    configure_logging,
    get_logger,
    log_config_warnings,
)
from spire_py.transport.dialer import join_host_port
from spire_py.transport.health import serve_health
from spire_py.version import SPIRE_VERSION

log = get_logger()

_GIVE_UP_AFTER = timedelta(minutes=1)
_GIVE_UP_AFTER_WITH_REBOOTSTRAP = timedelta(hours=24)


async def run_agent(config: AgentConfig, *, clock: Clock | None = None) -> None:
    """Run an agent until cancelled.

    Raises:
        SpireError: it cannot start, or cannot go on.
        ExceptionGroup: several parts of it cannot go on.
    """
    section = config.agent
    logging = configure_logging(
        section.log_level, section.log_format, section.log_file, section.log_source_location
    )
    if section.log_file:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, logging.reopen)
    log_config_warnings(log, config.warnings)
    try:
        await _run(config, clock or SystemClock(), logging.levels)
    except asyncio.CancelledError:
        log.info("Agent stopped gracefully")
        raise
    except BaseExceptionGroup as group:
        first = _first_of(group)
        log.error("Agent crashed", error=str(first))
        if isinstance(first, SpireError):
            raise first from group
        raise
    except SpireError as error:
        log.error("Agent crashed", error=str(error))
        raise


async def _run(config: AgentConfig, clock: Clock, levels: LogLevels) -> None:
    section = config.agent
    log.info("Starting agent", data_dir=section.data_dir, version=SPIRE_VERSION)
    storage = await asyncio.to_thread(AgentStorage.open, Path(section.data_dir))
    probe = WorkloadAPIProbe(None if section.disable_workload_api else Path(section.socket_path))
    async with (
        load_agent_plugins(config) as plugins,
        asyncio.TaskGroup() as tasks,
        _surroundings(section, plugins, tasks, clock) as surroundings,
        _health(config.health_checks, probe, surroundings, tasks, clock),
    ):
        agent = Agent(section, plugins, storage, clock, levels)
        probe.obstacle = lambda: agent.obstacle
        await agent.run(probe)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What works as long as the agent does."""

    keeper: SVIDKeeper
    healer: _Healer
    jwt_svids: JWTCache
    taints: TaintResponder
    listener: ChangeListener
    refresher: SVIDRefresher
    synchronizer: Synchronizer

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Set all parts to work."""
        tasks.create_task(self.synchronizer.run(), name="sync")
        tasks.create_task(self.listener.run(), name="change listener")
        tasks.create_task(self.refresher.run(), name="svid refresher")
        tasks.create_task(self.keeper.run(), name="agent svid")
        tasks.create_task(self.taints.run(), name="taints")

    def facts(self, cache: WorkloadCache) -> AgentFacts:
        """The agent at this moment, for its admin socket."""
        return AgentFacts(
            svid=self.keeper.svid,
            bundle=cache.bundle,
            x509_svid_count=cache.svid_count,
            jwt_svid_count=len(self.jwt_svids),
            last_sync=self.synchronizer.last_success,
        )


class Agent:
    """One agent. Its parts are made once it has its first identity."""

    def __init__(
        self,
        config: AgentSection,
        plugins: AgentPlugins,
        storage: AgentStorage,
        clock: Clock,
        levels: LogLevels,
    ) -> None:
        self._config = config
        self._levels = levels
        self._plugins = plugins
        self._storage = storage
        self._clock = clock
        self._address = ServerAddress(
            config.server_address, config.server_port, config.trust_domain
        )
        self._attestor = join_token_or(plugins.node_attestor, config.read_join_token())
        self._strategy = RotationStrategy(config.availability_target or timedelta())
        self._start = Start(
            server=join_host_port(config.server_address, config.server_port),
            clock=clock,
            give_up_after=(
                _GIVE_UP_AFTER
                if config.rebootstrap_mode == "never"
                else _GIVE_UP_AFTER_WITH_REBOOTSTRAP
            ),
        )

    @property
    def obstacle(self) -> str:
        """What keeps the agent from serving; empty where nothing does, or nothing is known yet."""
        return self._start.obstacle

    async def run(self, probe: WorkloadAPIProbe) -> None:
        """Get an identity, learn the entries, then serve until cancelled.

        Raises:
            SpireError: one of these cannot be done, or the server banned this agent.
        """
        # The socket first: who finds none may go elsewhere, and one that cannot be had must not
        # cost a join token.
        async with open_endpoints(self._config) as serving:
            await self._serve(probe, serving)

    async def _serve(self, probe: WorkloadAPIProbe, serving: Serving) -> None:
        identity = await self._first_identity()
        self._warn_of_memory(identity.svid)
        svid = Watch(identity.svid)
        cache = WorkloadCache(
            bundle=identity.bundle, max_svids=self._config.x509_svid_cache_max_size or 1000
        )
        async with self._server_client(svid, cache) as client:
            parts = self._parts(svid, cache, client, saved=identity.saved)
            await self._first_sync(client, parts)
            attestation = WorkloadAttestation(self._plugins.workload_attestors)
            services = agent_services(
                self._config,
                workloads=cache,
                attestor=attestation,
                explain=ExplainServicer(
                    examiner=attestation,
                    known=cache,
                    last_sync=lambda: parts.synchronizer.last_success,
                ),
                jwt_svids=parts.jwt_svids,
                probe=probe,
                clock=self._clock,
            )
            async with (
                serving(services),
                serve_admin(
                    self._config,
                    DebugServicer(facts=lambda: parts.facts(cache), clock=self._clock),
                    LoggerServicer(levels=self._levels),
                ),
                asyncio.TaskGroup() as tasks,
            ):
                probe.started = True
                parts.start(tasks)

    def _parts(
        self, svid: Watch[AgentSVID], cache: WorkloadCache, client: ServerClient, *, saved: bool
    ) -> _Parts:
        keeper = self._keeper(svid, cache, client, saved=saved)
        rebootstrap = self._rebootstrap(lambda: synchronizer.last_success)
        rebootstrap.require_reattestable(svid.value.reattestable)
        healer = _Healer(keeper, rebootstrap)
        jwt_svids = self._jwt_cache(client)
        taints = TaintResponder(x509=cache, jwt=jwt_svids, agent=keeper, clock=self._clock)
        changes: Watch[None] = Watch(None)

        async def on_bundle(bundle: Bundle) -> None:
            taints.note(bundle)
            await self._store_bundle(bundle)

        synchronizer = Synchronizer(
            source=client,
            changes=changes,
            cache=cache,
            denials=healer,
            on_bundle=on_bundle,
            clock=self._clock,
            interval=self._config.experimental.sync_interval,
        )
        return _Parts(
            keeper=keeper,
            healer=healer,
            jwt_svids=jwt_svids,
            taints=taints,
            listener=ChangeListener(source=client, changes=changes, clock=self._clock),
            refresher=SVIDRefresher(
                cache=cache,
                signer=client,
                denials=healer,
                clock=self._clock,
                strategy=self._strategy,
                key_type=self._config.workload_keys,
            ),
            synchronizer=synchronizer,
        )

    async def _first_identity(self) -> FirstIdentity:
        bootstrap = Bootstrap(
            config=self._config,
            address=self._address,
            attestor=self._attestor,
            keys=self._plugins.key_manager,
            storage=self._storage,
            clock=self._clock,
        )
        # Keys that cannot be read now cannot be read later: that ends the start at once.
        await self._plugins.key_manager.get_keys()
        rebootstrap = self._rebootstrap(lambda: None)

        async def attempt() -> FirstIdentity:
            try:
                return await bootstrap.first_identity()
            except SpireError as error:
                await rebootstrap.forget_bundle_if_due(error)
                raise

        return await self._start.retry(attempt, message="Failed to retrieve attestation result")

    async def _first_sync(self, client: ServerClient, parts: _Parts) -> None:
        async def sync() -> None:
            try:
                await parts.synchronizer.synchronize()
            except SpireError as error:
                await parts.healer.heal(error)
                if not isinstance(error, PermissionDenied):
                    raise
                # Not final: a server that forgot this agent knows it again after this.
                await parts.synchronizer.synchronize()

        try:
            await client.post_status(SPIRE_VERSION)
        except SpireError as error:
            log.error("Failed to post agent status", error=str(error))
        await self._start.retry(
            sync,
            message="Failed to initialize manager",
            final=(PermissionDenied, Rebootstrapping),
            # With an SVID that is over, the server may look as if it were away.
            may_wait=lambda: parts.keeper.svid.not_after > self._clock.now(),
        )

    def _rebootstrap(self, last_success: Callable[[], datetime | None]) -> Rebootstrap:
        return Rebootstrap(
            mode=self._config.rebootstrap_mode,
            delay=self._config.rebootstrap_delay,
            storage=self._storage,
            clock=self._clock,
            last_success=last_success,
        )

    def _jwt_cache(self, client: ServerClient) -> JWTCache:
        return JWTCache(
            signer=client,
            clock=self._clock,
            max_svids=self._config.jwt_svid_cache_max_size or 1000,
            hit_timeout=self._config.experimental.jwt_svid_cache_hit_timeout or CALL_TIMEOUT,
        )

    def _keeper(
        self, svid: Watch[AgentSVID], cache: WorkloadCache, client: ServerClient, *, saved: bool
    ) -> SVIDKeeper:
        attestation = Reattestation(
            open_channel=lambda: open_channel(self._address, bundle=lambda: cache.bundle),
            attestor=self._attestor,
        )
        return SVIDKeeper(
            svid=svid,
            issuer=_Issuer(client, attestation),
            keys=self._plugins.key_manager,
            store=_Store(self._storage, lambda: cache.bundle),
            saved=saved,
            clock=self._clock,
            strategy=self._strategy,
            on_change=client.reconnect,
        )

    @asynccontextmanager
    async def _server_client(
        self, svid: Watch[AgentSVID], cache: WorkloadCache
    ) -> AsyncIterator[ServerClient]:
        client = ServerClient(
            open_channel=lambda: open_channel(
                self._address, bundle=lambda: cache.bundle, svid=lambda: svid.value
            ),
            trust_domain=self._config.trust_domain,
            use_sync=self._config.experimental.use_sync_authorized_entries is not False,
        )
        try:
            yield client
        finally:
            await client.aclose()

    async def _store_bundle(self, bundle: Bundle) -> None:
        certificates = tuple(authority.der for authority in bundle.x509_authorities)
        try:
            await asyncio.to_thread(self._storage.store, bundle=certificates)
        except SpireError as error:
            log.error("Could not store bundle", error=str(error))

    def _warn_of_memory(self, svid: AgentSVID) -> None:
        if not svid.reattestable and self._plugins.key_manager_name == "memory":
            log.warning(
                "Node attestation is not reattestable and the 'memory' key manager is in use; if "
                "the agent process is restarted, it will be unable to obtain a new SVID and will "
                "need to be manually evicted to be able to re-attest."
            )


class _Healer:
    """What a failed call to the server leads to."""

    def __init__(self, keeper: SVIDKeeper, rebootstrap: Rebootstrap) -> None:
        self._keeper = keeper
        self._rebootstrap = rebootstrap

    async def heal(self, error: SpireError) -> None:
        await self._rebootstrap.end_if_due(error)
        await self._keeper.heal(error)


class _Issuer:
    """Renews over the agent's own connection, attests over a new one."""

    def __init__(self, client: ServerClient, attestation: Reattestation) -> None:
        self._client = client
        self._attestation = attestation

    async def renew(self, csr: bytes) -> tuple[bytes, ...]:
        return await self._client.renew(csr)

    async def attest(self, csr: bytes) -> IssuedSVID:
        return await self._attestation.attest(csr)


class _Store:
    """The agent's SVID on the disk, with the bundle that goes with it."""

    def __init__(self, storage: AgentStorage, bundle: Callable[[], Bundle]) -> None:
        self._storage = storage
        self._bundle = bundle

    async def store_svid(self, svid: AgentSVID) -> None:
        await asyncio.to_thread(store_identity, self._storage, svid, self._bundle())

    async def delete_svid(self) -> None:
        try:
            await asyncio.to_thread(self._storage.delete_svid)
        except SpireError as error:
            log.error("Failed to remove SVID", error=str(error))


@asynccontextmanager
async def _surroundings(
    config: AgentSection, plugins: AgentPlugins, tasks: asyncio.TaskGroup, clock: Clock
) -> AsyncIterator[Surroundings]:
    """Find out what the plugins lack, from before the attestation on."""
    by_token = bool(config.join_token or config.join_token_file)
    surroundings = Surroundings(
        # With a join token, the node attestor of the plugins has nothing to do.
        (each for each in plugins.loaded if not (by_token and each.config.type == "NodeAttestor")),
        clock=clock,
    )
    asking = tasks.create_task(surroundings.run(), name="surroundings")
    try:
        yield surroundings
    finally:
        asking.cancel()


@asynccontextmanager
async def _health(
    config: HealthChecks,
    probe: WorkloadAPIProbe,
    surroundings: Surroundings,
    tasks: asyncio.TaskGroup,
    clock: Clock,
) -> AsyncIterator[None]:
    """Live and ready over HTTP, where configured, from before the attestation on."""
    if not config.listener_enabled:
        yield
        return
    registry = HealthRegistry(clock=clock)
    registry.add("agent", probe.state)
    registry.add_remarks("plugins", surroundings.missing)
    async with serve_health(config, registry):
        checks = tasks.create_task(registry.run(), name="health checks")
        try:
            yield
        finally:
            checks.cancel()


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended the agent; others of the group came of it."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
