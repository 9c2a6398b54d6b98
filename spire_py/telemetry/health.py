"""Health checks of the subsystems, and the answers to live and ready (features B9, C31)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from spire_py.errors import AlreadyExists, FailedPrecondition, SpireError
from spire_py.runtime.clock import Clock
from spire_py.telemetry.http_response import HttpResponse
from spire_py.telemetry.logs import get_logger

STARTING_INTERVAL = timedelta(seconds=1)
"""Between rounds until all is well for the first time."""

STEADY_INTERVAL = timedelta(seconds=10)
"""Between rounds afterwards. SPIRE waits a minute."""

CHECK_TIMEOUT = timedelta(seconds=30)
"""A check that takes longer has failed."""

log = get_logger("health")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """How a subsystem is. The details are shown to whoever asks: no secrets.

    `live`: in a good state, or in one it can leave without a restart. `ready`: it can do its work.
    `started`: None counts as true; while false, a failure is no error.
    """

    live: bool
    ready: bool
    started: bool | None = None
    live_details: Mapping[str, Any] | None = None
    ready_details: Mapping[str, Any] | None = None

    @property
    def fault(self) -> str:
        """What is wrong, in SPIRE's words; empty where nothing is."""
        if self.live and self.ready:
            return ""
        missing = [name for name, good in (("live", self.live), ("ready", self.ready)) if not good]
        return f"subsystem is not {' or '.join(missing)}"


Check: TypeAlias = Callable[[], Awaitable[HealthState]]


@dataclass(slots=True)
class _Subsystem:
    check: Check
    state: HealthState = field(default_factory=lambda: HealthState(live=False, ready=False))
    checked: bool = False
    failing_since: float | None = None
    failures: int = 0
    fault: str = ""


class HealthRegistry:
    """Runs the checks of all subsystems; `live` and `ready` answer from the last round."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._subsystems: dict[str, _Subsystem] = {}
        self._remarks: dict[str, Callable[[], Mapping[str, Any]]] = {}

    def add_remarks(self, name: str, tell: Callable[[], Mapping[str, Any]]) -> None:
        """Have `ready` show what `tell` gives, if anything; it counts neither for nor against."""
        self._remarks[name] = tell

    def add(self, name: str, check: Check) -> None:
        """Have a subsystem checked from the next round on.

        Raises:
            AlreadyExists: there is one of this name.
        """
        if name in self._subsystems:
            raise AlreadyExists(f'check "{name}" has already been added')
        self._subsystems[name] = _Subsystem(check)

    async def run(self) -> None:
        """Check all subsystems in rounds, until cancelled.

        Raises:
            FailedPrecondition: there is nothing to check.
        """
        if not self._subsystems:
            raise FailedPrecondition("no health checks defined")
        interval = STARTING_INTERVAL
        while True:
            await self.check_now()
            if self.is_live and self.is_ready:
                interval = STEADY_INTERVAL
            await self._clock.sleep(interval)

    async def check_now(self) -> None:
        """One round; each check has `CHECK_TIMEOUT`."""
        for name, subsystem in list(self._subsystems.items()):
            self._note(name, subsystem, await _state(subsystem.check))

    @property
    def is_live(self) -> bool:
        return all(subsystem.state.live for subsystem in self._subsystems.values())

    @property
    def is_ready(self) -> bool:
        return all(subsystem.state.ready for subsystem in self._subsystems.values())

    async def live(self) -> HttpResponse:
        """The handler of `live_path`."""
        details = {name: one.state.live_details for name, one in self._subsystems.items()}
        return _response(self.is_live, details)

    async def ready(self) -> HttpResponse:
        """The handler of `ready_path`."""
        details = {name: one.state.ready_details for name, one in self._subsystems.items()}
        remarks = {name: told for name, tell in self._remarks.items() if (told := tell())}
        return _response(self.is_ready, {**details, **remarks})

    def _note(self, name: str, subsystem: _Subsystem, state: HealthState) -> None:
        """Keep the state, and log how it changed."""
        fault = state.fault
        if fault and state.started is False:
            if fault != subsystem.fault:
                log.warning("Health check has failed. Starting up still.", check=name, error=fault)
        elif fault:
            self._note_failure(name, subsystem, state, fault)
        elif subsystem.failing_since is not None:
            log.info(
                "Health check recovered",
                check=name,
                details=_details(state),
                duration=self._clock.monotonic() - subsystem.failing_since,
                error=subsystem.fault,
                failures=subsystem.failures,
            )
        if not fault:
            subsystem.failing_since, subsystem.failures = None, 0
        subsystem.state, subsystem.fault, subsystem.checked = state, fault, True

    def _note_failure(
        self, name: str, subsystem: _Subsystem, state: HealthState, fault: str
    ) -> None:
        subsystem.failures += 1
        if subsystem.failing_since is None:
            subsystem.failing_since = self._clock.monotonic()
            log.error("Health check has failed", check=name, error=fault)
            log.warning("Health check failed", check=name, details=_details(state), error=fault)
        else:
            log.debug("Health check has failed", check=name, error=fault)


async def _state(check: Check) -> HealthState:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
            return await check()
    except TimeoutError:
        reason = "the check took too long"
    except SpireError as error:
        reason = str(error)
    details = {"err": reason}
    return HealthState(live=False, ready=False, live_details=details, ready_details=details)


def _details(state: HealthState) -> dict[str, Any]:
    return {"live": state.live_details, "ready": state.ready_details}


def _response(good: bool, details: Mapping[str, Any]) -> HttpResponse:
    body = json.dumps(details, sort_keys=True, separators=(",", ":")) + "\n"
    return HttpResponse(200 if good else 500, body.encode(), "application/json")
