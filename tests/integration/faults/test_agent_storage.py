"""The agent when its disk is full or what it stored is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.daemons import OUR_AGENT, Stack
from tests.integration.faults.faults import end


def data_file(stack: Stack) -> Path:
    return stack.folder / "agent-data" / "agent-data.json"


def has_svid(stack: Stack) -> bool:
    return bool(json.loads(data_file(stack).read_text())["svid"])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"svid":["LS0tLS1', id="cut short"),
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param('{"svid":["AAAA"]}', id="no certificate"),
        pytest.param('{"svid":7}', id="a number"),
        pytest.param('{"bootstrap_use":1e999}', id="infinity"),
        pytest.param('{"bootstrap_start_time":"yesterday"}', id="no time"),
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_broken_data_is_named_and_left_alone(stack: Stack, text: str) -> None:
    stack.start_server()
    data_file(stack).parent.mkdir()
    data_file(stack).write_text(text)
    agent = stack.launch_agent(token="unused")
    assert end(agent) == 1
    assert agent.lines[-1].startswith("Error: failed to open storage: ")
    assert str(data_file(stack)) in agent.lines[-1]
    assert data_file(stack).read_text() == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"keys":{"agent-svid-A":"MIG', id="cut short"),
        pytest.param('{"keys":{"agent-svid-A":"AAAA"}}', id="no key"),
    ],
)
def test_broken_keys_are_named_at_once_and_left_alone(stack: Stack, text: str) -> None:
    stack.start_server()
    stack.start_agent().stop()
    keys = stack.folder / "agent-data" / "keys.json"
    before = data_file(stack).read_bytes()
    keys.write_text(text)
    agent = stack.launch_agent()
    assert end(agent, seconds=20) == 1
    assert agent.lines[-1].startswith("Error: unable to ")
    assert keys.read_text() == text
    assert data_file(stack).read_bytes() == before


def test_a_disk_that_is_full_from_the_start_costs_no_token(stack: Stack) -> None:
    stack.start_server()
    token = stack.join_token()
    stack.agent_program = ("prlimit", "--fsize=0", *OUR_AGENT)
    agent = stack.launch_agent(token=token)
    agent.wait_for("failed to write data file")
    agent.kill()
    stack.agent_program = OUR_AGENT
    stack.start_agent(token=token)


def test_a_disk_that_fills_up_while_attesting_is_survived(stack: Stack) -> None:
    """The token is spent, so the agent goes on in memory, and stores its SVID when it can."""
    stack.start_server()
    stack.create_entry("workload")
    data_file(stack).parent.mkdir()
    agent = stack.launch_agent()
    agent.wait_for("Starting node attestation")
    # In the way of this file alone: the key could be written.
    (data_file(stack).parent / "agent-data.json.tmp").mkdir()
    agent.wait_for("Starting agent APIs")
    assert "Could not store SVID" in agent.output
    stack.wait_for_svids(1)
    assert not has_svid(stack)
    (data_file(stack).parent / "agent-data.json.tmp").rmdir()
    agent.wait_for("SVID stored")
    agent.kill()
    second = stack.start_agent()
    assert "SVID loaded" in second.output
    stack.wait_for_svids(1)


def test_an_svid_that_cannot_be_stored_is_not_used(stack: Stack) -> None:
    """Its first use would end the stored one, and an agent killed then would be locked out."""
    stack.server_keys = 'agent_ttl = "40s"'
    stack.start_server()
    stack.create_entry("workload")
    agent = stack.start_agent()
    stored = data_file(stack).read_bytes()
    (data_file(stack).parent / "agent-data.json.tmp").mkdir()
    agent.wait_for("Could not rotate agent SVID")
    assert "failed to write data file" in agent.output
    agent.kill()
    assert data_file(stack).read_bytes() == stored
    (data_file(stack).parent / "agent-data.json.tmp").rmdir()
    second = stack.start_agent()
    assert "SVID loaded" in second.output
    stack.wait_for_svids(1)
    second.wait_for("Successfully rotated agent SVID")
