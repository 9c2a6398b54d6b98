from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from spire_py.crypto import der
from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import PrivateKey, generate_key, public_key_der
from spire_py.crypto.subject import (
    DEFAULT_CA_SUBJECT,
    EMPTY_SUBJECT,
    SVID_SUBJECT,
    Subject,
    svid_subject,
)
from spire_py.crypto.x509_signer import (
    SignedCertificate,
    X509Signer,
    new_serial_number,
    self_signed_ca,
)
from spire_py.errors import FailedPrecondition, InvalidArgument

NOW = datetime(2026, 5, 4, 12, 0, 30, 999999, tzinfo=UTC)
BEGIN = NOW - timedelta(seconds=10)
HOUR = timedelta(hours=1)
TRUST_DOMAIN = "spiffe://example.org"
WORKLOAD = "spiffe://example.org/workload"
CA_KEYS = {kind: generate_key(kind) for kind in ("ec-p256", "ec-p384", "rsa-2048")}
LEAF_KEYS = {**CA_KEYS, "ec-p521": ec.generate_private_key(ec.SECP521R1())}
HASHES = {"ec-p256": hashes.SHA256, "ec-p384": hashes.SHA384, "rsa-2048": hashes.SHA256}


def root_of(key: PrivateKey, **changes: datetime) -> bytes:
    lifetime = {"not_before": BEGIN, "not_after": NOW + 24 * HOUR, **changes}
    return self_signed_ca(key, TRUST_DOMAIN, DEFAULT_CA_SUBJECT, **lifetime)


KEY = CA_KEYS["ec-p256"]
ROOT = root_of(KEY)
SIGNER = X509Signer(ROOT, KEY)
PUBLIC = public_key_der(generate_key("ec-p256"))


def sign(*dns_names: str, subject: bytes | None = None) -> SignedCertificate:
    return SIGNER.sign_svid(
        PUBLIC, WORKLOAD, dns_names, not_before=BEGIN, not_after=NOW + HOUR, subject=subject
    )


def extension(
    certificate: bytes, kind: type[x509.ExtensionType]
) -> x509.Extension[x509.ExtensionType]:
    parsed = x509.load_der_x509_certificate(certificate)
    return parsed.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("ca_kind", list(CA_KEYS))
@pytest.mark.parametrize("leaf_kind", list(LEAF_KEYS))
def test_every_pair_of_key_kinds_gives_a_certificate_that_verifies(
    ca_kind: str, leaf_kind: str
) -> None:
    root = root_of(CA_KEYS[ca_kind])
    signed = X509Signer(root, CA_KEYS[ca_kind]).sign_svid(
        public_key_der(LEAF_KEYS[leaf_kind]), WORKLOAD, not_before=BEGIN, not_after=NOW + HOUR
    )
    leaf, issuer = (x509.load_der_x509_certificate(one) for one in (signed.der, root))
    leaf.verify_directly_issued_by(issuer)
    assert isinstance(leaf.signature_hash_algorithm, HASHES[ca_kind])
    assert leaf.public_key() == LEAF_KEYS[leaf_kind].public_key()


@pytest.mark.spec(18, 19)
def test_the_id_is_the_only_uri_and_stands_after_the_dns_names() -> None:
    names = extension(sign("a.test", "b.test").der, x509.SubjectAlternativeName).value
    assert list(names) == [  # type: ignore[call-overload]
        x509.DNSName("a.test"),
        x509.DNSName("b.test"),
        x509.UniformResourceIdentifier(WORKLOAD),
    ]


@pytest.mark.spec(12)
def test_an_id_of_2048_bytes_is_signed() -> None:
    spiffe_id = f"spiffe://example.org/{'a' * 2027}"
    signed = SIGNER.sign_svid(PUBLIC, spiffe_id, not_before=BEGIN, not_after=NOW + HOUR)
    assert CertificateFacts(signed.der).uris == (spiffe_id,)


