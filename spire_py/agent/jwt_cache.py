"""JWT-SVIDs: fetched once, given out while they are good (features C15, O9)."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import jwt

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.rotation import RotationStrategy
from spire_py.errors import SpireError, Unavailable
from spire_py.runtime.clock import Clock
from spire_py.spiffe.id import SpiffeID
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

CALL_TIMEOUT = timedelta(seconds=30)
MAX_KEPT_TOKEN = 16 * 1024
"""A longer token, of a workload that names a great many audiences, is not kept."""

_HALF_LIFE = RotationStrategy()


@dataclass(frozen=True, slots=True)
class JWTSVID:
    """A JWT-SVID as the server gave it."""

    token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime


class JWTSigner(Protocol):
    """What this cache needs of the server."""

    async def new_jwtsvid(
        self, entry_id: str, audience: Sequence[str], *, timeout: timedelta
    ) -> JWTSVID: ...


@dataclass(slots=True)
class _Kept:
    svid: JWTSVID
    rotate_at: datetime


@dataclass(slots=True)
class _Flight:
    """Callers who want one token at one time. A round that was cancelled has no outcome."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    callers: int = 0
    rounds: int = 0
    outcome: JWTSVID | Unavailable | None = None


class JWTCache:
    """The latest JWT-SVID for each identity and set of audiences.

    A hard limit of `max_svids`; the one longest unused goes first. Callers who want the same token
    at one time share one call to the server.
    """

    def __init__(
        self,
        *,
        signer: JWTSigner,
        clock: Clock,
        max_svids: int,
        hit_timeout: timedelta = CALL_TIMEOUT,
    ) -> None:
        self._signer = signer
        self._clock = clock
        self._max_svids = max_svids
        self._hit_timeout = hit_timeout
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, entry: AuthorizedEntry, audience: Sequence[str]) -> JWTSVID:
        """A token for `entry`, of the cache until half of its life is over.

        Past that the server is asked; where that fails, the kept one serves until it expires. An
        entry that wants a `jti` in its tokens gets a new one each time.

        Raises:
            Unavailable: there is none, and the server gave none.
        """
        if entry.jwt_svid_include_jti:
            return await self._fetch(entry, audience, CALL_TIMEOUT)
        key = cache_key(entry.spiffe_id, audience)
        kept = self._fresh(key)
        if kept is not None:
            return kept
        flight = self._flights.setdefault(key, _Flight())
        flight.callers += 1
        try:
            return await self._share(flight, key, entry, audience)
        finally:
            flight.callers -= 1
            if not flight.callers:
                self._flights.pop(key, None)

    async def _share(
        self, flight: _Flight, key: bytes, entry: AuthorizedEntry, audience: Sequence[str]
    ) -> JWTSVID:
        """Ask the server, or wait for whoever asks it now and take what that one got."""
        seen = flight.rounds
        async with flight.turn:
            if flight.rounds > seen and flight.outcome is not None:
                if isinstance(flight.outcome, Unavailable):
                    raise Unavailable(flight.outcome.message)
                return flight.outcome
            flight.outcome = None
            try:
                flight.outcome = await self._renew(key, entry, audience)
            except Unavailable as error:
                flight.outcome = error
                raise
            finally:
                flight.rounds += 1
            return flight.outcome

    def drop_signed_by(self, key_ids: Container[str]) -> int:
        """Forget all tokens signed with tainted keys, and tell how many there were."""
        dropped = [key for key, kept in self._kept.items() if _key_id(kept.svid) in key_ids]
        for key in dropped:
            del self._kept[key]
        return len(dropped)

    def _fresh(self, key: bytes) -> JWTSVID | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return kept.svid if self._clock.now() < kept.rotate_at else None

    async def _renew(self, key: bytes, entry: AuthorizedEntry, audience: Sequence[str]) -> JWTSVID:
        kept = self._kept.get(key)
        usable = kept is not None and self._clock.now() < kept.svid.expires_at
        try:
            svid = await self._fetch(entry, audience, self._hit_timeout if usable else CALL_TIMEOUT)
        except Unavailable as error:
            if kept is None or self._clock.now() >= kept.svid.expires_at:
                raise
            log.warning(
                "Unable to renew JWT; returning cached copy",
                spiffe_id=str(entry.spiffe_id),
                error=str(error),
            )
            return kept.svid
        if len(svid.token) <= MAX_KEPT_TOKEN:
            self._keep(key, svid)
        return svid

    def _keep(self, key: bytes, svid: JWTSVID) -> None:
        self._kept[key] = _Kept(svid, _HALF_LIFE.rotate_at(svid.issued_at, svid.expires_at))
        self._kept.move_to_end(key)
        while len(self._kept) > self._max_svids:
            self._kept.popitem(last=False)

    async def _fetch(
        self, entry: AuthorizedEntry, audience: Sequence[str], timeout: timedelta
    ) -> JWTSVID:
        try:
            return await self._signer.new_jwtsvid(entry.id, audience, timeout=timeout)
        except SpireError as error:
            message = f"could not fetch JWT-SVID: {error.message}"
            raise Unavailable(message) from error


def _key_id(svid: JWTSVID) -> str:
    try:
        return str(jwt.get_unverified_header(svid.token).get("kid", ""))
    except jwt.PyJWTError:
        return ""


def cache_key(spiffe_id: SpiffeID, audience: Sequence[str]) -> bytes:
    """Tells one token from another; the order of the audiences does not matter.

    Of fixed length, however long the audiences are. Each part comes after its length, so that no
    two lists run into the same text.
    """
    text = "".join(f"{len(part)}:{part}" for part in (str(spiffe_id), *sorted(audience)))
    return hashlib.sha256(text.encode()).digest()
