"""When an authority is to be replaced (feature L12)."""

from __future__ import annotations

from datetime import datetime, timedelta

BACKDATE = timedelta(seconds=10)
"""How long before its making a certificate is valid, for peers whose clock is late."""

_PREPARE_AT_MOST = timedelta(days=30)
_ACTIVATE_AT_MOST = timedelta(days=7)


def whole_seconds(time: datetime) -> datetime:
    """A time as certificates and tokens hold it."""
    return time.replace(microsecond=0)


def wants_successor(issued_at: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether the next authority is to be prepared, so that all learn of it in time."""
    return not_after - now <= min((not_after - issued_at) / 2, _PREPARE_AT_MOST)


def wants_to_retire(issued_at: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether the next authority is to take over, so that no SVID is cut short by the CA's end."""
    return not_after - now <= min((not_after - issued_at) / 6, _ACTIVATE_AT_MOST)


def is_valid(issued_at: datetime, not_after: datetime, now: datetime) -> bool:
    """Whether peers whose clocks agree with ours accept what the authority signs.

    One that seems to come from the future tells that the clock was set back.
    """
    return issued_at - BACKDATE <= now < not_after
