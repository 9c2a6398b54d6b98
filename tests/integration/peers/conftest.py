"""Stacks that the foreign workloads are tried on: ours, SPIRE's, and one half of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.daemons import OUR_AGENT, OUR_SERVER, TRUST_DOMAIN, Stack, new_stack
from tests.peers.find import peer_binary

ONE = f"spiffe://{TRUST_DOMAIN}/one"
TWO = f"spiffe://{TRUST_DOMAIN}/two"


@dataclass(frozen=True)
class Halves:
    """Whose server and whose agent: `ours` or `spire`."""

    server: str
    agent: str


def _stack(server: str, agent: str) -> object:
    marks = [
        pytest.mark.peer(f"spire-{part}")
        for part, whose in (("server", server), ("agent", agent))
        if whose == "spire"
    ]
    return pytest.param(Halves(server, agent), id=f"{server} server, {agent} agent", marks=marks)


STACKS = [_stack("ours", "ours"), _stack("spire", "ours"), _stack("ours", "spire")]
if os.environ.get("SPIRE_PY_PEERS_BASELINE"):
    # Shows that a peer is sound, when it fails on one of the stacks above.
    STACKS = [_stack("spire", "spire")]


def programs(halves: Halves) -> dict[str, tuple[str, ...]]:
    """What `new_stack` is to start."""
    return {
        "server_program": _program(halves.server, "spire-server", OUR_SERVER),
        "agent_program": _program(halves.agent, "spire-agent", OUR_AGENT),
    }


def _program(whose: str, name: str, ours: tuple[str, ...]) -> tuple[str, ...]:
    path = peer_binary(name) if whose == "spire" else None
    return ours if path is None else (str(path),)


# SPIRE polls; the tests need not wait for that as long as it does by default.
QUICK_SERVER = 'experimental { cache_reload_interval = "1s" }'
QUICK_AGENT = 'experimental { sync_interval = "1s" }'


def _start(stack: Stack) -> None:
    stack.start_server()
    stack.start_agent()
    # Identities come in the order of their entries' IDs.
    stack.create_entry("one", "-entryID", "1-one")
    stack.create_entry("two", "-entryID", "2-two", "-hint", "second")
    stack.wait_for_svids(2)


@pytest.fixture(scope="session", params=STACKS)
def spiffe_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A running server and agent; every process of this user is `ONE` (by default) and `TWO`.

    Many tests share it: each takes back what it adds, save for authorities of the own bundle.
    """
    with new_stack(
        **programs(request.param), server_keys=QUICK_SERVER, agent_keys=QUICK_AGENT
    ) as stack:
        _start(stack)
        yield stack


@pytest.fixture(params=STACKS)
def fresh_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A server and an agent, of which one may be SPIRE's, that a test starts itself."""
    with new_stack(
        **programs(request.param), server_keys=QUICK_SERVER, agent_keys=QUICK_AGENT
    ) as stack:
        yield stack


@pytest.fixture
def our_stack() -> Iterator[Stack]:
    """A server and an agent of ours that a test starts itself."""
    with new_stack(server_keys=QUICK_SERVER, agent_keys=QUICK_AGENT) as stack:
        yield stack


@pytest.fixture
def endpoint(spiffe_stack: Stack) -> str:
    """The Workload API as peers are told of it."""
    return f"unix://{spiffe_stack.agent_socket}"


@pytest.fixture
def agent_socket(spiffe_stack: Stack) -> Path:
    return spiffe_stack.agent_socket
