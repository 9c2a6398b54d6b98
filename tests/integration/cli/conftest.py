from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cli.commands import Shell
from tests.integration.daemons import Stack, new_stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A server of its own for each module (and each worker)."""
    with new_stack() as stack:
        stack.start_server()
        yield stack


@pytest.fixture(scope="module")
def server(stack: Stack) -> Shell:
    return Shell("spire-server", stack.server_socket)
