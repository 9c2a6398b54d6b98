"""A server that lost its keys, and agents that may attest anew (features C10, O7).

Kubernetes starts an agent again that ends, with the bundle of the moment mounted.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.kubernetes.test_k8s_psat import new_site
from tests.integration.peers.conftest import STACKS, Halves


@pytest.mark.parametrize("halves", STACKS)
def test_an_agent_ends_after_the_delay_and_attests_to_the_new_authority(
    tmp_path: Path, halves: Halves
) -> None:
    with new_site(tmp_path, halves) as site:
        stack = site.stack
        stack.agent_keys += '\nrebootstrap_mode = "always"\nrebootstrap_delay = "2s"'
        server = stack.start_server()
        site.write_token()
        agent = stack.start_agent()
        server.stop()
        shutil.rmtree(stack.folder / "server-data")
        stack.start_server()
        agent.wait_for("Trust Bundle and Server don't agree, ignoring for now")
        assert agent.wait_for_end() == 1
        assert "Trust Bundle and Server don't agree, rebootstrapping" in agent.output
        assert "shutting down for rebootstrapping" in agent.output

        again = stack.start_agent()
        assert "Node attestation was successful" in again.output
        assert len(site.agents()) == 1
