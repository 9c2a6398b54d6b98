"""Operators get SVIDs for any workload ID of the trust domain (feature G11)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from spire_py._proto.spire.api.server import svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.crypto.subject import Subject
from spire_py.plugin_api.key_manager import KeyType
from spire_py.runtime.clock import SystemClock
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.x509_svid import verify_chain

from .conftest import DOMAIN, SVID, RunningServer, pb_id

ID = "spiffe://example.org/minted"
KEY = generate_key(KeyType.EC_P256)


async def mint(
    server: RunningServer, *, by: Any = None, ttl: int = 0, **asked_for: Any
) -> x509.Certificate:
    request = svid_pb2.MintX509SVIDRequest(csr=make_csr(KEY, uri=ID, **asked_for), ttl=ttl)
    response = await server.call(
        SVID + "MintX509SVID", request, svid_pb2.MintX509SVIDResponse, channel=by
    )
    trusted = {DOMAIN: Bundle(DOMAIN, (X509Authority(server.root),))}
    now = SystemClock().now()
    assert str(verify_chain(response.svid.cert_chain, trusted, now)) == ID
    certificate = x509.load_der_x509_certificate(response.svid.cert_chain[0])
    assert response.svid.id == pb_id("/minted")
    assert response.svid.expires_at == int(certificate.not_valid_after_utc.timestamp())
    return certificate


def life(certificate: x509.Certificate) -> timedelta:
    """Without the ten seconds by which certificates are backdated."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - begin - timedelta(seconds=10)


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 3600), (90, 90)])
async def test_an_x509_svid_is_for_the_key_and_lives_as_asked_for(
    server: RunningServer, ttl: int, seconds: int
) -> None:
    certificate = await mint(server, ttl=ttl, dns=("a.example.org", "b.example.org"))
    assert certificate.public_key() == KEY.public_key()
    assert life(certificate) == timedelta(seconds=seconds)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example.org", "b.example.org"]
    assert certificate.subject.rfc4514_string() == "CN=a.example.org,O=SPIRE,C=US"


async def test_the_subject_of_the_request_is_taken(server: RunningServer) -> None:
    subject = bytes(Subject(organization=("ACME",), common_name="mine"))
    certificate = await mint(server, subject=subject)
    assert certificate.subject.rfc4514_string() == "CN=mine,O=ACME"


async def test_an_admin_mints_over_the_port(server: RunningServer) -> None:
    await server.create_entry("/spire/agent/a", "/admin", admin=True)
    by = server.port(await server.identity("/admin"))
    assert (await mint(server, by=by)).public_key() == KEY.public_key()


@pytest.mark.parametrize(("ttl", "seconds"), [(0, 300), (30, 30)])
async def test_a_jwt_svid_is_for_its_audiences_and_lives_as_asked_for(
    server: RunningServer, ttl: int, seconds: int
) -> None:
    request = svid_pb2.MintJWTSVIDRequest(id=pb_id("/minted"), audience=["a", "b"], ttl=ttl)
    response = await server.call(SVID + "MintJWTSVID", request, svid_pb2.MintJWTSVIDResponse)
    bundle = await server.datastore.get_bundle(DOMAIN)
    assert bundle is not None
    (authority,) = bundle.jwt_authorities
    header = jwt.get_unverified_header(response.svid.token)
    assert header == {"alg": "ES256", "kid": authority.key_id, "typ": "JWT"}
    key = serialization.load_der_public_key(authority.public_key)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    claims = jwt.decode(response.svid.token, key, algorithms=["ES256"], audience="b")
    assert (claims["sub"], claims["aud"]) == (ID, ["a", "b"])
    assert claims["exp"] - claims["iat"] == seconds
    assert (response.svid.expires_at, response.svid.issued_at) == (claims["exp"], claims["iat"])
