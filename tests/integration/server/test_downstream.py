"""What a server below ours may have: a CA of its own, and its JWT keys in our bundle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import bundle_pb2, svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.x509_signer import X509Signer
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import verify_chain
from spire_py.transport import Channel

from .conftest import BUNDLE, SVID, RunningServer

NEW_CA = SVID + "NewDownstreamX509CA"
PUBLISH = BUNDLE + "PublishJWTAuthority"
TRUST_DOMAIN = TrustDomain("example.org")


@pytest.fixture
async def downstream(server: RunningServer) -> Channel:
    """The port, as a server for which there is a downstream entry."""
    await server.create_entry("/node", "/downstream", downstream=True)
    return server.port(await server.identity("/downstream"))


async def new_ca(
    server: RunningServer, channel: Channel, csr: bytes, ttl: int = 0
) -> svid_pb2.NewDownstreamX509CAResponse:
    request = svid_pb2.NewDownstreamX509CARequest(csr=csr, preferred_ttl=ttl)
    return await server.call(NEW_CA, request, svid_pb2.NewDownstreamX509CAResponse, channel)


async def test_an_svid_of_the_downstream_ca_is_valid_by_our_bundle(
    server: RunningServer, downstream: Channel
) -> None:
    key = generate_key(KeyType.EC_P256)
    response = await new_ca(server, downstream, make_csr(key, uri="spiffe://other.org/x"))
    assert list(response.x509_authorities) == [server.root]
    leaf_key = public_key_der(generate_key(KeyType.EC_P256))
    now = datetime.now(UTC)
    svid = X509Signer(response.ca_cert_chain[0], key).sign_svid(
        leaf_key,
        "spiffe://example.org/below",
        (),
        not_before=now,
        not_after=now + timedelta(minutes=5),
    )
    bundle = Bundle(TRUST_DOMAIN, x509_authorities=(X509Authority(server.root),))
    chain = [svid.der, *response.ca_cert_chain]
    assert str(verify_chain(chain, {TRUST_DOMAIN: bundle}, now)) == "spiffe://example.org/below"


async def test_the_downstream_ca_is_as_spires(server: RunningServer, downstream: Channel) -> None:
    csr = make_csr(generate_key(KeyType.EC_P256))
    response = await new_ca(server, downstream, csr, ttl=600)
    (der,) = response.ca_cert_chain
    ca = x509.load_der_x509_certificate(der)
    units = ca.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    assert [unit.value for unit in units] == ["DOWNSTREAM-1"]
    names = ca.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org"]
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    lifetime = ca.not_valid_after_utc - ca.not_valid_before_utc
    assert lifetime == timedelta(seconds=610)


async def test_a_downstream_ca_never_outlives_ours(
    server: RunningServer, downstream: Channel
) -> None:
    csr = make_csr(generate_key(KeyType.EC_P256))
    response = await new_ca(server, downstream, csr, ttl=365 * 86400)
    ca = x509.load_der_x509_certificate(response.ca_cert_chain[0])
    root = x509.load_der_x509_certificate(server.root)
    assert ca.not_valid_after_utc == root.not_valid_after_utc


async def test_a_malformed_csr_is_refused(server: RunningServer, downstream: Channel) -> None:
    with pytest.raises(InvalidArgument, match="malformed CSR"):
        await new_ca(server, downstream, b"none")


async def test_a_published_jwt_key_is_in_the_bundle(
    server: RunningServer, downstream: Channel
) -> None:
    public_key = public_key_der(generate_key(KeyType.EC_P256))
    expires_at = int(datetime.now(UTC).timestamp()) + 600
    key = types_pb2.JWTKey(public_key=public_key, key_id="below", expires_at=expires_at)
    response = await server.call(
        PUBLISH,
        bundle_pb2.PublishJWTAuthorityRequest(jwt_authority=key),
        bundle_pb2.PublishJWTAuthorityResponse,
        downstream,
    )
    assert [each.key_id for each in response.jwt_authorities] == ["key", "below"]
    bundle = await server.call(
        BUNDLE + "GetBundle", bundle_pb2.GetBundleRequest(), types_pb2.Bundle
    )
    assert key in bundle.jwt_authorities


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param(None, "missing JWT authority", id="none"),
        pytest.param(
            types_pb2.JWTKey(key_id="a", public_key=b"x"), "invalid JWT authority", id="malformed"
        ),
    ],
)
async def test_a_key_that_is_none_is_not_published(
    server: RunningServer, downstream: Channel, key: types_pb2.JWTKey | None, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        await server.call(
            PUBLISH,
            bundle_pb2.PublishJWTAuthorityRequest(jwt_authority=key),
            bundle_pb2.PublishJWTAuthorityResponse,
            downstream,
        )
