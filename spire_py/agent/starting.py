"""What a starting agent tries and waits for, in the log and in its readiness (features O12, C31).

SPIRE's agent ends after a minute and leaves the waiting to whoever starts it again. In Kubernetes
that is a pod which crashes, and whose next start comes up to five minutes after the server.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from spire_py.config.durations import short_duration
from spire_py.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    PermissionDenied,
    SpireError,
    Unavailable,
)
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import LogLevel, get_logger

log = get_logger("attestor")

T = TypeVar("T")

_FIRST_RETRY = timedelta(seconds=5)
_MAX_RETRY = 24 * _FIRST_RETRY
_MAX_WAIT = timedelta(seconds=27)
"""30 s at most, with what `Backoff` adds so that a cluster's agents do not all come at once."""
_LOUD = timedelta(minutes=1)
_REMINDER = timedelta(minutes=5)


class NoTrustBundle(FailedPrecondition):
    """The configured bundle is not there yet, or not yet whole; the server may have to write it."""


def is_awaited(error: SpireError) -> bool:
    """Whether the failure passes by itself once the server is there, or the bundle is.

    A server that refuses, or that the bundle does not vouch for, is there.
    """
    if isinstance(error, NoTrustBundle):
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return False
        if isinstance(cause, SpireError) and not isinstance(cause, (Unavailable, DeadlineExceeded)):
            return False
        cause = cause.__cause__
    return True


class Start:
    """How the start goes on.

    Args:
        server: `host:port`.
        clock: for the waits.
        give_up_after: how long what is not awaited is tried.
    """

    def __init__(self, *, server: str, clock: Clock, give_up_after: timedelta) -> None:
        self._server = server
        self._clock = clock
        self._give_up_after = give_up_after.total_seconds()
        self._awaited = ""
        self._since = 0.0
        self._reminder = 0.0
        self.obstacle = ""
        """What the last try failed at, in one sentence; empty where it did not."""

    async def retry(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        message: str,
        final: tuple[type[SpireError], ...] = (PermissionDenied,),
        may_wait: Callable[[], bool] = lambda: True,
    ) -> T:
        """Try until it succeeds, with growing waits that begin at 5 s.

        A server that is not there, and a trust bundle, are waited for without end; another try
        comes at least every 30 s.

        Args:
            attempt: one try.
            message: SPIRE's sentence for a failed one.
            final: what ends it at once, as when the server says no.
            may_wait: whether waiting may help still.

        Raises:
            SpireError: one of `final`; or the last error, once what is not awaited has failed for
                so long that the next try would come after `give_up_after`.
        """
        backoff = Backoff(initial=_FIRST_RETRY, maximum=_MAX_RETRY)
        patient = Backoff(initial=_FIRST_RETRY, maximum=_MAX_WAIT)
        loud_until = self._clock.monotonic() + _LOUD.total_seconds()
        deadline = self._clock.monotonic() + self._give_up_after
        while True:
            try:
                result = await attempt()
            except final:
                raise
            except SpireError as error:
                now = self._clock.monotonic()
                awaited = is_awaited(error) and may_wait()
                wait = (patient if awaited else backoff).next()
                if awaited:
                    deadline = now + self._give_up_after
                    self._note_awaited(error)
                elif now + wait.total_seconds() > deadline:
                    raise
                else:
                    self._note_refused(error)
                level = LogLevel.WARNING if now < loud_until else LogLevel.DEBUG
                seconds = f"{wait.total_seconds():.3f}s"
                log.log(level, message, error=str(error), retry_interval=seconds)
            else:
                self._note_success()
                return result
            await self._clock.sleep(wait)

    def _note_awaited(self, error: SpireError) -> None:
        """Log what is awaited, at once and then every five minutes."""
        now = self._clock.monotonic()
        no_bundle = isinstance(error, NoTrustBundle)
        what = "the trust bundle" if no_bundle else f"the server at {self._server}"
        if what != self._awaited:
            self._awaited, self._since, self._reminder = what, now, now
        self.obstacle = f"waiting for {what}: {error.message}"
        if now < self._reminder:
            return
        self._reminder = now + _REMINDER.total_seconds()
        log.warning(
            "Agent waits for what it needs to start",
            awaited=what,
            waited=self._waited(),
            error=error.message,
        )

    def _note_refused(self, error: SpireError) -> None:
        self._awaited = ""
        self.obstacle = error.message

    def _note_success(self) -> None:
        if self._awaited:
            log.info("Agent goes on with its start", awaited=self._awaited, waited=self._waited())
        self._awaited = self.obstacle = ""

    def _waited(self) -> str:
        return short_duration(timedelta(seconds=self._clock.monotonic() - self._since))
