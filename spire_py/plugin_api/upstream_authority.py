"""UpstreamAuthority: the PKI above the server, which signs its CAs (features K8 to K15)."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta

from spire_py.errors import Unimplemented
from spire_py.plugin_api.plugin import Plugin
from spire_py.spiffe.bundle import JWTAuthority


@dataclass(frozen=True, slots=True)
class MintedX509CA:
    """A CA certificate that was signed upstream, all as DER.

    `chain` begins with the certificate itself and goes on towards a root, which is not among it.
    `roots` are all that are trusted upstream; the chain leads to one of them.
    """

    chain: tuple[bytes, ...]
    roots: tuple[bytes, ...]


class UpstreamAuthority(Plugin, ABC):
    """Signs CA certificates for this server. There is at most one.

    The server checks whatever it is given, keeps its former CA where it is given nothing, and asks
    again every ten seconds.
    """

    async def open(self) -> None:
        """Make ready. Called once, before the server does anything else, and not by `validate`.

        Raises:
            SpireError: there is no use in starting; a line for the operator.
        """

    @abstractmethod
    async def mint_x509_ca(self, csr: bytes, preferred_ttl: timedelta) -> MintedX509CA:
        """Sign a CA certificate.

        Args:
            csr: DER, signed by the CA's key; its only URI SAN is the trust domain's ID.
            preferred_ttl: how long the certificate should live; it may live shorter.

        Raises:
            SpireError: there is none to be had now.
        """

    async def publish_jwt_key(self, key: JWTAuthority) -> tuple[JWTAuthority, ...]:
        """Have what this server's JWT-SVIDs are signed with trusted upstream.

        Returns:
            All JWT keys that are trusted upstream.

        Raises:
            Unimplemented: not offered; the key is then in this server's own bundle alone.
            SpireError: it could not be done now; the key will not be used.
        """
        del key
        raise Unimplemented("publishing upstream is unsupported")

    async def next_roots(self) -> tuple[bytes, ...]:
        """Wait until other roots are trusted upstream than those given before; all of them as DER.

        The server adds them to its bundle and asks again. As it stands here it waits for ever:
        roots then come with CA certificates only.

        Raises:
            SpireError: they cannot be had now.
        """
        await asyncio.Event().wait()
        return ()
