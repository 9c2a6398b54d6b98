"""A server for agents: real TLS and gRPC, with entries, refusals and outages in the test's hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.csr import parse_csr
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.subject import CASubject
from spire_py.crypto.x509_signer import X509Signer, self_signed_ca
from spire_py.errors import InvalidArgument, NotFound, PermissionDenied, SpireError, Unimplemented
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.jwt_svid import sign_jwt_svid
from spire_py.spiffe.x509_svid import verify_peer_chain
from spire_py.transport import CallContext, Server, Service
from spire_py.transport.tls import server_context
from spire_py.wire.bundles import bundle_to_pb
from spire_py.wire.status import Reason, permission_denied

_EXAMPLE = TrustDomain("example.org")
_LIFETIME = timedelta(hours=1)


class FakeSpireServer:
    """Attests by join token, knows each agent by its serial number, signs for its entries.

    Times of certificates are by `now`, but never begin in what is the future for OpenSSL.
    """

    def __init__(
        self,
        trust_domain: TrustDomain = _EXAMPLE,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        server_path: str = "/spire/server",
    ) -> None:
        self.trust_domain = trust_domain
        self.now = now
        self.server_path = server_path
        self.started = datetime.now(UTC)
        self.tokens: set[str] = set()
        self.reattestable = False
        self.offers_sync = True
        self.entries: dict[str, types_pb2.Entry] = {}
        self.federated: dict[str, Bundle] = {}
        self.serials: dict[str, str] = {}
        self.new_serials: dict[str, str] = {}
        self.banned: set[str] = set()
        self.calls: list[str] = []
        self.versions: list[str] = []
        self.presented_tokens: list[str] = []
        self.attest_error: SpireError | None = None
        self.port = 0
        self._server: Server | None = None
        self.key = generate_key("ec-p256")
        self.certificate = self_signed_ca(
            self.key,
            str(trust_domain.id),
            CASubject(country=("US",), organization=("SPIFFE",)),
            self.started - timedelta(minutes=1),
            self.started + timedelta(days=30),
        )
        self.signer = X509Signer(self.certificate, self.key)
        self.jwt_key = generate_key("ec-p256")
        self.bundle = Bundle(
            trust_domain,
            (X509Authority(self.certificate),),
            (JWTAuthority("jwt-key", public_key_der(self.jwt_key)),),
        )

    async def start(self) -> None:
        """Listen, on the former port where there was one."""
        services = [
            Service(agent_pb2.DESCRIPTOR.services_by_name["Agent"], _Agents(self)),
            Service(bundle_pb2.DESCRIPTOR.services_by_name["Bundle"], _Bundles(self)),
            Service(entry_pb2.DESCRIPTOR.services_by_name["Entry"], _Entries(self)),
            Service(svid_pb2.DESCRIPTOR.services_by_name["SVID"], _SVIDs(self)),
        ]
        key = generate_key("ec-p256")
        chain = self.sign(public_key_der(key), str(self.trust_domain.member(self.server_path)))
        context = server_context(chain=chain, key=key, roots=[self.certificate])
        self._server = Server(services, authorize=self._note)
        _, self.port = await self._server.listen_tcp(
            "127.0.0.1",
            self.port,
            tls=lambda: context,
            verify_peer=self._identify,
            max_connection_age=None,
        )

    async def stop(self) -> None:
        """Go away, with all connections."""
        if self._server is not None:
            await self._server.aclose(timedelta())
            self._server = None

    def add_entry(
        self,
        entry_id: str,
        *selectors: str,
        federates_with: Sequence[str] = (),
        revision_number: int = 0,
        hint: str = "",
    ) -> None:
        """Entitle all agents to an entry for processes with these selectors."""
        self.entries[entry_id] = types_pb2.Entry(
            id=entry_id,
            spiffe_id=types_pb2.SPIFFEID(trust_domain=self.trust_domain.name, path=f"/{entry_id}"),
            selectors=[
                types_pb2.Selector(type=text.partition(":")[0], value=text.partition(":")[2])
                for text in selectors
            ],
            federates_with=federates_with,
            revision_number=revision_number,
            hint=hint,
            created_at=1,
        )

    def forget_agents(self) -> None:
        """As if all agents had been evicted."""
        self.serials.clear()
        self.new_serials.clear()

    def taint(self) -> None:
        """Mark the only authority as tainted; it still signs, so that no second one is needed."""
        self.bundle = self.bundle.with_changes(
            x509_authorities=(X509Authority(self.certificate, tainted=True),)
        )

    def count(self, method: str) -> int:
        """How often a method was called."""
        return self.calls.count(method)

    def sign(self, public_key: bytes, spiffe_id: str) -> tuple[bytes, ...]:
        signed = self.signer.sign_svid(
            public_key,
            spiffe_id,
            not_before=min(self.now(), self.started) - timedelta(seconds=10),
            not_after=self.now() + _LIFETIME,
        )
        return (signed.der,)

    def check_agent(self, context: CallContext) -> str:
        """The ID of the agent that calls.

        Raises:
            PermissionDenied: it is none, or not one any more; with the details of SPIRE.
        """
        if context.peer.identity is None:
            raise PermissionDenied("caller does not have an X509-SVID")
        agent_id, serial = context.peer.identity  # type: ignore[misc]
        if agent_id in self.banned:
            raise permission_denied(Reason.AGENT_BANNED, f'agent "{agent_id}" is banned')
        if agent_id not in self.serials:
            raise permission_denied(
                Reason.AGENT_NOT_ATTESTED, f'agent "{agent_id}" is not attested'
            )
        if serial == self.new_serials.get(agent_id):
            self.serials[agent_id] = self.new_serials.pop(agent_id)
        if serial != self.serials[agent_id]:
            raise permission_denied(Reason.AGENT_NOT_ACTIVE, "wrong serial number")
        return str(agent_id)

    def _identify(self, chain: tuple[bytes, ...]) -> tuple[str, str]:
        spiffe_id = verify_peer_chain(chain, {self.trust_domain: self.bundle})
        return str(spiffe_id), str(CertificateFacts(chain[0]).serial_number)

    async def _note(self, context: CallContext) -> None:
        self.calls.append(context.method.rpartition("/")[2])


class _Agents:
    def __init__(self, server: FakeSpireServer) -> None:
        self._server = server

    async def attest_agent(
        self, requests: AsyncIterator[agent_pb2.AttestAgentRequest], _context: CallContext
    ) -> AsyncIterator[agent_pb2.AttestAgentResponse]:
        server = self._server
        params = (await anext(requests)).params
        token = params.data.payload.decode()
        server.presented_tokens.append(token)
        if server.attest_error is not None:
            raise server.attest_error
        if token not in server.tokens:
            raise InvalidArgument(
                "failed to attest: join token does not exist or has already been used"
            )
        if not server.reattestable:
            server.tokens.discard(token)
        agent_id = f"{server.trust_domain.id}/spire/agent/join_token/{token}"
        chain = server.sign(parse_csr(params.params.csr).public_key_der, agent_id)
        server.serials[agent_id] = str(CertificateFacts(chain[0]).serial_number)
        yield agent_pb2.AttestAgentResponse(
            result=agent_pb2.AttestAgentResponse.Result(
                svid=types_pb2.X509SVID(cert_chain=chain), reattestable=server.reattestable
            )
        )

    async def renew_agent(
        self, request: agent_pb2.RenewAgentRequest, context: CallContext
    ) -> agent_pb2.RenewAgentResponse:
        agent_id = self._server.check_agent(context)
        key = parse_csr(request.params.csr).public_key_der
        chain = self._server.sign(key, agent_id)
        self._server.new_serials[agent_id] = str(CertificateFacts(chain[0]).serial_number)
        return agent_pb2.RenewAgentResponse(svid=types_pb2.X509SVID(cert_chain=chain))

    async def post_status(
        self, request: agent_pb2.PostStatusRequest, context: CallContext
    ) -> agent_pb2.PostStatusResponse:
        self._server.check_agent(context)
        self._server.versions.append(request.agent_version)
        return agent_pb2.PostStatusResponse()


class _Bundles:
    def __init__(self, server: FakeSpireServer) -> None:
        self._server = server

    async def get_bundle(self, _request: Any, _context: CallContext) -> types_pb2.Bundle:
        return bundle_to_pb(self._server.bundle)

    async def get_federated_bundle(
        self, request: bundle_pb2.GetFederatedBundleRequest, context: CallContext
    ) -> types_pb2.Bundle:
        self._server.check_agent(context)
        found = self._server.federated.get(request.trust_domain)
        if found is None:
            raise NotFound("bundle not found")
        return bundle_to_pb(found)


class _Entries:
    def __init__(self, server: FakeSpireServer) -> None:
        self._server = server

    async def sync_authorized_entries(
        self, requests: AsyncIterator[Any], context: CallContext
    ) -> AsyncIterator[entry_pb2.SyncAuthorizedEntriesResponse]:
        if not self._server.offers_sync:
            raise Unimplemented("unknown method SyncAuthorizedEntries")
        self._server.check_agent(context)
        await anext(requests)
        entries = self._server.entries.values()
        yield entry_pb2.SyncAuthorizedEntriesResponse(entries=entries)

    async def get_authorized_entries(
        self, _request: Any, context: CallContext
    ) -> entry_pb2.GetAuthorizedEntriesResponse:
        self._server.check_agent(context)
        return entry_pb2.GetAuthorizedEntriesResponse(entries=self._server.entries.values())


class _SVIDs:
    def __init__(self, server: FakeSpireServer) -> None:
        self._server = server

    async def batch_new_x509svid(
        self, request: svid_pb2.BatchNewX509SVIDRequest, context: CallContext
    ) -> svid_pb2.BatchNewX509SVIDResponse:
        self._server.check_agent(context)
        response = svid_pb2.BatchNewX509SVIDResponse()
        for item in request.params:
            result = response.results.add()
            entry = self._server.entries.get(item.entry_id)
            if entry is None:
                result.status.code = 5
                result.status.message = "entry not found or not authorized"
                continue
            spiffe_id = f"{self._server.trust_domain.id}{entry.spiffe_id.path}"
            key = parse_csr(item.csr).public_key_der
            result.status.message = "OK"
            result.svid.cert_chain.extend(self._server.sign(key, spiffe_id))
        return response

    async def new_jwtsvid(
        self, request: svid_pb2.NewJWTSVIDRequest, context: CallContext
    ) -> svid_pb2.NewJWTSVIDResponse:
        self._server.check_agent(context)
        entry = self._server.entries.get(request.entry_id)
        if entry is None:
            raise NotFound("entry not found or not authorized")
        now = self._server.now()
        expires_at = now + timedelta(minutes=5)
        token = sign_jwt_svid(
            self._server.jwt_key,
            "jwt-key",
            spiffe_id=f"{self._server.trust_domain.id}{entry.spiffe_id.path}",
            audience=list(request.audience),
            expires_at=expires_at,
            issued_at=now,
        )
        return svid_pb2.NewJWTSVIDResponse(
            svid=types_pb2.JWTSVID(
                token=token,
                issued_at=int(now.timestamp()),
                expires_at=int(expires_at.timestamp()),
            )
        )
