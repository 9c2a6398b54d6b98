"""Registration entries: who gets which identity."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from spire_py.model.selector import Selector
from spire_py.spiffe.id import SpiffeID, TrustDomain


@dataclass(frozen=True, slots=True)
class Entry:
    """A registration entry (features N1 to N15).

    `id` is empty until the datastore has given one. A TTL of zero means the server's default.
    `selectors` and `federates_with` are sorted and hold nothing twice.
    `expires_at` is None for an entry that does not expire; `created_at` is None until stored.
    Times are whole seconds.
    """

    spiffe_id: SpiffeID
    parent_id: SpiffeID
    selectors: tuple[Selector, ...] = ()
    id: str = ""
    x509_svid_ttl: timedelta = timedelta()
    jwt_svid_ttl: timedelta = timedelta()
    federates_with: tuple[TrustDomain, ...] = ()
    admin: bool = False
    downstream: bool = False
    store_svid: bool = False
    expires_at: datetime | None = None
    dns_names: tuple[str, ...] = ()
    hint: str = ""
    disable_x509_svid_prefetch: bool = False
    jwt_svid_include_jti: bool = False
    revision_number: int = 0
    created_at: datetime | None = None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


def seconds_to_time(seconds: int) -> datetime | None:
    """A time of SPIRE's wire or database: unix seconds, 0 for none."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def time_to_seconds(time: datetime | None) -> int:
    """The way back: whole unix seconds, 0 for None."""
    return int(time.timestamp()) if time else 0
