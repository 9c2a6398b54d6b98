from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from spire_py.telemetry.logs import configure_logging
from tests.unit.agent.endpoint import Endpoint, open_endpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with open_endpoint() as opened:
        yield opened


@pytest.fixture(autouse=True)
def log_to_standard_output() -> None:
    """Whatever tests before have done with the log."""
    configure_logging()
