from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from spire_py._proto.spire.api.types_pb2 import Bundle as BundleMessage
from spire_py._proto.spire.api.types_pb2 import JWTKey, X509Certificate
from spire_py.crypto.concatenated import split_certificates
from spire_py.errors import InvalidArgument
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.bundles import (
    bundle_from_pb,
    bundle_to_pb,
    known_bundle_from_pb,
)
from tests.fakes.pki import issue

TD = TrustDomain("example.org")
ROOT = issue(is_ca=True)
SECOND = issue(is_ca=True)
PUBLIC = ROOT.key.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)


def bundle(*, tainted: bool) -> Bundle:
    expires_at = datetime(2026, 6, 1, tzinfo=UTC)
    return Bundle(
        TD,
        (X509Authority(ROOT.der, tainted), X509Authority(SECOND.der)),
        (JWTAuthority("a", PUBLIC, expires_at, tainted), JWTAuthority("b", PUBLIC)),
        (JWTAuthority("w", PUBLIC, expires_at),),
        timedelta(minutes=5),
        2**64 - 1,
    )


@pytest.mark.parametrize("tainted", [True, False])
def test_bundle_of_our_server_comes_back_as_it_was(tainted: bool) -> None:
    assert known_bundle_from_pb(bundle_to_pb(bundle(tainted=tainted))) == bundle(tainted=tainted)


def test_clients_cannot_taint_an_authority() -> None:
    assert bundle_from_pb(bundle_to_pb(bundle(tainted=True))) == bundle(tainted=False)


def test_several_certificates_may_stand_in_one_message() -> None:
    both = X509Certificate(asn1=ROOT.der + SECOND.der)
    read = bundle_from_pb(BundleMessage(trust_domain="example.org", x509_authorities=[both]))
    assert read.x509_authorities == (X509Authority(ROOT.der), X509Authority(SECOND.der))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(
            BundleMessage(), "invalid trust domain: trust domain is missing", id="no trust domain"
        ),
        pytest.param(
            BundleMessage(trust_domain="t", x509_authorities=[X509Certificate(asn1=b"\x30\x00")]),
            "unable to parse X.509 authority: malformed certificate",
            id="no certificate",
        ),
        pytest.param(
            BundleMessage(trust_domain="t", x509_authorities=[X509Certificate(asn1=b"x" * 99)]),
            "unable to parse X.509 authority: malformed certificate",
            id="no DER",
        ),
        pytest.param(
            BundleMessage(trust_domain="t", jwt_authorities=[JWTKey(key_id="a", public_key=b"x")]),
            "unable to parse JWT authority: malformed public key",
            id="no key",
        ),
        pytest.param(
            BundleMessage(trust_domain="t", jwt_authorities=[JWTKey(public_key=PUBLIC)]),
            "unable to parse JWT authority: missing key ID",
            id="no key ID",
        ),
    ],
)
def test_what_is_no_bundle_is_refused(message: BundleMessage, text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        bundle_from_pb(message)
    assert refusal.value.message == text


@given(st.binary(max_size=300))
def test_any_bytes_are_split_or_refused(data: bytes) -> None:
    try:
        parts = split_certificates(data)
    except InvalidArgument:
        return
    assert b"".join(parts) == data


@pytest.mark.parametrize("cut", [1, 2, 3, 100, -1])
def test_certificate_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(InvalidArgument, match="malformed certificate"):
        split_certificates(ROOT.der[:cut])


def test_a_certificate_of_our_server_that_cannot_be_read_is_left_out() -> None:
    message = bundle_to_pb(bundle(tainted=False))
    for junk in (b"junk", b"\x30\x03\x02\x01\x01", ROOT.der[:-1]):
        message.x509_authorities.add(asn1=junk)
    assert known_bundle_from_pb(message) == bundle(tainted=False)
