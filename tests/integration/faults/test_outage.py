"""An agent whose server is away, and what its workloads notice of it."""

from __future__ import annotations

import json
import os

from tests.integration.daemons import OURS, Process, Stack
from tests.integration.faults.faults import end
from tests.integration.faults.test_standing import SYNC, stored_svid, use_x509pop


def watch(stack: Stack) -> Process:
    process = stack._start(*OURS, "api", "watch", "-socketPath", str(stack.agent_socket))
    process.wait_for("Received 1 svid after")
    return process


def test_workloads_notice_nothing_of_an_outage(stack: Stack) -> None:
    stack.agent_keys = SYNC
    server = stack.start_server()
    stack.create_entry("workload")
    agent = stack.start_agent()
    stream = watch(stack)
    first = stack.try_agent("api", "fetch", "jwt", "-audience", "a", "-output", "json")
    assert first.returncode == 0, first.stderr
    server.kill()
    agent.wait_for("Synchronize failed")
    assert "1 svid" in stack.try_agent("api", "fetch", "x509").stdout
    assert stack.try_agent("api", "fetch", "jwt", "-audience", "a", "-output", "json").stdout == (
        first.stdout
    )
    other = stack.try_agent("api", "fetch", "jwt", "-audience", "b")
    assert other.returncode == 1
    assert "could not fetch JWT-SVID" in other.stderr
    token = json.loads(first.stdout)[0]["svids"][0]["svid"]
    valid = stack.try_agent("api", "validate", "jwt", "-audience", "a", "-svid", token)
    assert valid.returncode == 0, valid.stderr
    assert stack.try_agent("agent", "healthcheck").returncode == 0
    assert stream.popen.poll() is None
    stack.start_server()
    stack.create_entry("second")
    stream.wait_for("Received 2 svids after")
    assert stack.try_agent("api", "fetch", "jwt", "-audience", "b").returncode == 0


def test_an_agent_that_starts_in_an_outage_waits_for_its_server(stack: Stack) -> None:
    server = stack.start_server()
    stack.create_entry("workload")
    stack.start_agent().kill()
    bundle = stack.server("bundle", "show")
    server.kill()
    agent = stack.launch_agent(bundle=bundle)
    agent.wait_for("Failed to initialize manager")
    assert "connection refused" in agent.output
    stack.start_server()
    agent.wait_for("Starting agent APIs")
    stack.wait_for_svids(1)
    assert "SVID loaded" in agent.output
    assert agent.output.count("Node attestation was successful") == 0


def test_an_agent_whose_svid_expires_in_an_outage_ends_when_it_cannot_attest(
    stack: Stack,
) -> None:
    stack.server_keys = 'agent_ttl = "12s"'
    stack.agent_keys = SYNC
    server = stack.start_server()
    agent = stack.start_agent()
    server.kill()
    assert end(agent, seconds=60) == 1
    assert "current SVID has already expired and rotate agent SVID failed" in agent.lines[-1]
    assert stored_svid(stack) is None


def test_an_agent_whose_svid_expires_in_an_outage_attests_again_when_it_can(
    stack: Stack,
) -> None:
    use_x509pop(stack)
    stack.server_keys = 'agent_ttl = "12s"\n default_x509_svid_ttl = "1h"'
    stack.agent_keys = SYNC
    server = stack.start_server()
    shown = stack.server("agent", "list", "-output", "json")
    assert json.loads(shown)["agents"] == []
    agent = stack.start_agent()
    (found,) = json.loads(stack.server("agent", "list", "-output", "json"))["agents"]
    name = f"spiffe://example.org{found['id']['path']}"
    stack.server(
        *("entry", "create", "-parentID", name, "-spiffeID", "spiffe://example.org/w"),
        *("-selector", f"unix:uid:{os.getuid()}"),
    )
    stack.wait_for_svids(1)
    server.kill()
    agent.wait_for("Could not reattest agent", count=2, seconds=60)
    assert "1 svid" in stack.try_agent("api", "fetch", "x509").stdout
    stack.start_server()
    agent.wait_for("Successfully reattested node", count=1, seconds=60)
    assert agent.popen.poll() is None
    stack.wait_for_svids(1)


def test_svids_of_workloads_that_expired_in_an_outage_are_replaced_after_it(
    stack: Stack,
) -> None:
    stack.server_keys = 'default_x509_svid_ttl = "10s"\n agent_ttl = "1h"'
    stack.agent_keys = SYNC
    server = stack.start_server()
    stack.create_entry("workload")
    agent = stack.start_agent()
    stream = watch(stack)
    server.kill()
    agent.wait_for("SVID sync failed", count=6, seconds=60)
    assert stream.popen.poll() is None
    seen = stream.output.count("Received 1 svid after")
    stack.start_server()
    stream.wait_for("Received 1 svid after", count=seen + 1, seconds=60)
