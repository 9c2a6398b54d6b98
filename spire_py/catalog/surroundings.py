"""Says early what plugins lack around them, and later calls would fail on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from spire_py.catalog.finder import Made
from spire_py.errors import SpireError
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger

log = get_logger("catalog")

_FIRST_WAIT = timedelta(seconds=5)
_LONGEST_WAIT = timedelta(minutes=5)
_MOST_SECONDS = 30.0
_MOST_REASONS = 100
_LONGEST_REASON = 1_000


class Surroundings:
    """Asks each plugin what is missing around it, until nothing is.

    Each sentence is logged once, and once more when it holds no longer.

    Args:
        plugins: to be asked, each by itself.
        clock: for the waits between questions.
    """

    def __init__(self, plugins: Iterable[Made], *, clock: Clock) -> None:
        self._plugins = tuple(plugins)
        self._clock = clock
        self._missing: dict[str, tuple[str, ...]] = {}

    def missing(self) -> Mapping[str, tuple[str, ...]]:
        """What is missing now, by plugin; without those that lack nothing."""
        return self._missing

    async def run(self) -> None:
        """Ask until nothing is missing."""
        async with asyncio.TaskGroup() as tasks:
            for plugin in self._plugins:
                tasks.create_task(self._watch(plugin), name="surroundings")

    async def _watch(self, plugin: Made) -> None:
        waits = Backoff(initial=_FIRST_WAIT, maximum=_LONGEST_WAIT, multiplier=2)
        while missing := await _ask(plugin):
            self._note(plugin, missing)
            await self._clock.sleep(waits.next())
        self._note(plugin, ())

    def _note(self, plugin: Made, missing: tuple[str, ...]) -> None:
        name = f"{plugin.config.type} {plugin.config.name}"
        facts = {"plugin_name": plugin.config.name, "plugin_type": plugin.config.type}
        known = self._missing.pop(name, ())
        if missing:
            self._missing[name] = missing
        for reason in missing:
            if reason not in known:
                log.warning("Plugin lacks something around it", reason=reason, **facts)
        for reason in known:
            if reason not in missing:
                log.info("Plugin lacks this no longer", reason=reason, **facts)


async def _ask(plugin: Made) -> tuple[str, ...]:
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            return _bounded(await plugin.plugin.check_surroundings())
    except TimeoutError:
        return (f"what it needs does not answer within {_MOST_SECONDS:.0f} seconds",)
    except SpireError as error:
        return _bounded([error.message])
    except Exception as error:
        # A plugin's fault, and anybody may write plugins: the daemon knows nothing of it.
        log.exception("surroundings_cannot_be_checked", error=str(error))
        return (f"what it needs cannot be found out: {type(error).__name__}",)


def _bounded(told: Sequence[str]) -> tuple[str, ...]:
    """What readiness may show to anyone: other programs' answers may be part of it."""
    return tuple(reason[:_LONGEST_REASON] for reason in told[:_MOST_REASONS])
