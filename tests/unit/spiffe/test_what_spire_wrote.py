"""What a SPIRE server (1.16.0-dev, trust domain example.org) wrote, read and written again by us.

`bundle.json` is the output of `bundle show -format spiffe`; `svid.pem` and `token.jwt` were minted
for `spiffe://example.org/w`, the former with the DNS names `*.a.org` and `b.org`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import jwt
from cryptography import x509

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import generate_key
from spire_py.crypto.pem import certificates_to_pem, pem_to_certificates
from spire_py.crypto.x509_signer import X509Signer, self_signed_ca
from spire_py.spiffe.bundle_format import bundle_from_json, bundle_to_json
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.jwt_svid import sign_jwt_svid, validate_jwt_svid
from spire_py.spiffe.x509_svid import verify_chain

GOLDEN = Path(__file__).parent / "golden"
BUNDLE_TEXT = (GOLDEN / "bundle.json").read_text().removesuffix("\n")
HOME = TrustDomain("example.org")
BUNDLE = bundle_from_json(HOME, BUNDLE_TEXT)
CHAIN = pem_to_certificates((GOLDEN / "svid.pem").read_text())
TOKEN = (GOLDEN / "token.jwt").read_text().strip()
WORKLOAD = "spiffe://example.org/w"
DNS_NAMES = ("*.a.org", "b.org")


def test_the_bundle_is_written_to_the_letter() -> None:
    assert bundle_to_json(BUNDLE) == BUNDLE_TEXT


def test_the_chain_is_written_to_the_letter() -> None:
    assert certificates_to_pem(CHAIN) == (GOLDEN / "svid.pem").read_text()


def test_the_svid_is_valid() -> None:
    now = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
    assert str(verify_chain(CHAIN, {HOME: BUNDLE}, now)) == WORKLOAD


def test_the_token_is_valid() -> None:
    now = datetime(2026, 11, 23, 8, 15, tzinfo=UTC)
    assert str(validate_jwt_svid(TOKEN, "db", {HOME: BUNDLE}, now).spiffe_id) == WORKLOAD


def test_our_token_has_the_same_header_and_claims() -> None:
    claims = jwt.decode(TOKEN, options={"verify_signature": False})
    key_id = jwt.get_unverified_header(TOKEN)["kid"]
    ours = sign_jwt_svid(
        generate_key("ec-p256"),
        key_id,
        spiffe_id=WORKLOAD,
        audience=["db"],
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
    )
    assert jwt.get_unverified_header(ours) == jwt.get_unverified_header(TOKEN)
    assert jwt.decode(ours, options={"verify_signature": False}) == claims


def test_our_certificates_differ_in_numbers_and_keys_only() -> None:
    theirs = CertificateFacts(BUNDLE.x509_authorities[0].der), CertificateFacts(CHAIN[0])
    key = generate_key("ec-p256")
    ca, svid = theirs
    root = self_signed_ca(key, str(HOME.id), ca.subject, ca.not_before, ca.not_after)
    leaf = X509Signer(root, key).sign_svid(
        svid.public_key_der,
        WORKLOAD,
        DNS_NAMES,
        not_before=svid.not_before,
        not_after=svid.not_after,
    )
    for mine, his in ((root, ca), (leaf.der, svid)):
        assert list(shape(mine)) == list(shape(his.der))
    assert CertificateFacts(leaf.der).subject_key_id == svid.subject_key_id


def shape(certificate: bytes) -> Iterator[object]:
    """All that is signed, in order, but serial number, key and key identifiers."""
    parsed = x509.load_der_x509_certificate(certificate)
    facts = CertificateFacts(certificate)
    yield parsed.version, parsed.signature_algorithm_oid
    yield facts.issuer_der, facts.not_before, facts.not_after, facts.subject_der
    for extension in parsed.extensions:
        of_keys = (x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier)
        content = extension.value.public_bytes()
        shown = content[:-20] if isinstance(extension.value, of_keys) else content
        yield extension.oid, extension.critical, shown, len(content)
