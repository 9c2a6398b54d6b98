"""Where a node's certificate and key come from."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import PrivateKey, public_key_der
from spire_py.crypto.pem import MAX_PEM_BYTES, load_private_key_block, pem_to_certificates
from spire_py.errors import InvalidArgument

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_PRIVATE_KEY = re.compile(
    rb"-----BEGIN (?P<kind>(?:[A-Z]+ )?PRIVATE KEY)-----[^-]*-----END (?P=kind)-----"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain as DER, the node's own first, and its key."""

    certificates: tuple[bytes, ...]
    key: PrivateKey


class IdentitySource(Protocol):
    """Where the node's certificate comes from."""

    async def fetch(self) -> Identity:
        """The identity as it is now.

        Raises:
            SpireError: it cannot be had.
        """
        ...


class FileIdentity:
    """An identity in PEM files, read each time."""

    def __init__(self, certificate: Path, private_key: Path, intermediates: Path | None) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._intermediates = intermediates

    async def fetch(self) -> Identity:
        return await asyncio.to_thread(self._load)

    def _load(self) -> Identity:
        try:
            certificates = _certificates(_read(self._certificate))
            key = _private_key(_read(self._private_key))
            if CertificateFacts(certificates[0]).public_key_der != public_key_der(key):
                raise InvalidArgument("private key does not match the certificate")
        except InvalidArgument as error:
            raise InvalidArgument(f"unable to load keypair: {error.message}") from error
        return Identity((*certificates, *self._load_intermediates()), key)

    def _load_intermediates(self) -> tuple[bytes, ...]:
        if self._intermediates is None:
            return ()
        try:
            return _certificates(_read(self._intermediates))
        except InvalidArgument as error:
            raise InvalidArgument(
                f"unable to load intermediate certificates: {error.message}"
            ) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"{str(path)!r}: {error.strerror}") from error
    if len(content) > MAX_PEM_BYTES:
        raise InvalidArgument(f"{str(path)!r} is too long")
    return content


def _certificates(pem: bytes) -> tuple[bytes, ...]:
    """The certificates of a file that may hold the key, too."""
    return tuple(pem_to_certificates(b"\n".join(_CERTIFICATE.findall(pem))))


def _private_key(pem: bytes) -> PrivateKey:
    """The first key of a file; PKCS#8, PKCS#1 or SEC 1."""
    found = _PRIVATE_KEY.search(pem)
    if found is None:
        raise InvalidArgument("file holds no private key")
    return load_private_key_block(found[0])
