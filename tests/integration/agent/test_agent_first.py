"""An agent that starts before its server is there, or before its bundle is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.daemons import (
    OURS,
    Process,
    Stack,
    free_port,
    health,
    health_listener,
    new_stack,
)

AWAITED = "Agent waits for what it needs to start"


class Site:
    """A stack whose agent tells its health."""

    def __init__(self, stack: Stack, port: int) -> None:
        self.stack = stack
        self._port = port

    def launch(self, token: str) -> Process:
        """The agent, with what `launch_agent` has written."""
        config = f"{self.stack.folder}/agent.conf"
        return self.stack._start(
            *self.stack.agent_program, "run", "-config", config, "-joinToken", token
        )

    def health(self, path: str) -> tuple[int, dict[str, Any]]:
        return health(self._port, path)

    def wait_until_ready(self, agent: Process) -> None:
        agent.wait_for("Starting agent APIs")
        # The listener tells of its last round, which comes each second.
        while self.health("ready") != (200, {"agent": {}}):
            assert self.health("live")[0] == 200


@pytest.fixture
def site() -> Iterator[Site]:
    port = free_port()
    with new_stack(agent_more=health_listener(port)) as stack:
        yield Site(stack, port)


def test_it_waits_for_the_server_and_goes_on_by_itself(site: Site) -> None:
    stack = site.stack
    server = stack.start_server()
    stack.create_entry("web")
    token, bundle = stack.join_token(), stack.server("bundle", "show")
    server.kill()

    workload = Process([*OURS, "api", "watch", "-socketPath", str(stack.agent_socket)])
    stack.processes.append(workload)
    agent = stack.launch_agent(token=token, bundle=bundle)
    agent.wait_for("Serving health checks")
    agent.wait_for(AWAITED)
    awaited = f"the server at 127.0.0.1:{stack.port}"
    assert f'awaited="{awaited}" error="connection error' in agent.output
    agent.wait_for("Failed to retrieve attestation result", count=2)
    status, body = site.health("ready")
    assert (status, list(body)) == (500, ["agent"])
    assert body["agent"]["make_new_x509_err"] == "workload api is unavailable"
    assert body["agent"]["start"].startswith(f"waiting for {awaited}: connection error")
    assert site.health("live") == (200, {"agent": {}})
    assert agent.output.count(AWAITED) == 1

    stack.start_server()
    agent.wait_for("Agent goes on with its start")
    site.wait_until_ready(agent)
    stack.wait_for_svids(1)
    workload.wait_for("Received 1 svid after")


def test_it_waits_for_a_bundle_that_the_server_has_yet_to_publish(site: Site) -> None:
    stack = site.stack
    stack.start_server()
    token = stack.join_token()
    stack.launch_agent(token="unused").kill()
    for path in (stack.folder / "agent-data").iterdir():
        path.unlink()
    bundle = stack.folder / "bundle.pem"
    bundle.unlink()
    agent = site.launch(token)
    agent.wait_for(AWAITED)
    assert f"open {bundle}: no such file or directory" in agent.output
    agent.wait_for("Failed to retrieve attestation result", count=2)
    told = site.health("ready")[1]["agent"]["start"]
    assert told.startswith("waiting for the trust bundle: could not parse trust bundle: open ")
    bundle.write_text(stack.server("bundle", "show"))
    site.wait_until_ready(agent)
