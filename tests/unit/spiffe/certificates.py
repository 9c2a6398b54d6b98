"""Certificates of any shape, right or wrong, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import TrustDomain

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOME = TrustDomain("example.org")
FOREIGN = TrustDomain("foreign.test")
WORKLOAD = "spiffe://example.org/workload"

Extensions = Sequence[tuple[x509.ExtensionType, bool]]


def key_usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in names for name in every})


def uris(*texts: str) -> tuple[x509.ExtensionType, bool]:
    names = [x509.UniformResourceIdentifier(text) for text in texts]
    return x509.SubjectAlternativeName(names), False


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
CA: Extensions = (
    (x509.BasicConstraints(ca=True, path_length=None), True),
    (key_usage("key_cert_sign", "crl_sign"), True),
)
LEAF: Extensions = (
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (key_usage("digital_signature"), True),
)


@dataclass(frozen=True)
class Issuer:
    """A CA that signs anything."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def sign(
        self,
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        extensions: Extensions,
        *,
        not_before: datetime = NOW - HOUR,
        not_after: datetime = NOW + HOUR,
    ) -> bytes:
        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.DER)

    def root(self, extensions: Extensions = CA, **changes: datetime) -> bytes:
        return self.sign(self.name, self.key, extensions, **changes)

    def leaf(self, *ids: str, extensions: Extensions = LEAF, **changes: datetime) -> bytes:
        """A leaf with these URI SANs; its key is of no interest."""
        everything = (*extensions, uris(*ids)) if ids else extensions
        return self.sign("leaf", _LEAF_KEY, everything, **changes)

    def intermediate(self, ca: Issuer, extensions: Extensions = CA, **changes: datetime) -> bytes:
        """The certificate that makes `ca` an intermediate CA below this one."""
        return self.sign(ca.name, ca.key, extensions, **changes)


_LEAF_KEY = ec.generate_private_key(ec.SECP256R1())


def bundle_of(trust_domain: TrustDomain, *roots: bytes) -> Bundle:
    return Bundle(trust_domain, tuple(X509Authority(root) for root in roots))
