"""An agent that is killed at any moment comes back as who it was."""

from __future__ import annotations

import json

import pytest

from tests.integration.daemons import Stack
from tests.integration.faults.test_standing import agent_id, use_x509pop

_START = (
    "Starting agent",
    "Plugin loaded",
    "Bundle loaded",
    "Starting node attestation",
    "Node attestation was successful",
    "Starting agent APIs",
)


@pytest.mark.parametrize("line", _START)
def test_a_start_that_is_killed_anywhere_is_made_up_for(stack: Stack, line: str) -> None:
    use_x509pop(stack)
    stack.start_server()
    agent = stack.launch_agent()
    agent.wait_for(line)
    agent.kill()
    data = stack.folder / "agent-data"
    had_svid = (data / "agent-data.json").exists() and bool(
        json.loads((data / "agent-data.json").read_text())["svid"]
    )
    second = stack.start_agent()
    assert ("SVID loaded" in second.output) == had_svid
    assert agent_id(stack).startswith("spiffe://example.org/spire/agent/x509pop/")
    assert second.stop() == 0
    assert "SVID loaded" in stack.start_agent().output


@pytest.mark.parametrize("line", _START[:3])
def test_a_start_with_an_svid_that_is_killed_anywhere_loses_nothing(
    stack: Stack, line: str
) -> None:
    stack.start_server()
    stack.start_agent().stop()
    before = (stack.folder / "agent-data" / "agent-data.json").read_bytes()
    agent = stack.launch_agent()
    agent.wait_for(line)
    agent.kill()
    assert "SVID loaded" in stack.start_agent().output
    assert (stack.folder / "agent-data" / "agent-data.json").read_bytes() == before


@pytest.mark.parametrize(
    ("who", "line"),
    [
        ("agent", "Rotating agent SVID"),
        ("server", "Renewing agent SVID"),
        ("agent", "Successfully rotated agent SVID"),
        ("server", "Signed X509 SVID"),
    ],
)
def test_a_renewal_that_is_killed_anywhere_loses_no_agent(
    stack: Stack, who: str, line: str
) -> None:
    """With a join token there is no second chance: either of the two SVIDs must be stored."""
    stack.server_keys = 'agent_ttl = "24s"\n default_x509_svid_ttl = "1h"'
    server = stack.start_server()
    agent = stack.start_agent()
    for _ in range(2):
        process = agent if who == "agent" else server
        seen = process.output.count(line)
        process.wait_for(line, count=seen + 1, seconds=40)
        agent.kill()
        agent = stack.start_agent()
        assert "SVID loaded" in agent.output
    agent.wait_for("Successfully rotated agent SVID", seconds=40)


def test_both_killed_in_a_renewal_find_each_other_again(stack: Stack) -> None:
    stack.server_keys = 'agent_ttl = "24s"'
    server = stack.start_server()
    agent = stack.start_agent()
    agent.wait_for("Rotating agent SVID", seconds=40)
    server.kill()
    agent.kill()
    stack.start_server()
    agent = stack.start_agent()
    assert "SVID loaded" in agent.output
    agent.wait_for("Successfully rotated agent SVID", seconds=40)
