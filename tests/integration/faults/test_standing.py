"""What becomes of an agent that its server bans, evicts or has given another SVID."""

from __future__ import annotations

import base64
import json

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import bundle_pb2, entry_pb2
from spire_py.agent.storage import AgentStorage
from spire_py.crypto.keys import pkcs8_to_private_key
from spire_py.errors import PermissionDenied
from spire_py.wire.status import Reason, permission_denied_reason
from tests.fakes.pki import issue
from tests.integration.daemons import Stack
from tests.integration.faults.clients import (
    ENTRY,
    Identity,
    attest,
    create_token,
    port,
    renew,
)
from tests.integration.faults.faults import content, end

SYNC = 'experimental { sync_interval = "1s" }'


def agent_id(stack: Stack) -> str:
    shown = json.loads(stack.server("agent", "list", "-output", "json"))
    (agent,) = shown["agents"]
    return f"spiffe://{agent['id']['trust_domain']}{agent['id']['path']}"


def stored_svid(stack: Stack) -> object:
    return json.loads((stack.folder / "agent-data" / "agent-data.json").read_text())["svid"]


def use_x509pop(stack: Stack) -> None:
    """A way of attestation that may be gone again and again."""
    root = issue(name="root", is_ca=True)
    node = issue(root, name="node")
    for name, text in (("ca", root.pem), ("node", node.pem), ("key", node.key_pem)):
        (stack.folder / f"{name}.pem").write_text(text)
    stack.server_plugins = f"""
        NodeAttestor "x509pop" {{ plugin_data {{ ca_bundle_path = "{stack.folder}/ca.pem" }} }}
    """
    stack.agent_attestor = f"""
        NodeAttestor "x509pop" {{ plugin_data {{
          certificate_path = "{stack.folder}/node.pem"
          private_key_path = "{stack.folder}/key.pem"
        }} }}
    """


@pytest.mark.parametrize("attestor", ["join_token", "x509pop"])
def test_a_banned_agent_deletes_its_svid_and_ends(stack: Stack, attestor: str) -> None:
    if attestor == "x509pop":
        use_x509pop(stack)
    stack.agent_keys = SYNC
    stack.start_server()
    agent = stack.start_agent()
    stack.server("agent", "ban", "-spiffeID", agent_id(stack))
    assert end(agent) == 1
    assert "Agent is banned: removing SVID and shutting down" in agent.output
    assert stored_svid(stack) is None
    if attestor == "x509pop":
        again = stack.launch_agent()
        assert end(again) == 1
        assert "failed to attest: agent is banned" in again.lines[-1]


def test_an_agent_that_was_banned_while_it_was_away_ends_at_its_start(stack: Stack) -> None:
    stack.start_server()
    stack.start_agent().kill()
    stack.server("agent", "ban", "-spiffeID", agent_id(stack))
    agent = stack.launch_agent()
    assert end(agent) == 1
    assert "Agent is banned: removing SVID and shutting down" in agent.output
    assert stored_svid(stack) is None


@pytest.mark.parametrize("is_running", [True, False])
def test_an_evicted_agent_with_a_spent_token_ends(stack: Stack, is_running: bool) -> None:
    stack.agent_keys = SYNC
    stack.start_server()
    agent = stack.start_agent()
    if not is_running:
        agent.kill()
    stack.server("agent", "evict", "-spiffeID", agent_id(stack))
    if not is_running:
        agent = stack.launch_agent()
    assert end(agent) == 1
    assert "attestation method is not re-attestable" in agent.output
    assert stored_svid(stack) is None
    stack.start_agent(token=stack.join_token())


