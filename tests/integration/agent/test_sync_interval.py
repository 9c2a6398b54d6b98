"""How often the agent asks is the operator's choice (feature C23)."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from tests.integration.agent.world import ME, World


async def test_the_configured_interval_lies_between_two_syncs() -> None:
    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        world = World(Path(folder))
        world.bootstrap += '\nexperimental { sync_interval = "1m" }'
        world.server.add_entry("a", ME)
        await world.server.start()
        async with world.agent():
            await world.ids()
            # The first round after the start comes sooner, as does each one without any SVID.
            await world.pass_time(timedelta(seconds=10))
            rounds = world.server.count("SyncAuthorizedEntries")
            await world.pass_time(timedelta(seconds=40))
            assert world.server.count("SyncAuthorizedEntries") == rounds
            await world.pass_time(timedelta(seconds=30))
            assert world.server.count("SyncAuthorizedEntries") == rounds + 1
        await world.server.stop()
