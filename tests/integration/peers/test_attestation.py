"""Agents that can attest again do so, ours to SPIRE's server and SPIRE's to ours."""

from __future__ import annotations

import json
import os

from tests.fakes.pki import issue
from tests.integration.daemons import TRUST_DOMAIN, Stack
from tests.integration.peers.conftest import ONE


def use_certificates(stack: Stack) -> None:
    """Have its agent attest by x509pop."""
    root = issue(name="root", is_ca=True)
    leaf = issue(root, name="node-1")
    for name, pem in (("ca", root.pem), ("node", leaf.pem), ("key", leaf.key_pem)):
        (stack.folder / f"{name}.pem").write_text(pem)
    stack.server_plugins = f"""NodeAttestor "x509pop" {{ plugin_data {{
        ca_bundle_path = "{stack.folder}/ca.pem"
    }} }}"""
    stack.agent_attestor = f"""NodeAttestor "x509pop" {{ plugin_data {{
        certificate_path = "{stack.folder}/node.pem"
        private_key_path = "{stack.folder}/key.pem"
    }} }}"""


def attested(stack: Stack) -> tuple[str, str]:
    """Path and serial number of the only agent."""
    [agent] = json.loads(stack.server("agent", "list", "-output", "json"))["agents"]
    assert agent["can_reattest"] is True
    return agent["id"]["path"], agent["x509svid_serial_number"]


def test_an_agent_without_its_identity_attests_again_and_serves_as_before(
    fresh_stack: Stack,
) -> None:
    stack = fresh_stack
    use_certificates(stack)
    stack.start_server()
    agent = stack.start_agent()
    path, serial = attested(stack)
    stack.server(
        *("entry", "create", "-parentID", f"spiffe://{TRUST_DOMAIN}{path}"),
        *("-spiffeID", ONE, "-selector", f"unix:uid:{os.getuid()}"),
    )
    stack.wait_for_svids(1)

    agent.stop()
    (stack.folder / "agent-data" / "agent-data.json").unlink()
    stack.start_agent()
    stack.wait_for_svids(1)
    again, new_serial = attested(stack)
    assert again == path
    assert new_serial != serial
