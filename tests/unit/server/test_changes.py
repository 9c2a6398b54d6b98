from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from spire_py._proto.spire_py import changes_pb2
from spire_py.runtime.watch import Watch
from spire_py.server.api import changes as api
from spire_py.server.changes import Changes
from spire_py.server.policy import Caller, CallerKind
from spire_py.spiffe.id import SpiffeID
from tests.fakes.agents import agent_id


def test_a_change_of_one_agent_wakes_its_own_listeners_only() -> None:
    changes = Changes()
    with (
        changes.heard_by("a") as first,
        changes.heard_by("a") as second,
        changes.heard_by("b") as b,
    ):
        changes.tell("a")
        changes.tell("nobody")
        assert (first.is_set(), second.is_set(), b.is_set()) == (True, True, False)


def test_what_may_concern_anyone_wakes_everyone() -> None:
    changes = Changes()
    with changes.heard_by("a") as a, changes.heard_by("b") as b:
        changes.tell_all()
        assert a.is_set()
        assert b.is_set()


def test_who_has_left_hears_nothing() -> None:
    changes = Changes()
    with changes.heard_by("a") as stays:
        with changes.heard_by("a") as leaves:
            pass
        changes.tell("a")
        changes.tell_all()
        assert stays.is_set()
        assert not leaves.is_set()


class Memory:
    """Each time another agent, so that each look sees a change."""

    bundles = Watch[Any]({})

    def agent(self, agent_id: SpiffeID) -> Any:
        return object()

    def authorized(self, agent_id: SpiffeID) -> Any:
        return None


@dataclass
class Context:
    values: dict[str, object]


async def test_a_stream_that_never_has_to_wait_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else an agent that is slow to read would keep rights that it has lost."""
    monkeypatch.setattr(api, "STREAM_LIFE", timedelta())
    changes, memory = Changes(), Memory()
    servicer = api.ChangesServicer(
        entries=memory, bundles=memory, changes=changes, closing=asyncio.Event()
    )
    context: Any = Context({"caller": Caller(CallerKind.AGENT, agent_id("a"))})
    stream = servicer.watch(changes_pb2.WatchRequest(), context)
    await anext(stream)
    changes.tell_all()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
