"""What an attested agent asks of its server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.message import Message

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py._proto.spire_py import changes_pb2
from spire_py.agent.attestation import own_bundle_from_pb
from spire_py.agent.authorized_entry import ENTRY_MASK, AuthorizedEntry
from spire_py.agent.denial import Reaction, reaction_to
from spire_py.agent.entry_sync import read_entries, sync_entries
from spire_py.agent.jwt_cache import JWTSVID
from spire_py.errors import (
    Internal,
    InvalidArgument,
    PermissionDenied,
    StatusCode,
    Unavailable,
    Unimplemented,
)
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Channel
from spire_py.wire.bundles import known_bundle_from_pb

log = get_logger("manager")

_TIMEOUT_SECONDS = 30.0
_AGENT = "/spire.api.server.agent.v1.Agent/"
_BUNDLE = "/spire.api.server.bundle.v1.Bundle/"
_ENTRY = "/spire.api.server.entry.v1.Entry/"
_SVID = "/spire.api.server.svid.v1.SVID/"

T = TypeVar("T", bound=Message)


class _Lease:
    """A channel and how many calls are under way on it."""

    __slots__ = ("calls", "channel")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.calls = 0


class ServerClient:
    """Calls to the server, each over a channel that shows the agent's current SVID.

    Args:
        open_channel: makes a channel with the SVID of the moment.
        use_sync: whether to ask by `SyncAuthorizedEntries`; servers that lack it are noticed.
    """

    def __init__(
        self,
        *,
        open_channel: Callable[[], Channel],
        trust_domain: TrustDomain,
        use_sync: bool = True,
    ) -> None:
        self._open_channel = open_channel
        self._trust_domain = trust_domain
        self._use_sync = use_sync
        self._current = _Lease(open_channel())
        self._retired: list[_Lease] = []
        self._bundle_messages: dict[TrustDomain, tuple[types_pb2.Bundle, Bundle]] = {}

    def reconnect(self) -> None:
        """Make the next call over a new connection; calls under way end on the old one."""
        self._retired.append(self._current)
        self._current = _Lease(self._open_channel())

    async def aclose(self) -> None:
        """Close all connections."""
        for lease in (self._current, *self._retired):
            await lease.channel.aclose()
        self._retired.clear()

    async def fetch_entries(
        self, known: Mapping[str, AuthorizedEntry]
    ) -> Mapping[str, AuthorizedEntry]:
        """All entries this agent is entitled to; unchanged ones are the objects of `known`.

        Malformed ones are left out with a warning (feature O13).

        Raises:
            SpireError: the call failed, or the server broke the protocol.
        """
        if self._use_sync:
            try:
                async with self._lease() as channel:
                    return await sync_entries(channel, known)
            except Unimplemented:
                log.warning("entry_sync_not_offered", method="GetAuthorizedEntries")
                self._use_sync = False
        response = await self._call(
            _ENTRY + "GetAuthorizedEntries",
            entry_pb2.GetAuthorizedEntriesRequest(output_mask=ENTRY_MASK),
            entry_pb2.GetAuthorizedEntriesResponse,
        )
        return read_entries(response.entries, known)

    async def fetch_bundle(self) -> Bundle:
        """The own trust domain's bundle.

        Raises:
            SpireError: the call failed, or the bundle is not one to rely on.
        """
        message = await self._call(
            _BUNDLE + "GetBundle", bundle_pb2.GetBundleRequest(), types_pb2.Bundle
        )
        known = self._bundle_messages.get(self._trust_domain)
        if known is not None and known[0] == message:
            return known[1]
        bundle = own_bundle_from_pb(message, self._trust_domain)
        self._bundle_messages[self._trust_domain] = (message, bundle)
        return bundle

    async def fetch_federated_bundle(self, trust_domain: TrustDomain) -> Bundle:
        """The bundle of a foreign trust domain.

        Raises:
            NotFound: the server has none.
            SpireError: the call failed, or the bundle is malformed.
        """
        message = await self._call(
            _BUNDLE + "GetFederatedBundle",
            bundle_pb2.GetFederatedBundleRequest(trust_domain=trust_domain.name),
            types_pb2.Bundle,
        )
        known = self._bundle_messages.get(trust_domain)
        if known is not None and known[0] == message:
            return known[1]
        bundle = known_bundle_from_pb(message)
        if bundle.trust_domain != trust_domain:
            raise InvalidArgument(f"asked for the bundle of {trust_domain}, got another")
        self._bundle_messages[trust_domain] = (message, bundle)
        return bundle

    async def new_x509svids(self, csrs: Mapping[str, bytes]) -> Mapping[str, tuple[bytes, ...]]:
        """Have CSRs signed, by entry ID; entries that are refused are left out with a warning.

        Raises:
            SpireError: the call failed.
        """
        entry_ids = list(csrs)
        response = await self._call(
            _SVID + "BatchNewX509SVID",
            svid_pb2.BatchNewX509SVIDRequest(
                params=[
                    svid_pb2.NewX509SVIDParams(entry_id=entry_id, csr=csr)
                    for entry_id, csr in csrs.items()
                ]
            ),
            svid_pb2.BatchNewX509SVIDResponse,
        )
        if len(response.results) != len(entry_ids):
            raise Internal("server answered for another number of SVIDs than asked for")
        chains = {}
        for entry_id, result in zip(entry_ids, response.results, strict=True):
            if result.status.code == StatusCode.OK:
                chains[entry_id] = tuple(result.svid.cert_chain)
            else:
                log.warning(
                    "Failed to mint X509 SVID",
                    entry_id=entry_id,
                    status=result.status.code,
                    error=result.status.message,
                )
        return chains

    async def new_jwtsvid(
        self, entry_id: str, audience: Sequence[str], *, timeout: timedelta
    ) -> JWTSVID:
        """Have a JWT-SVID signed for an entry.

        Raises:
            SpireError: the call failed, or the answer makes no sense.
        """
        response = await self._call(
            _SVID + "NewJWTSVID",
            svid_pb2.NewJWTSVIDRequest(entry_id=entry_id, audience=audience),
            svid_pb2.NewJWTSVIDResponse,
            timeout_seconds=timeout.total_seconds(),
        )
        return _jwt_svid(response)

    @asynccontextmanager
    async def watch_changes(self) -> AsyncIterator[AsyncIterator[changes_pb2.Change]]:
        """The server's hints that a sync would bring something new.

        Raises:
            Unimplemented: the server is none of ours.
            SpireError: the call failed.
        """
        async with (
            self._lease() as channel,
            channel.server_stream(
                "/spire_py.changes.v1.Changes/Watch",
                changes_pb2.WatchRequest(),
                changes_pb2.Change,
                timeout=None,
            ) as messages,
        ):
            yield messages

    async def renew(self, csr: bytes) -> tuple[bytes, ...]:
        """A new SVID for this agent, of the same ID.

        Raises:
            SpireError: the call failed.
        """
        response = await self._call(
            _AGENT + "RenewAgent",
            agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=csr)),
            agent_pb2.RenewAgentResponse,
        )
        return tuple(response.svid.cert_chain)

    async def post_status(self, version: str) -> None:
        """Tell the server this agent's version.

        Raises:
            SpireError: the call failed; servers before 1.15 do not offer it.
        """
        await self._call(
            _AGENT + "PostStatus",
            agent_pb2.PostStatusRequest(agent_version=version),
            agent_pb2.PostStatusResponse,
        )

    async def _call(
        self,
        method: str,
        request: Message,
        response_type: type[T],
        *,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> T:
        async with self._lease() as channel:
            return await channel.unary(method, request, response_type, timeout=timeout_seconds)

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[Channel]:
        """The current channel for one call. Channels that were left are closed when idle."""
        lease = self._current
        lease.calls += 1
        try:
            yield lease.channel
        except PermissionDenied as error:
            # The first use of a new SVID ends the old one: calls still on it are refused, and
            # that must not be taken for a loss of this agent's standing.
            if lease is not self._current and reaction_to(error) is Reaction.REATTEST:
                raise Unavailable("the agent's SVID was replaced during the call") from error
            raise
        finally:
            lease.calls -= 1
            await self._close_retired()

    async def _close_retired(self) -> None:
        idle = [lease for lease in self._retired if not lease.calls]
        self._retired = [lease for lease in self._retired if lease.calls]
        for lease in idle:
            await lease.channel.aclose()


def _jwt_svid(response: svid_pb2.NewJWTSVIDResponse) -> JWTSVID:
    if not response.HasField("svid"):
        raise Internal("JWTSVID response missing SVID")
    svid = response.svid
    if not svid.issued_at:
        raise Internal("JWTSVID missing issued at")
    if not svid.expires_at:
        raise Internal("JWTSVID missing expires at")
    if svid.issued_at > svid.expires_at:
        raise Internal("JWTSVID issued after it has expired")
    return JWTSVID(
        token=svid.token,
        issued_at=datetime.fromtimestamp(svid.issued_at, UTC),
        expires_at=datetime.fromtimestamp(svid.expires_at, UTC),
    )
