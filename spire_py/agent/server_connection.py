"""How the agent reaches its server, and makes sure that it is the server."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spire_py.agent.agent_svid import AgentSVID
from spire_py.crypto.certificate import CertificateFacts
from spire_py.errors import Unauthenticated
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import server_id
from spire_py.spiffe.x509_svid import verify_peer_chain
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Channel
from spire_py.transport.tls import client_context, insecure_client_context

log = get_logger("attestor")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where the server is, and in which trust domain."""

    host: str
    port: int
    trust_domain: TrustDomain

    @property
    def server_id(self) -> SpiffeID:
        """The one ID that the agent talks to."""
        return server_id(self.trust_domain)


def open_channel(
    address: ServerAddress,
    *,
    bundle: Callable[[], Bundle],
    svid: Callable[[], AgentSVID] | None = None,
) -> Channel:
    """A channel that trusts the bundle of the moment and shows the SVID of the moment, if any."""

    def context() -> ssl.SSLContext:
        roots = [authority.der for authority in bundle().x509_authorities]
        if svid is None:
            return client_context(roots=roots)
        current = svid()
        return client_context(chain=current.chain, key=current.key.private_key, roots=roots)

    def verify(chain: Sequence[bytes]) -> None:
        found = verify_peer_chain(chain, {address.trust_domain: bundle()})
        if found != address.server_id:
            raise Unauthenticated(f'unexpected ID "{found}"')

    return Channel.tcp(address.host, address.port, tls=context, verify_peer=verify)


def open_insecure_channel(address: ServerAddress) -> Channel:
    """A channel to whoever says it is the server (feature C9).

    That the certificate names the server is no security, only a guard against a mistaken address.
    """

    def verify(chain: Sequence[bytes]) -> None:
        log.warning("Insecure bootstrap enabled; skipping server certificate verification")
        if not chain:
            raise Unauthenticated("server chain is unexpectedly empty")
        uris = CertificateFacts(chain[0]).uris
        if uris != (str(address.server_id),):
            shown = ", ".join(uris)
            raise Unauthenticated(f'expected server SPIFFE ID "{address.server_id}"; got [{shown}]')

    return Channel.tcp(address.host, address.port, tls=insecure_client_context, verify_peer=verify)