@pytest.mark.spec(23)
@pytest.mark.parametrize(("subject", "critical"), [(EMPTY_SUBJECT, True), (None, False)])
def test_the_names_are_critical_where_the_subject_is_empty(
    subject: bytes | None, critical: bool
) -> None:
    assert extension(sign(subject=subject).der, x509.SubjectAlternativeName).critical == critical


@pytest.mark.spec(26, 27, 28, 29)
def test_key_usage_of_a_leaf() -> None:
    usage = extension(sign().der, x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=True,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = extension(sign().der, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=False, path_length=None)


@pytest.mark.spec(30)
def test_a_leaf_serves_both_ends() -> None:
    assert extension(sign().der, x509.ExtendedKeyUsage).value == x509.ExtendedKeyUsage(
        [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    )


def test_key_identifiers_of_a_leaf() -> None:
    leaf = CertificateFacts(sign().der)
    key = serialization.load_der_public_key(PUBLIC)
    assert leaf.subject_key_id == x509.SubjectKeyIdentifier.from_public_key(key).digest  # type: ignore[arg-type]
    assert leaf.authority_key_id == CertificateFacts(ROOT).subject_key_id
    assert not extension(sign().der, x509.AuthorityKeyIdentifier).critical


def test_the_lifetime_is_in_whole_seconds() -> None:
    signed = sign()
    facts = CertificateFacts(signed.der)
    assert facts.not_before == BEGIN.replace(microsecond=0)
    assert facts.not_after == signed.not_after == (NOW + HOUR).replace(microsecond=0)


def test_the_lifetime_ends_with_the_cas() -> None:
    signed = SIGNER.sign_svid(PUBLIC, WORKLOAD, not_before=BEGIN, not_after=NOW + 240 * HOUR)
    assert signed.not_after == CertificateFacts(ROOT).not_after
    assert CertificateFacts(signed.der).not_after == CertificateFacts(ROOT).not_after


def test_an_expired_ca_signs_nothing() -> None:
    late = CertificateFacts(ROOT).not_after
    with pytest.raises(FailedPrecondition, match="X509 CA has expired"):
        SIGNER.sign_svid(PUBLIC, WORKLOAD, not_before=late, not_after=late + HOUR)


def test_an_empty_lifetime_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="end before it begins"):
        SIGNER.sign_svid(PUBLIC, WORKLOAD, not_before=NOW, not_after=NOW)


def test_a_lifetime_beyond_2049_is_encoded_as_rfc_5280_asks() -> None:
    late = datetime(2051, 1, 2, 3, 4, 5, tzinfo=UTC)
    root = root_of(KEY, not_after=late)
    assert b"\x18\x0f20510102030405Z" in root
    assert CertificateFacts(root).not_after == late
    assert b"\x17\x0d491231235959Z" in root_of(
        KEY, not_after=datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    )


def test_the_serial_number_is_random_and_that_of_the_certificate() -> None:
    first, second = sign(), sign()
    assert first.serial_number != second.serial_number
    assert CertificateFacts(first.der).serial_number == first.serial_number
    assert all(0 < new_serial_number() < 2**128 for _ in range(100))


def test_the_subject_is_spires_with_the_first_dns_name() -> None:
    subject = CertificateFacts(sign("a.test", "b.test").der).subject
    assert subject == Subject(country=("US",), organization=("SPIRE",), common_name="a.test")
    assert CertificateFacts(sign().der).subject == SVID_SUBJECT
    assert CertificateFacts(sign().der).subject_der == svid_subject()


@pytest.mark.parametrize("name", ["ä.test", ""])
def test_a_dns_name_that_is_not_ascii_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="must be ASCII"):
        sign(name, subject=bytes(SVID_SUBJECT))


def test_a_malformed_public_key_is_refused() -> None:
    for junk in (b"", b"\x30", b"\x30\x80", PUBLIC[:-1], PUBLIC + b"\0", b"\x30\x02\x30\x00"):
        with pytest.raises(InvalidArgument):
            SIGNER.sign_svid(junk, WORKLOAD, not_before=BEGIN, not_after=NOW + HOUR)


