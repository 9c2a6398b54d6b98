"""By what a certificate is taken for the issuer of another: its name and the ID of its key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.parse_errors import PARSE_ERRORS
from spire_py.errors import InvalidArgument

_FAULTS: tuple[type[Exception], ...] = (InvalidArgument, *PARSE_ERRORS)


@dataclass(frozen=True, slots=True)
class IssuerNames:
    """Name and key ID as TLS compares them; None where the certificate cannot be read or has none.

    `subject` has neither the case nor the number of spaces of the name: OpenSSL disregards both.
    """

    subject: tuple[tuple[tuple[str, str], ...], ...] | None
    key_id: bytes | None

    def may_be_any_of(self, others: Iterable[IssuerNames]) -> bool:
        """Whether what one of `others` has issued could be taken for issued by this one."""
        return any(self._may_be(other) for other in others)

    def _may_be(self, other: IssuerNames) -> bool:
        if self.subject is None or other.subject is None:
            return self.subject is None
        if self.subject != other.subject:
            return False
        return self.key_id is None or other.key_id is None or self.key_id == other.key_id


def issuer_names(der: bytes) -> IssuerNames:
    """Read them from a certificate."""
    try:
        certificate = CertificateFacts(der).certificate
        subject = tuple(
            tuple(sorted((item.oid.dotted_string, _folded(item.value)) for item in part))
            for part in certificate.subject.rdns
        )
        return IssuerNames(subject, _key_id(certificate))
    except _FAULTS:
        return IssuerNames(None, None)


def _folded(value: str | bytes) -> str:
    text = value if isinstance(value, str) else value.decode("latin-1")
    return " ".join(text.casefold().split())


def _key_id(certificate: x509.Certificate) -> bytes | None:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return found.value.digest
