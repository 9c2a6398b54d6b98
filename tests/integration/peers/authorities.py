"""Trust domains of the tests' own, and bundles set over the admin socket."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from spire_py._proto.spire.api.server import bundle_pb2
from spire_py.crypto.keys import generate_key, private_key_to_pkcs8, public_key_der
from spire_py.crypto.pem import certificates_to_pem, private_key_to_pem
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.transport import Channel
from spire_py.wire.bundles import bundle_to_pb
from tests.unit.agent.builders import Authority

_SERVICE = "/spire.api.server.bundle.v1.Bundle"


def authority_of(trust_domain: str) -> Authority:
    """A CA with a JWT key, from now on."""
    return Authority(TrustDomain(trust_domain), datetime.now(UTC))


def write_identity(authority: Authority, spiffe_id: str, folder: Path) -> tuple[Path, Path]:
    """An SVID as PEM files: chain and key."""
    key = generate_key("ec-p256")
    folder.mkdir(parents=True, exist_ok=True)
    chain_file, key_file = folder / "chain.pem", folder / "key.pem"
    chain = authority.chain(public_key_der(key), spiffe_id)
    chain_file.write_text(certificates_to_pem(chain))
    key_file.write_text(private_key_to_pem(private_key_to_pkcs8(key)))
    return chain_file, key_file


async def append_to_own_bundle(server_socket: Path, bundle: Bundle) -> None:
    """Let the server's own bundle grow by these authorities."""
    message = bundle_to_pb(bundle)
    request = bundle_pb2.AppendBundleRequest(
        x509_authorities=message.x509_authorities, jwt_authorities=message.jwt_authorities
    )
    channel = Channel.unix(server_socket)
    response_type = type(message)
    await channel.unary(f"{_SERVICE}/AppendBundle", request, response_type, timeout=20)
    await channel.aclose()


async def set_federated_bundle(server_socket: Path, bundle: Bundle) -> None:
    """Store another trust domain's bundle."""
    request = bundle_pb2.BatchSetFederatedBundleRequest(bundle=[bundle_to_pb(bundle)])
    channel = Channel.unix(server_socket)
    response = await channel.unary(
        f"{_SERVICE}/BatchSetFederatedBundle",
        request,
        bundle_pb2.BatchSetFederatedBundleResponse,
        timeout=20,
    )
    await channel.aclose()
    assert [result.status.code for result in response.results] == [0], response


async def delete_federated_bundle(server_socket: Path, trust_domain: str) -> None:
    """Forget it, also in the entries that federate with it."""
    mode = bundle_pb2.BatchDeleteFederatedBundleRequest.DISSOCIATE
    request = bundle_pb2.BatchDeleteFederatedBundleRequest(trust_domains=[trust_domain], mode=mode)
    channel = Channel.unix(server_socket)
    response = await channel.unary(
        f"{_SERVICE}/BatchDeleteFederatedBundle",
        request,
        bundle_pb2.BatchDeleteFederatedBundleResponse,
        timeout=20,
    )
    await channel.aclose()
    assert [result.status.code for result in response.results] == [0], response
