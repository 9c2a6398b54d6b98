"""The authorities of a server outlive it, also when the next process is SPIRE's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.daemons import OUR_SERVER, Stack, new_stack
from tests.peers.find import peer_binary


@pytest.fixture
def stack() -> Iterator[Stack]:
    with new_stack() as made:
        yield made


@pytest.mark.peer("spire-server")
@pytest.mark.parametrize("first", ["ours", "spire"])
def test_ours_and_spires_server_take_over_from_each_other(stack: Stack, first: str) -> None:
    programs = [OUR_SERVER, (str(peer_binary("spire-server")),)]
    if first == "spire":
        programs.reverse()
    bundles = []
    activated = []
    for program in programs * 2:
        stack.server_program = program
        process = stack.start_server()
        bundles.append(authorities(stack))
        activated.append([line for line in process.lines if "activated" in line])
        assert not [line for line in process.lines if "prepared" in line and len(bundles) > 1]
        assert process.stop() == 0
    assert all(bundle == bundles[0] for bundle in bundles)
    assert len(bundles[0]) >= 2
    assert all(len(lines) >= 2 for lines in activated)


def authorities(stack: Stack) -> list[dict[str, Any]]:
    """X.509 and JWT authorities. A WIT key, which SPIRE's server may have, ours leaves alone."""
    keys = json.loads(stack.server("bundle", "show", "-format", "spiffe"))["keys"]
    return [key for key in keys if key["use"] in {"x509-svid", "jwt-svid"}]
