"""What to do when the server's authority is not one we know any more (features C10, O7)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta

from spire_py.agent.storage import AgentStorage
from spire_py.errors import FailedPrecondition, SpireError
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

_NOT_ALLOWED = (
    "you have requested rebootstrap support but the NodeAttestor plugin or the spire server "
    "configuration is not allowing it"
)
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""OpenSSL's verify codes: self-signed leaf or root, no issuer known, no signature to verify."""


class Rebootstrapping(FailedPrecondition):
    """The agent forgot its identity and its bundle, and ends in order to begin anew."""


def is_unknown_authority(error: BaseException | None) -> bool:
    """Whether a call failed because the server's certificate leads to no authority of ours."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_code in _UNKNOWN_AUTHORITY
        error = error.__cause__
    return False


class Rebootstrap:
    """Counts how long the server has been of an unknown authority.

    It may be an attacker's, or our server may have lost its keys: nobody can tell. Whoever turns
    this on, by `rebootstrap_mode`, decides for the latter once `delay` is over. Then the configured
    source of the trust bundle is asked again, and the node attested anew.

    Args:
        mode: `never`, `auto` or `always`.
        last_success: when the server last answered over a verified connection.
    """

    def __init__(
        self,
        *,
        mode: str,
        delay: timedelta,
        storage: AgentStorage,
        clock: Clock,
        last_success: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        self._mode = mode
        self._delay = delay
        self._storage = storage
        self._clock = clock
        self._last_success = last_success
        self._since: float | None = None
        self._success_before: datetime | None = None

    def require_reattestable(self, reattestable: bool) -> None:
        """Look whether this agent could attest anew at all.

        Raises:
            FailedPrecondition: it could not, and the mode is `always`.
        """
        if self._mode == "never" or reattestable:
            return
        if self._mode == "always":
            raise FailedPrecondition(_NOT_ALLOWED)
        log.warning(f"{_NOT_ALLOWED}. Disabling")  # noqa: G004 - one sentence of SPIRE's
        self._mode = "never"

    async def forget_bundle_if_due(self, error: SpireError) -> None:
        """After a failed attestation: have the next one begin with the configured bundle."""
        if not self._storage.data.bundle:
            return
        if self._is_due(error):
            await asyncio.to_thread(self._storage.store, bundle=())

    async def end_if_due(self, error: SpireError) -> None:
        """After a failed call of an attested agent.

        Raises:
            Rebootstrapping: the delay is over.
        """
        if not self._is_due(error):
            return
        await asyncio.to_thread(
            self._storage.store,
            svid=(),
            reattestable=False,
            bundle=(),
            bootstrap_start_time=self._clock.now(),
            connection_attempts=0,
        )
        raise Rebootstrapping("shutting down for rebootstrapping") from error

    def _is_due(self, error: SpireError) -> bool:
        if self._mode == "never" or not is_unknown_authority(error):
            return False
        # By a clock that nobody sets: a jump must neither shorten the delay nor lengthen it.
        now, success = self._clock.monotonic(), self._last_success()
        if self._since is None or success != self._success_before:
            self._since, self._success_before = now, success
        left = self._delay - timedelta(seconds=now - self._since)
        if left > timedelta():
            log.info(
                "Trust Bundle and Server don't agree, ignoring for now",
                time_left=f"{left.total_seconds():.0f}s",
            )
            return False
        log.warning("Trust Bundle and Server don't agree, rebootstrapping")
        return True
