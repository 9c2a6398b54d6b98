"""Tells agents at once that a sync would bring something new (docs/decisions/0006)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Protocol

from spire_py._proto.spire_py import changes_pb2
from spire_py.model.agent import Agent
from spire_py.runtime.watch import Watch
from spire_py.server.changes import Changes
from spire_py.server.entry_cache.authorized import AuthorizedEntries
from spire_py.server.policy import calling_agent
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.transport import CallContext

STREAM_LIFE = timedelta(minutes=10)
"""A stream that is older ends, so that its caller's rights are looked at anew."""


class EntryMemory(Protocol):
    """What is needed of the entry cache: the same object while nothing has changed."""

    def agent(self, agent_id: SpiffeID) -> Agent | None: ...

    def authorized(self, agent_id: SpiffeID) -> AuthorizedEntries: ...


class BundleMemory(Protocol):
    """What is needed of the bundle cache: the same object while nothing has changed."""

    @property
    def bundles(self) -> Watch[Mapping[TrustDomain, Bundle]]: ...


class ChangesServicer:
    """The service `spire_py.changes.v1.Changes`, for agents on the port.

    Args:
        changes: told whenever an entry, an agent or a bundle has changed in memory, and once more
            when the server closes.
        closing: set when the server closes: the streams end, so that it need not wait for them.
    """

    def __init__(
        self,
        *,
        entries: EntryMemory,
        bundles: BundleMemory,
        changes: Changes,
        closing: asyncio.Event,
    ) -> None:
        self._closing = closing
        self._entries = entries
        self._bundles = bundles
        self._changes = changes

    async def watch(
        self, _request: changes_pb2.WatchRequest, context: CallContext
    ) -> AsyncIterator[changes_pb2.Change]:
        """One message at once, then one after each change that concerns the calling agent."""
        agent_id = calling_agent(context)
        end = asyncio.get_running_loop().time() + STREAM_LIFE.total_seconds()
        with self._changes.heard_by(str(agent_id)) as changed:
            seen = self._seen_by(agent_id)
            yield changes_pb2.Change()
            while True:
                try:
                    async with asyncio.timeout_at(end):
                        await changed.wait()
                except TimeoutError:
                    return
                # Where there was no need to wait, no time-out has come either.
                if self._closing.is_set() or asyncio.get_running_loop().time() >= end:
                    return
                changed.clear()
                now = self._seen_by(agent_id)
                if any(new is not old for new, old in zip(now, seen, strict=True)):
                    seen = now
                    yield changes_pb2.Change()

    def _seen_by(self, agent_id: SpiffeID) -> tuple[object, ...]:
        return (
            self._entries.agent(agent_id),
            self._entries.authorized(agent_id),
            self._bundles.bundles.value,
        )
