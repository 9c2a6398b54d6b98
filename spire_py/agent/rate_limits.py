"""How often workloads may call (feature C26)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from spire_py.errors import Unavailable
from spire_py.model.selector import Selector
from spire_py.runtime.clock import Clock

MAX_CALLERS = 10_000
"""So many buckets are kept; the one longest unused goes first."""


class RateLimits:
    """Calls per second for each method and set of selectors, a second's worth at once.

    Workloads with the same selectors share their allowance.

    Args:
        limits: by full method name; what is not named is not limited.
    """

    def __init__(self, limits: Mapping[str, int], clock: Clock) -> None:
        self._limits = {method: limit for method, limit in limits.items() if limit > 0}
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, frozenset[Selector]], tuple[float, float]]
        self._buckets = OrderedDict()

    def spend(self, method: str, selectors: frozenset[Selector]) -> None:
        """Count one call.

        Raises:
            Unavailable: it is one too many; it may be tried again.
        """
        limit = self._limits.get(method)
        if limit is None:
            return
        key, now = (method, selectors), self._clock.monotonic()
        left, since = self._buckets.pop(key, (float(limit), now))
        left = min(float(limit), left + (now - since) * limit)
        allowed = left >= 1
        self._buckets[key] = (left - 1 if allowed else left, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise Unavailable(f"rate limit exceeded for {method}")
