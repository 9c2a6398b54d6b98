"""A folder with a server and an agent as processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.daemons import Stack, new_stack
from tests.integration.faults.faults import assert_no_bug


@pytest.fixture
def stack() -> Iterator[Stack]:
    """What ran in it must not have shown a bug, whatever was done to it."""
    with new_stack() as made:
        yield made
        assert_no_bug(*made.processes)
