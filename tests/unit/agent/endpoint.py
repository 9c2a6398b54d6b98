"""The agent's real socket, with a source of identities in the test's hand."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import Message

from spire_py._proto import workload_pb2
from spire_py.agent.api.explain import ExplainServicer
from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.endpoints import agent_services, open_endpoints
from spire_py.agent.health import WorkloadAPIProbe
from spire_py.agent.jwt_cache import JWTSVID, JWTCache
from spire_py.agent.workload_attestation import WorkloadAttestation
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.config.agent import AgentSection
from spire_py.errors import SpireError
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.spiffe.bundle import Bundle
from spire_py.transport import Channel
from tests.fakes.clock import FakeClock
from tests.unit.agent.builders import EXAMPLE, Authority, by_domain, by_id, selectors

HEADER = (("workload.spiffe.io", "true"),)
UID = "unix:uid:1000"

T = TypeVar("T", bound=Message)


class FakeWorkloadAttestor(WorkloadAttestor):
    """Says of every process what the test says; fails where it says so."""

    def __init__(self, *texts: str) -> None:
        self.selectors = selectors(*texts)
        self.error: SpireError | None = None
        self.asked: list[int] = []

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        self.asked.append(pid)
        if self.error is not None:
            raise self.error
        return tuple(sorted(self.selectors))


class FakeJWTSigner:
    """A server that signs JWT-SVIDs for the entries of the test, until it is away."""

    def __init__(self, authority: Authority, clock: FakeClock) -> None:
        self.authority = authority
        self.clock = clock
        self.entries: Mapping[str, AuthorizedEntry] = {}
        self.error: SpireError | None = None
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.timeouts: list[timedelta] = []
        self.block: asyncio.Event | None = None

    async def new_jwtsvid(
        self, entry_id: str, audience: Sequence[str], *, timeout: timedelta
    ) -> JWTSVID:
        self.calls.append((entry_id, tuple(audience)))
        self.timeouts.append(timeout)
        await asyncio.sleep(0)
        if self.block is not None:
            await self.block.wait()
        if self.error is not None:
            raise self.error
        now = self.clock.now()
        token = self.authority.token(
            str(self.entries[entry_id].spiffe_id),
            tuple(audience),
            issued_at=now,
            jti=f"call-{len(self.calls)}",
        )
        return JWTSVID(token, now, now + timedelta(minutes=5))


@dataclass
class Endpoint:
    """A served socket and what stands behind it."""

    authority: Authority
    clock: FakeClock
    cache: WorkloadCache
    attestor: FakeWorkloadAttestor
    signer: FakeJWTSigner
    channel: Channel
    path: Path
    probe: WorkloadAPIProbe
    foreign: dict[str, Authority] = field(default_factory=dict)

    def register(self, *entries: AuthorizedEntry, bundles: Sequence[Bundle] = ()) -> None:
        """Make these the agent's entries, each with a fresh SVID."""
        self.authorize(*entries, bundles=bundles)
        self.cache.store_svids({item.id: self.authority.svid(item) for item in entries})

    def authorize(self, *entries: AuthorizedEntry, bundles: Sequence[Bundle] = ()) -> None:
        """Make these the agent's entries; their SVIDs are still to come."""
        self.signer.entries = by_id(*entries)
        self.cache.replace(by_id(*entries), by_domain(self.authority.bundle, *bundles))

    async def call(
        self, method: str, request: Message, response_type: type[T], **options: Any
    ) -> T:
        options.setdefault("metadata", HEADER)
        options.setdefault("timeout", 20)
        return await self.channel.unary(
            f"/SpiffeWorkloadAPI/{method}", request, response_type, **options
        )

    def stream(
        self, method: str, request: Message, response_type: type[T], **options: Any
    ) -> AbstractAsyncContextManager[AsyncIterator[T]]:
        options.setdefault("metadata", HEADER)
        options.setdefault("timeout", 20)
        return self.channel.server_stream(
            f"/SpiffeWorkloadAPI/{method}", request, response_type, **options
        )

    async def first(
        self, method: str, request: Message, response_type: type[T], **options: Any
    ) -> T:
        """The first message of a stream."""
        async with self.stream(method, request, response_type, **options) as messages:
            return await anext(messages)

    async def x509(self, **options: Any) -> workload_pb2.X509SVIDResponse:
        return await self.first(
            "FetchX509SVID",
            workload_pb2.X509SVIDRequest(),
            workload_pb2.X509SVIDResponse,
            **options,
        )


def section(**changes: Any) -> AgentSection:
    return AgentSection(
        trust_domain=EXAMPLE, server_address="localhost", server_port=8081, **changes
    )


@asynccontextmanager
async def open_endpoint(**config: Any) -> AsyncIterator[Endpoint]:
    """An endpoint with the given keys of the configuration."""
    clock = FakeClock()
    authority = Authority(now=clock.now())
    cache = WorkloadCache(bundle=authority.bundle, max_svids=1000)
    attestor = FakeWorkloadAttestor(UID)
    signer = FakeJWTSigner(authority, clock)
    with tempfile.TemporaryDirectory(prefix="sp") as directory:
        path = Path(directory) / "public" / "api.sock"
        settings = section(socket_path=str(path), **config)
        probe = WorkloadAPIProbe(path)
        attestation = WorkloadAttestation({"fake": attestor})
        services = agent_services(
            settings,
            workloads=cache,
            attestor=attestation,
            explain=ExplainServicer(examiner=attestation, known=cache, last_sync=clock.now),
            jwt_svids=JWTCache(signer=signer, clock=clock, max_svids=1000),
            probe=probe,
            clock=clock,
        )
        async with open_endpoints(settings) as serving, serving(services):
            channel = Channel.unix(path)
            try:
                yield Endpoint(authority, clock, cache, attestor, signer, channel, path, probe)
            finally:
                await channel.aclose()