@pytest.mark.parametrize("is_running", [True, False])
def test_an_evicted_agent_that_may_attest_again_goes_on(stack: Stack, is_running: bool) -> None:
    use_x509pop(stack)
    stack.agent_keys = SYNC
    stack.start_server()
    agent = stack.start_agent()
    before = stored_svid(stack)
    if not is_running:
        agent.kill()
    found = agent_id(stack)
    stack.server("agent", "evict", "-spiffeID", found)
    if not is_running:
        agent = stack.launch_agent()
    agent.wait_for("Successfully reattested node")
    agent.wait_for("Starting agent APIs")
    assert agent_id(stack) == found
    assert stored_svid(stack) not in (before, None)


async def authorized(stack: Stack, identity: Identity) -> None:
    """A call that only an active agent may make."""
    async with port(stack, identity) as channel:
        await channel.unary(
            ENTRY + "GetAuthorizedEntries",
            entry_pb2.GetAuthorizedEntriesRequest(),
            entry_pb2.GetAuthorizedEntriesResponse,
            timeout=20,
        )


@pytest.mark.parametrize("restarts", [False, True])
async def test_the_first_use_of_a_new_svid_ends_the_old_one(stack: Stack, restarts: bool) -> None:
    def restart() -> None:
        if restarts:
            stack.processes[-1].kill()
            stack.start_server()

    stack.start_server()
    async with port(stack) as nobody:
        first = await attest(nobody, await create_token(stack))
    async with port(stack, first) as channel:
        second = await renew(channel)
    restart()
    await authorized(stack, first)
    restart()
    await authorized(stack, second)
    restart()
    with pytest.raises(PermissionDenied, match="authorization denied for method") as caught:
        await authorized(stack, first)
    assert permission_denied_reason(caught.value) == Reason.AGENT_NOT_ACTIVE
    await authorized(stack, second)
    # The one who stole the old one cannot get a new one with it, nor with another's key.
    async with port(stack, first) as channel:
        with pytest.raises(PermissionDenied):
            await renew(channel)


async def test_an_old_svid_that_renews_after_a_lost_answer_is_served(stack: Stack) -> None:
    """The answer to the first renewal never arrived: the next one replaces what it promised."""
    stack.start_server()
    async with port(stack) as nobody:
        first = await attest(nobody, await create_token(stack))
    async with port(stack, first) as channel:
        lost = await renew(channel)
        second = await renew(channel)
    await authorized(stack, second)
    with pytest.raises(PermissionDenied):
        await authorized(stack, lost)


async def test_an_agent_whose_svid_was_stolen_and_used_to_renew_notices(stack: Stack) -> None:
    stack.agent_keys = SYNC
    stack.start_server()
    agent = stack.start_agent()
    keys = json.loads((stack.folder / "agent-data" / "keys.json").read_text())["keys"]
    stolen = _identity_from(stack, keys["agent-svid-A"])
    async with port(stack, stolen) as channel:
        thief = await renew(channel)
    await authorized(stack, thief)
    assert end(agent) == 1
    assert stored_svid(stack) is None


def _identity_from(stack: Stack, key: str) -> Identity:
    data = AgentStorage.open(stack.folder / "agent-data").data
    return Identity(data.svid, pkcs8_to_private_key(base64.b64decode(key)), "")


async def test_a_deleted_agent_is_nobody_at_once_and_the_open_port_stays(stack: Stack) -> None:
    stack.start_server()
    async with port(stack) as nobody:
        first = await attest(nobody, await create_token(stack))
    stack.server("agent", "evict", "-spiffeID", f"spiffe://example.org{first.path}")
    with pytest.raises(PermissionDenied, match="authorization denied for method") as caught:
        await authorized(stack, first)
    assert permission_denied_reason(caught.value) == Reason.AGENT_NOT_ATTESTED
    async with port(stack, first) as channel:
        bundle = await channel.unary(
            "/spire.api.server.bundle.v1.Bundle/GetBundle",
            bundle_pb2.GetBundleRequest(),
            types_pb2.Bundle,
            timeout=20,
        )
    assert bundle.x509_authorities
    assert content(stack)["attested_node_entries"] == []
