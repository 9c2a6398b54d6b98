"""When an SVID is to be replaced."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

_JITTER = random.SystemRandom()
_GRACE = timedelta(hours=12)
_SPREAD = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RotationStrategy:
    """Decides the time of rotation once for each SVID, spread so that not all come at once.

    `availability_target` (feature C13) is how long an outage of the server must be survived; zero
    means that none is configured.
    """

    availability_target: timedelta = timedelta()

    def rotate_at(self, not_before: datetime, not_after: datetime) -> datetime:
        """The time from which the SVID is to be replaced (feature O2).

        That is when half of its life is left, 10 % more or less. With an availability target it is
        when the target and up to ten minutes are left, should that be earlier; an SVID whose life
        exceeds the target by 12 hours or less rotates at half of it all the same.
        """
        lifetime = not_after - not_before
        left = lifetime / 2 * _JITTER.uniform(0.9, 1.1)
        if self.availability_target and not self.falls_short(not_before, not_after):
            left = max(left, self.availability_target + _SPREAD * _JITTER.random())
        return not_after - left

    def falls_short(self, not_before: datetime, not_after: datetime) -> bool:
        """Whether the SVID's life is too short for the availability target, if there is one."""
        spare = not_after - not_before - self.availability_target
        return bool(self.availability_target) and spare <= _GRACE
