"""Facts about the running agent, on its admin socket (feature H13)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from spire_py._proto.spire.agent import debug_pb2
from spire_py._proto.spire.api import types_pb2
from spire_py.agent.agent_svid import AgentSVID
from spire_py.crypto.certificate import CertificateFacts
from spire_py.errors import InvalidArgument
from spire_py.runtime.clock import Clock
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID
from spire_py.transport import CallContext
from spire_py.wire.spiffe_ids import id_to_pb


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """The agent at one moment. `last_sync` is None before the first success."""

    svid: AgentSVID
    bundle: Bundle
    x509_svid_count: int
    jwt_svid_count: int
    last_sync: datetime | None


class DebugServicer:
    """`spire.agent.debug.v1.Debug`; whoever may open the admin socket may call it."""

    def __init__(self, *, facts: Callable[[], AgentFacts], clock: Clock) -> None:
        self._facts = facts
        self._clock = clock
        self._started = clock.monotonic()

    async def get_info(
        self, _request: debug_pb2.GetInfoRequest, _context: CallContext
    ) -> debug_pb2.GetInfoResponse:
        """The agent's own chain up to the root, and what it holds."""
        facts = self._facts()
        return debug_pb2.GetInfoResponse(
            svid_chain=[_certificate(item) for item in _chain(facts)],
            uptime=int(self._clock.monotonic() - self._started),
            svids_count=facts.x509_svid_count,
            cached_x509_svids_count=facts.x509_svid_count,
            cached_jwt_svids_count=facts.jwt_svid_count,
            last_sync_success=int(facts.last_sync.timestamp()) if facts.last_sync else 0,
        )


def _chain(facts: AgentFacts) -> Iterator[CertificateFacts]:
    chain = [CertificateFacts(der) for der in facts.svid.chain]
    yield from chain
    for authority in facts.bundle.x509_authorities:
        root = CertificateFacts(authority.der)
        if root.subject_key_id == chain[-1].authority_key_id:
            yield root
            return


def _certificate(facts: CertificateFacts) -> debug_pb2.GetInfoResponse.Cert:
    return debug_pb2.GetInfoResponse.Cert(
        id=_spiffe_id(facts.uris),
        expires_at=int(facts.not_after.timestamp()),
        subject=facts.subject_text,
    )


def _spiffe_id(uris: tuple[str, ...]) -> types_pb2.SPIFFEID | None:
    """The ID of an agent or a CA; none where the certificate has none."""
    if len(uris) != 1:
        return None
    try:
        return id_to_pb(SpiffeID.parse(uris[0]))
    except InvalidArgument:
        return None
