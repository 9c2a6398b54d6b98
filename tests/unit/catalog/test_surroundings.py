from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from spire_py.catalog import Surroundings
from spire_py.catalog.finder import Made
from spire_py.config.plugins import PluginConfig
from spire_py.errors import FailedPrecondition
from spire_py.plugin_api.plugin import Plugin
from spire_py.telemetry.logs import configure_logging
from tests.fakes.clock import FakeClock

MISSING = "Plugin lacks something around it"
FOUND = "Plugin lacks this no longer"


class Needy(Plugin):
    """Lacks what it is told to lack."""

    def __init__(self, *missing: str) -> None:
        self.missing: Sequence[str] = missing
        self.asked = 0

    async def check_surroundings(self) -> Sequence[str]:
        self.asked += 1
        return self.missing


class Broken(Plugin):
    async def check_surroundings(self) -> Sequence[str]:
        raise FailedPrecondition("nothing can be found out")


class Faulty(Plugin):
    async def check_surroundings(self) -> Sequence[str]:
        raise KeyError("a fault of the plugin")


class Hanging(Needy):
    async def check_surroundings(self) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()


def made(plugin: Plugin, name: str = "k8s") -> Made:
    return Made(PluginConfig(type="WorkloadAttestor", name=name, data={}), plugin)


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("DEBUG", stream=stream)
    yield stream
    configure_logging()


def taken(output: io.StringIO) -> str:
    """What was logged since the last time."""
    text = output.getvalue()
    output.seek(0)
    output.truncate()
    return text


async def test_each_sentence_is_logged_once_and_once_more_when_it_holds_no_longer(
    output: io.StringIO,
) -> None:
    clock, plugin = FakeClock(), Needy("no socket", "no right")
    surroundings = Surroundings([made(plugin)], clock=clock)
    task = asyncio.create_task(surroundings.run())
    await clock.advance(timedelta(minutes=3))
    logged = taken(output)
    assert logged.count(MISSING) == 2
    assert 'reason="no socket"' in logged
    assert surroundings.missing() == {"WorkloadAttestor k8s": ("no socket", "no right")}
    assert 4 <= plugin.asked <= 7

    plugin.missing = ["no right", "no token"]
    await clock.advance(timedelta(minutes=6))
    logged = taken(output)
    assert (logged.count(MISSING), logged.count(FOUND)) == (1, 1)
    assert surroundings.missing() == {"WorkloadAttestor k8s": ("no right", "no token")}

    plugin.missing = []
    await clock.advance(timedelta(minutes=6))
    await task
    assert taken(output).count(FOUND) == 2
    assert surroundings.missing() == {}


async def test_who_lacks_nothing_is_asked_once() -> None:
    clock, plugin = FakeClock(), Needy()
    await Surroundings([made(plugin)], clock=clock).run()
    assert plugin.asked == 1


async def test_one_that_hangs_or_cannot_tell_keeps_no_other_from_being_asked() -> None:
    clock, plugin = FakeClock(), Needy()
    plugins = [made(Hanging(), "a"), made(Broken(), "b"), made(Faulty(), "c"), made(plugin, "d")]
    surroundings = Surroundings(plugins, clock=clock)
    task = asyncio.create_task(surroundings.run())
    await clock.sleepers(2)
    assert plugin.asked == 1
    assert surroundings.missing() == {
        "WorkloadAttestor b": ("nothing can be found out",),
        "WorkloadAttestor c": ("what it needs cannot be found out: KeyError",),
    }
    task.cancel()
    await asyncio.wait((task,))


async def test_what_readiness_shows_to_anyone_is_bounded() -> None:
    clock, plugin = FakeClock(), Needy(*(f"{number}" + "x" * 100_000 for number in range(10_000)))
    surroundings = Surroundings([made(plugin)], clock=clock)
    task = asyncio.create_task(surroundings.run())
    await clock.sleepers(1)
    assert sum(map(len, surroundings.missing()["WorkloadAttestor k8s"])) <= 100_000
    task.cancel()
    await asyncio.wait((task,))