def test_further_extensions_are_put_in() -> None:
    more = der.extension("1.2.3.4", b"\x05\x00")
    signed = SIGNER.sign_svid(
        PUBLIC, WORKLOAD, not_before=BEGIN, not_after=NOW + HOUR, extra_extensions=[more]
    )
    parsed = x509.load_der_x509_certificate(signed.der)
    found = parsed.extensions.get_extension_for_oid(x509.ObjectIdentifier("1.2.3.4"))
    assert found.value.public_bytes() == b"\x05\x00"


@pytest.mark.spec(16, 17, 24, 25)
def test_a_ca_has_the_id_of_its_trust_domain() -> None:
    assert CertificateFacts(ROOT).uris == (TRUST_DOMAIN,)


@pytest.mark.spec(26, 28)
def test_key_usage_of_a_ca() -> None:
    usage = extension(ROOT, x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = extension(ROOT, x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=None)
    with pytest.raises(x509.ExtensionNotFound):
        extension(ROOT, x509.ExtendedKeyUsage)
    with pytest.raises(x509.ExtensionNotFound):
        extension(ROOT, x509.AuthorityKeyIdentifier)


@pytest.mark.spec(36)
@pytest.mark.parametrize("kind", list(CA_KEYS))
def test_a_root_is_self_signed(kind: str) -> None:
    root = x509.load_der_x509_certificate(root_of(CA_KEYS[kind]))
    root.verify_directly_issued_by(root)


def test_the_subject_of_a_ca_tells_its_serial_number() -> None:
    facts = CertificateFacts(ROOT)
    assert facts.subject.serial_number == str(facts.serial_number)
    assert facts.subject.organization == ("SPIFFE",)


def test_a_serial_number_that_is_set_stays() -> None:
    subject = Subject(organization=("Acme",), serial_number="42")
    root = self_signed_ca(KEY, TRUST_DOMAIN, subject, BEGIN, NOW + HOUR)
    assert CertificateFacts(root).subject == subject


@pytest.mark.spec(25, 26, 28)
def test_an_intermediate_is_a_ca_below_the_root() -> None:
    key = generate_key("ec-p256")
    subject = Subject(organization=("SPIFFE",), organizational_unit=("DOWNSTREAM-1",))
    signed = SIGNER.sign_ca(
        public_key_der(key),
        TRUST_DOMAIN,
        subject=subject,
        not_before=BEGIN,
        not_after=NOW + 240 * HOUR,
    )
    facts = CertificateFacts(signed.der)
    assert facts.is_ca
    assert facts.uris == (TRUST_DOMAIN,)
    assert facts.not_after == CertificateFacts(ROOT).not_after
    assert facts.authority_key_id == CertificateFacts(ROOT).subject_key_id
    assert facts.subject.serial_number == str(signed.serial_number)
    assert facts.key_usage is not None
    assert facts.key_usage.key_cert_sign
    X509Signer(signed.der, key).sign_svid(PUBLIC, WORKLOAD, not_before=BEGIN, not_after=NOW + HOUR)


def test_a_signer_needs_a_ca_and_its_key() -> None:
    with pytest.raises(InvalidArgument, match="does not fit"):
        X509Signer(ROOT, generate_key("ec-p256"))
    key = generate_key("ec-p256")
    leaf = SIGNER.sign_svid(public_key_der(key), WORKLOAD, not_before=BEGIN, not_after=NOW + HOUR)
    with pytest.raises(InvalidArgument, match="no CA"):
        X509Signer(leaf.der, key)
    with pytest.raises(InvalidArgument, match="malformed"):
        X509Signer(b"junk", key)


def test_the_issuer_is_encoded_as_in_the_ca_byte_by_byte() -> None:
    """Names are compared by their bytes, and a foreign CA may encode them in its own way."""
    name = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zeta"),
                    x509.NameAttribute(NameOID.COMMON_NAME, "ä"),
                ]
            )
        ]
    )
    key = generate_key("ec-p256")
    ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(BEGIN)
        .not_valid_after(NOW + HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    # A string type that the library would not choose when it writes the name anew.
    odd = ca.replace(b"\x0c\x04Zeta", b"\x13\x04Zeta")
    assert CertificateFacts(odd).subject_der in odd
    leaf = X509Signer(odd, key).sign_svid(PUBLIC, WORKLOAD, not_before=BEGIN, not_after=NOW + HOUR)
    assert CertificateFacts(leaf.der).issuer_der == CertificateFacts(odd).subject_der
    # Without a subject key identifier in the CA, that of its key is taken.
    assert CertificateFacts(leaf.der).authority_key_id == CertificateFacts(ca).subject_key_id


@pytest.mark.peer("openssl")
@pytest.mark.parametrize("kind", list(CA_KEYS))
def test_openssl_verifies_strictly(kind: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    root = root_of(CA_KEYS[kind], not_before=now - HOUR, not_after=now + HOUR)
    middle_key = generate_key("ec-p256")
    middle = X509Signer(root, CA_KEYS[kind]).sign_ca(
        public_key_der(middle_key),
        TRUST_DOMAIN,
        subject=DEFAULT_CA_SUBJECT,
        not_before=now - HOUR,
        not_after=now + HOUR,
    )
    leaf = X509Signer(middle.der, middle_key).sign_svid(
        PUBLIC,
        WORKLOAD,
        ["a.test"],
        not_before=now - timedelta(seconds=10),
        not_after=now + HOUR,
    )
    for name, content in (("root", root), ("middle", middle.der), ("leaf", leaf.der)):
        (tmp_path / name).write_text(pem(content))
    files = ("-CAfile", "root", "-untrusted", "middle", "leaf")
    result = subprocess.run(
        ["openssl", "verify", "-x509_strict", *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout == "leaf: OK\n", result.stderr


def pem(content: bytes) -> str:
    body = base64.encodebytes(content).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=63)


@settings(max_examples=200)
@given(
    path=NAMES,
    dns_names=st.lists(NAMES, max_size=4),
    seconds=st.integers(1, 40 * 365 * 24 * 3600),
    organization=st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable()),
    leaf_kind=st.sampled_from(sorted(LEAF_KEYS)),
    ca_kind=st.sampled_from(sorted(CA_KEYS)),
)
def test_a_certificate_equals_the_one_of_the_general_builder(
    path: str,
    dns_names: list[str],
    seconds: int,
    organization: str,
    leaf_kind: str,
    ca_kind: str,
) -> None:
    """Everything that is signed is compared byte by byte; only the strings of names may differ."""
    spiffe_id = f"spiffe://example.org/{path}"
    signed = LONG_SIGNERS[ca_kind].sign_svid(
        public_key_der(LEAF_KEYS[leaf_kind]),
        spiffe_id,
        dns_names,
        not_before=BEGIN,
        not_after=NOW + timedelta(seconds=seconds),
        subject=bytes(Subject(organization=(organization,))),
    )
    mine = x509.load_der_x509_certificate(signed.der)
    assert (
        mine.subject == x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
        or mine.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == organization
    )
    theirs = built(mine, LONG_ROOTS[ca_kind], LEAF_KEYS[leaf_kind], spiffe_id, dns_names)
    expected = theirs.sign(CA_KEYS[ca_kind], HASHES[ca_kind]())
    assert mine.tbs_certificate_bytes == expected.tbs_certificate_bytes


LONG_ROOTS = {
    kind: root_of(key, not_after=NOW + timedelta(days=365 * 30)) for kind, key in CA_KEYS.items()
}
LONG_SIGNERS = {kind: X509Signer(LONG_ROOTS[kind], key) for kind, key in CA_KEYS.items()}


def built(
    like: x509.Certificate,
    root: bytes,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    spiffe_id: str,
    dns_names: list[str],
) -> x509.CertificateBuilder:
    """The builder of `cryptography`, told to make the certificate `like`."""
    issuer = x509.load_der_x509_certificate(root)
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    usage = extension(sign().der, x509.KeyUsage).value
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
    names.append(x509.UniformResourceIdentifier(spiffe_id))
    return (
        x509.CertificateBuilder()
        .subject_name(like.subject)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(like.serial_number)
        .not_valid_before(like.not_valid_before_utc)
        .not_valid_after(like.not_valid_after_utc)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
