"""The Debug API: facts about the running server (feature G15)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

from spire_py._proto.spire.api.server import debug_pb2
from spire_py.crypto.certificate import CertificateFacts
from spire_py.errors import InvalidArgument, NotFound, StatusCode
from spire_py.model.entry import time_to_seconds
from spire_py.runtime.clock import Clock
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.transport import CallContext
from spire_py.wire.spiffe_ids import id_to_pb
from spire_py.wire.status import prefixing

_KEEP_SECONDS = 5.0


class Counts(Protocol):
    """What the Debug API needs of the datastore."""

    async def count_agents(self) -> int: ...
    async def count_entries(self) -> int: ...
    async def count_bundles(self) -> int: ...


class Bundles(Protocol):
    """What the Debug API needs of the bundles in memory."""

    def get(self, trust_domain: TrustDomain) -> Bundle | None: ...


class DebugServicer:
    """`spire.api.server.debug.v1.Debug`.

    Args:
        trust_domain: our own.
        counts: counted at most every five seconds.
        bundles: hold the root of our own chain.
        svid_chain: the server's own, as DER, leaf first.
        clock: from whose now the uptime counts.
    """

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        counts: Counts,
        bundles: Bundles,
        svid_chain: Callable[[], tuple[bytes, ...]],
        clock: Clock,
    ) -> None:
        self._trust_domain = trust_domain
        self._counts = counts
        self._bundles = bundles
        self._svid_chain = svid_chain
        self._clock = clock
        self._started = clock.monotonic()
        self._made = -_KEEP_SECONDS
        self._answer: debug_pb2.GetInfoResponse | None = None

    async def get_info(
        self, _request: debug_pb2.GetInfoRequest, _context: CallContext
    ) -> debug_pb2.GetInfoResponse:
        now = self._clock.monotonic()
        if self._answer is None or now - self._made >= _KEEP_SECONDS:
            self._answer = await self._gather(timedelta(seconds=now - self._started))
            self._made = now
        return self._answer

    async def _gather(self, uptime: timedelta) -> debug_pb2.GetInfoResponse:
        return debug_pb2.GetInfoResponse(
            svid_chain=self._chain(),
            uptime=int(uptime.total_seconds()),
            agents_count=await self._count("agents"),
            entries_count=await self._count("entries"),
            federated_bundles_count=await self._count("bundles"),
        )

    async def _count(self, what: str) -> int:
        count = {
            "agents": self._counts.count_agents,
            "entries": self._counts.count_entries,
            "bundles": self._counts.count_bundles,
        }[what]
        with prefixing(f"failed to count {what}", StatusCode.INTERNAL):
            return await count()

    def _chain(self) -> list[debug_pb2.GetInfoResponse.Cert]:
        """The server's SVID, what lies between, and its root."""
        bundle = self._bundles.get(self._trust_domain)
        if bundle is None:
            raise NotFound("trust domain bundle not found")
        chain = [CertificateFacts(der) for der in self._svid_chain()]
        for authority in bundle.x509_authorities:
            root = CertificateFacts(authority.der)
            if chain and root.subject_der == chain[-1].issuer_der and root.der != chain[-1].der:
                chain.append(root)
                break
        return [_certificate(facts) for facts in chain]


def _certificate(facts: CertificateFacts) -> debug_pb2.GetInfoResponse.Cert:
    message = debug_pb2.GetInfoResponse.Cert(
        expires_at=time_to_seconds(facts.not_after),
        subject=facts.subject_text,
    )
    try:
        (uri,) = facts.uris
        message.id.CopyFrom(id_to_pb(SpiffeID.parse(uri)))
    except (ValueError, InvalidArgument):
        return message
    return message
