"""The cluster's CA, the API server's certificate, and certificates for clients."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.pki import Issued, issue


class ClusterCA:
    """Issues what the cluster's own PKI would."""

    def __init__(self) -> None:
        self._root = issue(name="kubernetes", is_ca=True)

    @property
    def pem(self) -> str:
        return self._root.pem

    def server(self, names: Sequence[str]) -> Issued:
        """A certificate for DNS names and IP addresses."""
        return self._issue("kube-apiserver", (), [_general_name(name) for name in names])

    def client(self, user: str, groups: Sequence[str] = ()) -> Issued:
        """A certificate of a user; as kubeadm writes them into kubeconfig files."""
        return self._issue(user, groups, [])

    def _issue(self, name: str, groups: Sequence[str], names: Sequence[x509.GeneralName]) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self._root.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Issued(builder.sign(self._root.key, hashes.SHA256()), key)

    def server_context(self, issued: Issued) -> ssl.SSLContext:
        """Asks for a client certificate, and does without."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=self.pem)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "server.pem"
            path.write_text(issued.key_pem + issued.pem)
            context.load_cert_chain(path)
        return context


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
