"""The agent's sockets: which services they offer, and to whom (C4, C5, C19, C20, H13 to H16)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor

from spire_py._proto import workload_pb2
from spire_py._proto.envoy import secret_pb2
from spire_py._proto.grpc import health_pb2
from spire_py._proto.spire.agent import debug_pb2
from spire_py._proto.spire.api.agent import logger_pb2
from spire_py._proto.spire_py import explain_pb2
from spire_py.agent.api.caller import CallerAttestor, Callers, require_security_header
from spire_py.agent.api.debug import DebugServicer
from spire_py.agent.api.early import EarlyServices
from spire_py.agent.api.explain import ExplainServicer
from spire_py.agent.api.health import HealthServicer
from spire_py.agent.api.logger import LoggerServicer
from spire_py.agent.api.reflection import reflection_services
from spire_py.agent.api.sds import SecretDiscoveryServicer
from spire_py.agent.api.secrets import SecretNames
from spire_py.agent.api.workload import JWTSVIDs, Workloads, WorkloadServicer
from spire_py.agent.health import WorkloadAPIProbe
from spire_py.agent.rate_limits import RateLimits
from spire_py.agent.socket_aliases import link_aliases, make_way
from spire_py.config.agent import AgentSection
from spire_py.errors import SpireError
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Server, Service

log = get_logger("endpoints")

_SOCKET_MODE = 0o777
_SOCKET_DIRECTORY_MODE = 0o755
_ADMIN_SOCKET_MODE = 0o770
_ADMIN_DIRECTORY_MODE = 0o750
_GRACE = timedelta(seconds=1)
_WORKLOAD_API: FileDescriptor = workload_pb2.DESCRIPTOR
_SDS: FileDescriptor = secret_pb2.DESCRIPTOR
_HEALTH: FileDescriptor = health_pb2.DESCRIPTOR
_DEBUG: FileDescriptor = debug_pb2.DESCRIPTOR
_LOGGER: FileDescriptor = logger_pb2.DESCRIPTOR
_EXPLAIN: FileDescriptor = explain_pb2.DESCRIPTOR
_API_NAMES = {
    (True, True): "Workload and SDS APIs",
    (False, True): "SDS API",
    (True, False): "Workload API",
}


def agent_services(
    config: AgentSection,
    *,
    workloads: Workloads,
    attestor: CallerAttestor,
    jwt_svids: JWTSVIDs,
    probe: WorkloadAPIProbe,
    explain: ExplainServicer,
    clock: Clock,
) -> list[Service]:
    """The services of the public socket, as configured."""
    callers = Callers(attestor=attestor, limits=RateLimits(_limits(config), clock))
    services = [
        Service(_HEALTH.services_by_name["Health"], HealthServicer(healthy=probe.is_healthy)),
        Service(_EXPLAIN.services_by_name["Explain"], explain),
    ]
    if not config.disable_workload_api:
        api = WorkloadServicer(
            workloads=workloads,
            callers=callers,
            jwt_svids=jwt_svids,
            trust_domain=config.trust_domain,
            clock=clock,
            allow_unauthenticated_verifiers=config.allow_unauthenticated_verifiers,
            allowed_foreign_claims=config.allowed_foreign_jwt_claims,
            log_selectors=config.log_selectors,
        )
        services.append(Service(_WORKLOAD_API.services_by_name["SpiffeWorkloadAPI"], api))
    if not config.disable_sds_api:
        sds = SecretDiscoveryServicer(
            workloads=workloads,
            callers=callers,
            names=SecretNames(
                svid=config.sds.default_svid_name,
                bundle=config.sds.default_bundle_name,
                all_bundles=config.sds.default_all_bundles_name,
            ),
            disable_spiffe_validator=config.sds.disable_spiffe_cert_validation,
        )
        services.append(Service(_SDS.services_by_name["SecretDiscoveryService"], sds))
    return services + reflection_services([service.name for service in services])


def _limits(config: AgentSection) -> dict[str, int]:
    limits = config.experimental.ratelimit
    named = {
        "/SpiffeWorkloadAPI/FetchX509SVID": limits.fetch_x509_svid,
        "/SpiffeWorkloadAPI/FetchJWTSVID": limits.fetch_jwt_svid,
        "/SpiffeWorkloadAPI/FetchX509Bundles": limits.fetch_x509_bundles,
        "/SpiffeWorkloadAPI/FetchJWTBundles": limits.fetch_jwt_bundles,
        "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets": limits.stream_secrets,
        "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets": limits.fetch_secrets,
    }
    for method, limit in named.items():
        if limit:
            log.info("Workload API/SDS rate limiting enabled", method=method, limit=limit)
    return named


Serving: TypeAlias = Callable[[list[Service]], AbstractAsyncContextManager[None]]
"""A context in which the public socket offers these services."""


@asynccontextmanager
async def open_endpoints(config: AgentSection) -> AsyncIterator[Serving]:
    """Listen on the public socket for as long as the context is open.

    Callers wait until there are services, that is until the value of this context is entered too.

    With both APIs off there is no socket, as in SPIRE.

    Raises:
        FailedPrecondition: the socket or an alias cannot be made, or another agent serves it.
    """
    if config.disable_workload_api and config.disable_sds_api:
        yield _serving_nothing
        return
    early = EarlyServices(_early_descriptors(config))
    health = Service(_HEALTH.services_by_name["Health"], HealthServicer(healthy=_not_yet))
    server = Server([health, *early.services], authorize=require_security_header)
    path = Path(config.socket_path)
    names = _API_NAMES[not config.disable_workload_api, not config.disable_sds_api]

    @asynccontextmanager
    async def serving(services: list[Service]) -> AsyncIterator[None]:
        server.replace_services(services)
        early.arrive(services)
        log.info("Starting agent APIs", network="unix", address=str(path), apis=names)
        try:
            yield
        finally:
            log.info("Stopping agent APIs", apis=names)
            await server.aclose(_GRACE)

    await _listen(server, path, config.experimental.socket_aliases)
    try:
        yield serving
    finally:
        await server.aclose(timedelta())


@asynccontextmanager
async def _serving_nothing(_services: list[Service]) -> AsyncIterator[None]:
    log.info("Skipping agent APIs because public endpoint is disabled", apis=_API_NAMES[True, True])
    yield


async def _listen(server: Server, path: Path, aliases: Sequence[str]) -> None:
    await asyncio.to_thread(make_way, path, aliases)
    await server.listen_unix(path, mode=_SOCKET_MODE, directory_mode=_SOCKET_DIRECTORY_MODE)
    try:
        await asyncio.to_thread(link_aliases, path, aliases)
    except SpireError:
        await server.aclose(timedelta())
        raise


def _early_descriptors(config: AgentSection) -> list[ServiceDescriptor]:
    found = [_EXPLAIN.services_by_name["Explain"]]
    if not config.disable_workload_api:
        found.append(_WORKLOAD_API.services_by_name["SpiffeWorkloadAPI"])
    if not config.disable_sds_api:
        found.append(_SDS.services_by_name["SecretDiscoveryService"])
    return found


async def _not_yet() -> bool:
    return False


@asynccontextmanager
async def serve_admin(
    config: AgentSection, debug: DebugServicer, logger: LoggerServicer
) -> AsyncIterator[None]:
    """Listen on the admin socket, where one is configured, for as long as the context is open.

    Raises:
        FailedPrecondition: the socket cannot be made, or another agent serves it.
    """
    if not config.admin_socket_path:
        yield
        return
    services = [
        Service(_DEBUG.services_by_name["Debug"], debug),
        Service(_LOGGER.services_by_name["Logger"], logger),
    ]
    server = Server(services + reflection_services([service.name for service in services]))
    path = Path(config.admin_socket_path)
    await server.listen_unix(path, mode=_ADMIN_SOCKET_MODE, directory_mode=_ADMIN_DIRECTORY_MODE)
    log.info("Starting Admin APIs", network="unix", address=str(path))
    try:
        yield
    finally:
        log.info("Stopping Admin APIs")
        await server.aclose(_GRACE)
