"""The server's two endpoints, the port and the admin socket, and what answers on them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import ModuleType

from spire_py._proto.grpc import health_pb2
from spire_py._proto.spire.api.server import (
    agent_pb2,
    bundle_pb2,
    debug_pb2,
    entry_pb2,
    logger_pb2,
    svid_pb2,
)
from spire_py._proto.spire_py import changes_pb2
from spire_py.config.server import ServerSection
from spire_py.model.join_token import ATTESTATION_TYPE
from spire_py.plugin_api.node_attestor import ServerNodeAttestor
from spire_py.runtime.clock import Clock
from spire_py.server.api.agent import AgentServicer
from spire_py.server.api.bundle import BundleServicer
from spire_py.server.api.call_log import LoggedServicer
from spire_py.server.api.changes import ChangesServicer
from spire_py.server.api.debug import DebugServicer
from spire_py.server.api.entry import EntryServicer
from spire_py.server.api.health import HealthServicer
from spire_py.server.api.logger import LoggerServicer
from spire_py.server.api.svid import SVIDServicer
from spire_py.server.attestation.attest import Attestation
from spire_py.server.attestation.join_token import JoinTokenAttestor
from spire_py.server.attestation.plugin_attestor import PluginAttestor
from spire_py.server.bundle_cache import BundleCache
from spire_py.server.ca.ca import CA
from spire_py.server.changes import Changes
from spire_py.server.datastore import Datastore
from spire_py.server.entry_cache.cache import EntryCache
from spire_py.server.health import ServerHealthChecks
from spire_py.server.policy import Authorizer
from spire_py.server.port import PortTLS
from spire_py.server.rate_limits import RateLimits
from spire_py.server.server_svid import ServerSVIDRotator
from spire_py.telemetry.logs import LogLevels, get_logger
from spire_py.transport import Server, Service
from spire_py.transport.dialer import join_host_port

_MAX_CONNECTION_AGE = timedelta(minutes=3)
_GRACE = timedelta(seconds=10)
_SOCKET_MODE = 0o770
_SOCKET_DIRECTORY_MODE = 0o750

log = get_logger("endpoints")


class Endpoints:
    """Answers agents and operators.

    Args:
        section: the configuration of the server itself.
        datastore: where everything lies.
        ca: what signs; it has an active authority already.
        attestors: the configured node attestors, by attestation type.
        levels: what the Logger API changes.
        clock: the present.
    """

    def __init__(
        self,
        *,
        section: ServerSection,
        datastore: Datastore,
        ca: CA,
        attestors: Mapping[str, ServerNodeAttestor],
        levels: LogLevels,
        clock: Clock,
    ) -> None:
        self._section = section
        self._datastore = datastore
        self._ca = ca
        self._attestors = attestors
        self._clock = clock
        self._changes = Changes()
        self._closing = asyncio.Event()
        self.entries = EntryCache(
            trust_domain=section.trust_domain,
            store=datastore,
            clock=clock,
            full_reload_interval=section.experimental.full_cache_reload_interval,
            event_timeout=section.experimental.effective_event_timeout,
            changes=self._changes,
        )
        self.bundles = BundleCache(
            store=datastore,
            clock=clock,
            listed=self.entries.reread_unlinked,
            changes=self._changes,
        )
        self.health = ServerHealthChecks(
            trust_domain=section.trust_domain, bundles=self.bundles, ca=ca, store=datastore
        )
        self.svid = ServerSVIDRotator(signer=ca, key_type=section.ca_keys, clock=clock)
        self._limits = RateLimits(
            attestation=section.ratelimit.attestation,
            signing=section.ratelimit.signing,
            clock=clock,
        )
        self._agents = self._agent_servicer()
        self._port, self._socket = self._servers(levels)
        self.address: tuple[str, int] | None = None
        """Where the port is bound; None until it listens."""

    async def load(self) -> None:
        """Take everything into memory and get an SVID; to be done before `listen`.

        Raises:
            SpireError: the database or the CA could not help.
        """
        await self.entries.load()
        await self.bundles.refresh()
        await self.svid.rotate()

    async def listen(self) -> None:
        """Open the port and the admin socket.

        Raises:
            FailedPrecondition: an address cannot be used.
        """
        section = self._section
        tls = PortTLS(
            trust_domain=section.trust_domain,
            admin_ids=section.admin_ids,
            svid=self.svid,
            bundles=self.bundles,
            clock=self._clock,
        )
        self.address = await self._port.listen_tcp(
            section.host,
            section.bind_port,
            tls=tls.context,
            verify_peer=tls.verify,
            max_connection_age=_MAX_CONNECTION_AGE,
        )
        log.info("Starting Server APIs", address=join_host_port(*self.address), network="tcp")
        await self._socket.listen_unix(
            Path(section.socket_path),
            mode=_SOCKET_MODE,
            directory_mode=_SOCKET_DIRECTORY_MODE,
        )
        log.info("Starting Server APIs", address=section.socket_path, network="unix")

    async def run(self) -> None:
        """Keep what is in memory current, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.entries.run(), name="entry cache")
            tasks.create_task(self.bundles.run(), name="bundle cache")
            tasks.create_task(self.svid.run(), name="server svid")

    async def aclose(self) -> None:
        """Stop listening, and let calls end within ten seconds."""
        log.info("Stopping Server APIs")
        self._closing.set()
        self._changes.tell_all()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._port.aclose(_GRACE))
            tasks.create_task(self._socket.aclose(_GRACE))
        log.info("Server APIs have stopped")

    # --- what answers ---

    def _servers(self, levels: LogLevels) -> tuple[Server, Server]:
        """Those of the port and of the socket."""
        authorizer = Authorizer(
            callers=self.entries,
            activate=self._agents.activate,
            admin_ids=self._section.admin_ids,
            clock=self._clock,
        )
        changes = ChangesServicer(
            entries=self.entries,
            bundles=self.bundles,
            changes=self._changes,
            closing=self._closing,
        )
        shared = self._shared_services()
        return (
            Server(
                [*shared, _service(changes_pb2, "Changes", changes)],
                authorize=authorizer.authorize,
                clock=self._clock,
            ),
            Server(
                [*shared, *self._local_services(levels)],
                authorize=authorizer.authorize,
                clock=self._clock,
            ),
        )

    def _agent_servicer(self) -> AgentServicer:
        trust_domain = self._section.trust_domain
        join_token = JoinTokenAttestor(
            tokens=self._datastore, trust_domain=trust_domain, clock=self._clock
        )
        attestation = Attestation(
            trust_domain=trust_domain,
            attestors={**_plugin_attestors(self._attestors), ATTESTATION_TYPE: join_token},
            store=self._datastore,
            memory=self.entries,
            signer=self._ca,
            clock=self._clock,
            agent_id_as_selector=self._section.experimental.agent_spiffe_id_as_selector,
        )
        return AgentServicer(
            trust_domain=trust_domain,
            store=self._datastore,
            memory=self.entries,
            signer=self._ca,
            attestation=attestation,
            limits=self._limits,
            clock=self._clock,
        )

    def _shared_services(self) -> list[Service]:
        """What is offered on the port and on the socket."""
        trust_domain = self._section.trust_domain
        entries = EntryServicer(
            trust_domain=trust_domain, store=self._datastore, memory=self.entries
        )
        bundles = BundleServicer(
            trust_domain=trust_domain,
            store=self._datastore,
            memory=self.bundles,
            limits=self._limits,
        )
        svids = SVIDServicer(
            trust_domain=trust_domain,
            memory=self.entries,
            bundles=self.bundles,
            signer=self._ca,
            limits=self._limits,
            jwt_enabled=not self._section.disable_jwt_svids,
        )
        return [
            _service(agent_pb2, "Agent", self._agents),
            _service(bundle_pb2, "Bundle", bundles),
            _service(entry_pb2, "Entry", entries),
            _service(svid_pb2, "SVID", svids),
        ]

    def _local_services(self, levels: LogLevels) -> list[Service]:
        """What is offered on the socket alone."""
        debug = DebugServicer(
            trust_domain=self._section.trust_domain,
            counts=self._datastore,
            bundles=self.bundles,
            svid_chain=lambda: self.svid.current.chain,
            clock=self._clock,
        )
        checks = HealthServicer(health=self.health, clock=self._clock, closing=self._closing)
        return [
            _service(debug_pb2, "Debug", debug),
            _service(health_pb2, "Health", checks),
            _service(logger_pb2, "Logger", LoggerServicer(levels=levels)),
        ]


def _service(module: ModuleType, name: str, servicer: object) -> Service:
    return Service(module.DESCRIPTOR.services_by_name[name], LoggedServicer(servicer))


def _plugin_attestors(
    attestors: Mapping[str, ServerNodeAttestor],
) -> dict[str, ServerNodeAttestor]:
    return {name: PluginAttestor(name, plugin) for name, plugin in attestors.items()}
