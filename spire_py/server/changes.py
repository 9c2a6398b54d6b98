"""Wakes those who wait until something in memory has become another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Changes:
    """Who wants to hear of changes, by the SPIFFE ID of the agent they are about.

    Agents attest and renew all the time, and each time that concerns one agent: where all were
    woken, an attestation would cost more than its own work from a hundred agents on.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}

    def tell_all(self) -> None:
        """Something has changed that may concern anyone."""
        for events in self._listeners.values():
            for event in events:
                event.set()

    def tell(self, agent_id: str) -> None:
        """An agent's own record has changed."""
        for event in self._listeners.get(agent_id, ()):
            event.set()

    @contextmanager
    def heard_by(self, agent_id: str) -> Iterator[asyncio.Event]:
        """An event that is set by whatever may concern the agent; the listener clears it."""
        event = asyncio.Event()
        self._listeners.setdefault(agent_id, set()).add(event)
        try:
            yield event
        finally:
            events = self._listeners[agent_id]
            events.discard(event)
            if not events:
                del self._listeners[agent_id]
