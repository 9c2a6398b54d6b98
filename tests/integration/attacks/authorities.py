"""Certificates of authorities that mean ill."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from spire_py.crypto.keys import generate_key


def double_of(root: bytes, *, with_key_id: bool = True, other_case: bool = False) -> bytes:
    """A CA certificate with the name, and key ID, of `root`, and another key."""
    known = x509.load_der_x509_certificate(root)
    name = known.subject
    if other_case:
        name = x509.Name([x509.NameAttribute(item.oid, str(item.value).lower()) for item in name])
    key = generate_key("ec-p256")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(known.not_valid_before_utc)
        .not_valid_after(known.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if with_key_id:
        key_id = known.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(key_id, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def unreadable_name(root: bytes) -> bytes:
    """A certificate that one parser reads and OpenSSL does not: its name is no UTF-8."""
    known = x509.load_der_x509_certificate(root)
    name = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "mallory")])
    key = generate_key("ec-p256")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(known.not_valid_before_utc)
        .not_valid_after(known.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    return certificate.replace(b"mallory", b"\xff\xfe\xff\xfe\xff\xfe\xff")
