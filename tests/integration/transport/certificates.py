"""Certificates as SPIRE makes them, by `cryptography`'s builder: not by the code under test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Identity:
    """A leaf with its key."""

    certificate: bytes
    key: ec.EllipticCurvePrivateKey

    @property
    def chain_pem(self) -> bytes:
        return x509.load_der_x509_certificate(self.certificate).public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Authority:
    """A self-signed CA of a trust domain."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, uri)])
        builder = self._builder(self._name, self._key.public_key(), uri)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        self._certificate = builder.sign(self._key, SHA256())

    @property
    def root(self) -> bytes:
        return self._certificate.public_bytes(Encoding.DER)

    @property
    def root_pem(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(self, uri: str, dns: str | None = None) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([]), key.public_key(), uri, dns)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        certificate = builder.sign(self._key, SHA256())
        return Identity(certificate.public_bytes(Encoding.DER), key)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, uri: str, dns: str | None = None
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
        if dns is not None:
            names.append(x509.DNSName(dns))
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - HOUR)
            .not_valid_after(now + HOUR)
            .add_extension(x509.SubjectAlternativeName(names), False)
        )
