"""What the server asks of the transport for its port (wire facts: age of connections, grace)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spire_py.transport import Server

from .conftest import running_server


async def test_connections_are_retired_after_three_minutes_and_calls_get_ten_seconds_to_end(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen, close = Server.listen_tcp, Server.aclose
    ages: list[timedelta | None] = []
    graces: list[timedelta] = []

    async def listened(
        self: Server, *where: Any, max_connection_age: timedelta | None, **how: Any
    ) -> tuple[str, int]:
        ages.append(max_connection_age)
        return await listen(self, *where, max_connection_age=max_connection_age, **how)

    async def closed(self: Server, grace: timedelta = timedelta(seconds=10)) -> None:
        graces.append(grace)
        await close(self, grace)

    monkeypatch.setattr(Server, "listen_tcp", listened)
    monkeypatch.setattr(Server, "aclose", closed)
    async with running_server(short_path):
        pass
    assert ages == [timedelta(minutes=3)]
    assert graces == [timedelta(seconds=10)] * 2
