"""TLS contexts for both ends (feature G22). A context is never changed: a new one is made instead.

Roots cannot be taken out of a context, so a change of certificates, keys or roots is a new context
(about 1 ms), which new connections get and old ones do not notice.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from spire_py.crypto.keys import PrivateKey
from spire_py.errors import InvalidArgument
from spire_py.telemetry.logs import get_logger

log = get_logger("transport")

# TLS 1.2 suites that HTTP/2 allows (RFC 9113 section 9.2.2); those of TLS 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_ENCODING_DER = 2  # OpenSSL's X509_FILETYPE_ASN1


def server_context(
    *, chain: Sequence[bytes], key: PrivateKey, roots: Iterable[bytes]
) -> ssl.SSLContext:
    """A server that asks for a client certificate and can do without.

    OpenSSL accepts a client certificate below any of the roots, whatever its trust domain: whoever
    uses the connection has to check the verified anchor too (`verified_chain`).

    Args:
        chain: DER, the leaf first.
        key: of the leaf.
        roots: DER, of all trust domains whose members may come.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_OPTIONAL
    anchors = list(roots)
    _load_roots(context, anchors)
    _load_key(context, _with_issuer(chain, anchors), key)
    return context


def client_context(
    *, chain: Sequence[bytes] = (), key: PrivateKey | None = None, roots: Iterable[bytes]
) -> ssl.SSLContext:
    """A client that trusts servers below `roots`; `verify_peer` decides, no name is looked at."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    anchors = list(roots)
    _load_roots(context, anchors)
    if key is not None:
        _load_key(context, _with_issuer(chain, anchors), key)
    return context


def insecure_client_context() -> ssl.SSLContext:
    """A client that trusts anyone: for the first contact of an insecure bootstrap only.

    The chain that the server sent is still given to `verify_peer`, unverified.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verified_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """The peer's chain as DER, leaf first and the trusted anchor last; empty without a certificate.

    With a context that verifies nothing it is what the peer sent.

    Raises:
        ssl.SSLError: the peer has a certificate, but no verified chain is known.
    """
    if tls.getpeercert(binary_form=True) is None:
        return ()
    verifies = tls.context.verify_mode is not ssl.CERT_NONE
    chain = _chain(tls, "get_verified_chain" if verifies else "get_unverified_chain")
    if not chain:
        raise ssl.SSLError("the peer's certificate has no verified chain")
    return chain


def _chain(tls: ssl.SSLObject, name: str) -> tuple[bytes, ...]:
    if sys.version_info >= (3, 13):
        return tuple(getattr(tls, name)() or ())
    # Before 3.13 the method is on the object inside only, and gives certificate objects.
    inner: Any = tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001
    return tuple(each.public_bytes(_ENCODING_DER) for each in getattr(inner, name)() or ())


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2"])
    # An intermediate in a bundle is an anchor as good as a root (SPIFFE X.509-SVID section 5).
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    return context


def _load_roots(context: ssl.SSLContext, roots: Sequence[bytes]) -> None:
    if not roots:
        return
    try:
        context.load_verify_locations(cadata=b"".join(roots))
    except ssl.SSLError:
        _load_readable_roots(context, roots)


def _load_readable_roots(context: ssl.SSLContext, roots: Sequence[bytes]) -> None:
    """One that OpenSSL cannot read must not take the trust in the others away."""
    loaded = 0
    for root in roots:
        try:
            context.load_verify_locations(cadata=root)
            loaded += 1
        except ssl.SSLError:
            log.error("root_certificate_unreadable", sha256=hashlib.sha256(root).hexdigest())
    if not loaded:
        raise InvalidArgument("no root certificate can be read")


def _with_issuer(chain: Sequence[bytes], roots: Sequence[bytes]) -> Sequence[bytes]:
    """`chain`, and the root above it where it is a lone leaf.

    OpenSSL completes a lone leaf from the roots by itself, but does so, signatures and all, in
    each handshake: a sixth of its time. A chain that is longer it leaves alone.
    """
    if len(chain) != 1:
        return chain
    leaf = x509.load_der_x509_certificate(chain[0])
    for root in roots:
        try:
            leaf.verify_directly_issued_by(x509.load_der_x509_certificate(root))
        except (ValueError, TypeError, InvalidSignature):
            continue
        return (chain[0], root)
    return chain


def _load_key(context: ssl.SSLContext, chain: Sequence[bytes], key: PrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificates = "".join(ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain).encode()
    try:
        with memory_file(pem + certificates) as path:
            context.load_cert_chain(path)
    except ssl.SSLError as error:
        raise InvalidArgument("certificate chain and private key do not fit") from error


@contextmanager
def memory_file(content: bytes) -> Iterator[str]:
    """A file that is on no disk: `ssl` takes keys from files only."""
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
