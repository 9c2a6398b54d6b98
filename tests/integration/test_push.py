"""What an agent of ours hears from a server of ours without waiting for its poll."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.daemons import Process, Stack, new_stack

NEVER_POLLS = 'experimental { sync_interval = "24h" }'


@pytest.fixture
def stack() -> Iterator[Stack]:
    with new_stack(agent_keys=NEVER_POLLS) as stack:
        stack.start_server()
        yield stack


@pytest.fixture
def agent(stack: Stack) -> Process:
    return stack.start_agent()


@pytest.mark.usefixtures("agent")
def test_a_workload_gets_its_svid_as_soon_as_its_entry_is_created(stack: Stack) -> None:
    stack.create_entry("first")
    stack.wait_for_svids(1)
    stack.create_entry("second")
    stack.wait_for_svids(2)


@pytest.mark.usefixtures("agent")
def test_a_workload_loses_its_identity_as_soon_as_its_entry_is_deleted(stack: Stack) -> None:
    entry_id = stack.create_entry("one")
    stack.create_entry("two")
    stack.wait_for_svids(2)
    stack.server("entry", "delete", "-entryID", entry_id)
    stack.wait_for_svids(1)


def test_a_banned_agent_ends_at_once(stack: Stack, agent: Process) -> None:
    listed = stack.server("agent", "list")
    agent_id = next(line for line in listed.splitlines() if "SPIFFE ID" in line).split()[-1]
    stack.server("agent", "ban", "-spiffeID", agent_id)
    assert agent.wait_for_end() == 1
    assert "banned" in agent.output
