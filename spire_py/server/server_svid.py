"""The server's own X509-SVID, `/spire/server`, rotated at half its life (feature L20)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from spire_py.crypto.keys import PrivateKey, generate_key, public_key_der
from spire_py.errors import SpireError, Unavailable
from spire_py.plugin_api.key_manager import KeyType
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.server.ca.ca import SignedX509SVID
from spire_py.telemetry.logs import get_logger

_CHECK_INTERVAL = timedelta(seconds=5)

log = get_logger("svid_rotator")


class ServerSigner(Protocol):
    """What the rotator needs of the CA."""

    async def sign_server_svid(self, public_key_der: bytes) -> SignedX509SVID: ...

    def trusts(self, authority_id: str) -> bool:
        """Whether what the authority signed may go on being shown."""
        ...


@dataclass(frozen=True, slots=True)
class ServerSVID:
    """The SVID that the TCP port shows.

    `chain` is DER, leaf first; `authority_id` names the CA that signed it.
    """

    chain: tuple[bytes, ...]
    private_key: PrivateKey = field(repr=False)
    not_before: datetime
    expires_at: datetime
    authority_id: str

    def wants_rotation(self, now: datetime) -> bool:
        """Whether half of its life is over, or it has not begun: the clock was set back."""
        half = self.not_before + (self.expires_at - self.not_before) / 2
        return not self.not_before <= now < half


class ServerSVIDRotator:
    """Keeps the server's SVID fresh. Its key never leaves memory."""

    def __init__(self, *, signer: ServerSigner, key_type: KeyType, clock: Clock) -> None:
        self._signer = signer
        self._key_type = key_type
        self._clock = clock
        self.svid: Watch[ServerSVID | None] = Watch(None)
        """None until `rotate` was called once."""

    @property
    def current(self) -> ServerSVID:
        """The SVID to show.

        Raises:
            Unavailable: there is none yet.
        """
        svid = self.svid.value
        if svid is None:
            raise Unavailable("the server has no X509-SVID yet")
        return svid

    async def rotate(self) -> None:
        """Make a new key and have it signed.

        Raises:
            SpireError: the CA could not sign.
        """
        log.debug("Rotating server SVID")
        key = await self._new_key()
        signed = await self._signer.sign_server_svid(public_key_der(key))
        log.debug("Signed X509 SVID", expiration=signed.expires_at, spiffe_id=str(signed.spiffe_id))
        self.svid.set(
            ServerSVID(signed.chain, key, signed.not_before, signed.expires_at, signed.authority_id)
        )

    async def run(self) -> None:
        """Rotate when it is time, until cancelled."""
        while True:
            await self._clock.sleep(_CHECK_INTERVAL)
            if not self._is_due():
                continue
            try:
                await self.rotate()
            except SpireError as error:
                log.error("Could not rotate server SVID", error=error.message)

    async def _new_key(self) -> PrivateKey:
        if self._key_type in (KeyType.EC_P256, KeyType.EC_P384):
            return generate_key(self._key_type)
        # An RSA key takes up to seconds.
        return await asyncio.to_thread(generate_key, self._key_type)

    def _is_due(self) -> bool:
        svid = self.current
        # A root may be revoked, or lost with a database: no agent accepts the SVID any more.
        return svid.wants_rotation(self._clock.now()) or not self._signer.trusts(svid.authority_id)
