"""One fetch of the pod list for all who wait for it (feature J3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from spire_py.config.durations import format_duration
from spire_py.errors import SpireError, Unavailable
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger
from spire_py_plugins.workload_attestor.k8s.pods import Pod

log = get_logger("workload_attestor")

_WARNINGS = 3


class PodSource(Protocol):
    """What is fetched from."""

    async def fetch_pods(self) -> Mapping[str, Pod]: ...


@dataclass(frozen=True, slots=True)
class PodList:
    """The pods of the node by UID. A list fetched later has a higher version."""

    pods: Mapping[str, Pod]
    version: int


class PodLists:
    """Fetches pod lists, one at a time, and hands each to all who ask meanwhile.

    Args:
        source: is asked.
        interval: at least this lies between the starts of two fetches; a list counts for as long.
        clock: measures it.
    """

    def __init__(self, *, source: PodSource, interval: timedelta, clock: Clock) -> None:
        self._source = source
        self._interval = interval
        self._clock = clock
        self._latest: PodList | None = None
        self._latest_start = 0.0
        self._last_start: float | None = None
        self._fetching: asyncio.Task[PodList | SpireError] | None = None
        self._failures = 0
        self._closed = False

    async def newer_than(self, version: int, *, quiet: bool = False) -> PodList:
        """A fresh list that is newer than `version`; 0 is older than any.

        With `quiet`, a fetch that this call begins does not complain in the log.

        Raises:
            SpireError: the fetch that this call waited for failed, or this is closed.
        """
        latest = self._latest
        if latest and latest.version > version and self._age(self._latest_start) < self._interval:
            return latest
        if self._closed:
            raise Unavailable("pod list fetcher is closed")
        fetching = self._fetching
        if fetching is None:
            # A task of its own: a caller that goes away must not take the others' fetch along.
            fetching = self._fetching = asyncio.create_task(self._fetch(quiet), name="pod list")
        await asyncio.wait({fetching})
        if fetching.cancelled():
            raise Unavailable("pod list fetcher is closed")
        outcome = fetching.result()
        if isinstance(outcome, SpireError):
            raise outcome
        return outcome

    async def _fetch(self, quiet: bool) -> PodList | SpireError:
        try:
            if self._last_start is not None:
                await self._clock.sleep(self._interval - self._age(self._last_start))
            start = self._last_start = self._clock.monotonic()
            pods = await self._source.fetch_pods()
        except SpireError as error:
            if not quiet:
                self._tell_failure(error)
            return error
        finally:
            self._fetching = None
        self._tell_success(pods)
        self._latest = PodList(pods, (self._latest.version if self._latest else 0) + 1)
        self._latest_start = start
        return self._latest

    def _age(self, start: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - start)

    def _tell_failure(self, error: SpireError) -> None:
        self._failures += 1
        tell = log.warning if self._failures <= _WARNINGS else log.debug
        tell(
            "Unable to get pod list; will retry after backoff",
            error=error.message,
            retry_interval=format_duration(self._interval),
        )

    def _tell_success(self, pods: Mapping[str, Pod]) -> None:
        if self._failures:
            log.info("Got pod list again", pods=len(pods), failures=self._failures)
        self._failures = 0

    async def aclose(self) -> None:
        """End the fetch that is under way, and refuse others."""
        self._closed = True
        fetching = self._fetching
        if fetching is not None:
            fetching.cancel()
            await asyncio.wait({fetching})
