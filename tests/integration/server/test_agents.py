"""An agent's life at the server: attest, sync, sign, renew, be banned."""

from __future__ import annotations

from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import InvalidArgument, PermissionDenied, Unimplemented
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.id import SpiffeID
from spire_py.spiffe.x509_svid import check_leaf
from spire_py.transport import Channel
from spire_py.wire.status import Reason, permission_denied_reason

from .conftest import (
    AGENT,
    BUNDLE,
    ENTRY,
    SVID,
    Identity,
    RunningServer,
    agent_path,
    pb_id,
    running_server,
)


async def sync(server: RunningServer, channel: Channel) -> list[types_pb2.Entry]:
    async with channel.bidi(
        ENTRY + "SyncAuthorizedEntries", entry_pb2.SyncAuthorizedEntriesResponse, timeout=20
    ) as call:
        await call.send(entry_pb2.SyncAuthorizedEntriesRequest())
        call.done_sending()
        return [entry async for response in call for entry in response.entries]


async def test_an_agent_attests_by_join_token_and_its_first_sync_is_complete(
    server: RunningServer,
) -> None:
    token = await server.join_token(alias="/nodes")
    entry_id = await server.create_entry("/nodes", "/workload")
    agent = await server.attest(token)
    assert agent.spiffe_id == f"spiffe://example.org/spire/agent/join_token/{token}"
    entries = await sync(server, server.port(agent))
    assert {entry.spiffe_id.path for entry in entries} == {"/nodes", "/workload"}
    assert entry_id in {entry.id for entry in entries}


async def test_an_agent_signs_for_its_entries_only(server: RunningServer) -> None:
    agent = await server.attest()
    mine = await server.create_entry(agent_path(agent), "/mine", dns_names=["mine.local"])
    other = await server.create_entry("/spire/agent/join_token/other", "/other")
    csr = make_csr(generate_key(KeyType.EC_P256))
    response = await server.call(
        SVID + "BatchNewX509SVID",
        svid_pb2.BatchNewX509SVIDRequest(
            params=[
                svid_pb2.NewX509SVIDParams(entry_id=mine, csr=csr),
                svid_pb2.NewX509SVIDParams(entry_id=other, csr=csr),
                svid_pb2.NewX509SVIDParams(entry_id=mine),
                svid_pb2.NewX509SVIDParams(csr=csr),
                svid_pb2.NewX509SVIDParams(entry_id=mine, csr=b"no csr"),
                svid_pb2.NewX509SVIDParams(entry_id=mine, csr=_broken_signature(csr)),
            ]
        ),
        svid_pb2.BatchNewX509SVIDResponse,
        server.port(agent),
    )
    statuses = [(each.status.code, each.status.message) for each in response.results]
    assert statuses[:4] == [
        (0, "OK"),
        (5, "entry not found or not authorized"),
        (3, "missing CSR"),
        (3, "missing entry ID"),
    ]
    assert statuses[4][0] == 3
    assert statuses[4][1].startswith("malformed CSR: ")
    assert statuses[5][0] == 3
    assert statuses[5][1].startswith("invalid CSR signature: ")
    leaf = response.results[0].svid.cert_chain[0]
    assert str(check_leaf(leaf)) == "spiffe://example.org/mine"


def _broken_signature(csr: bytes) -> bytes:
    return csr[:-1] + bytes([csr[-1] ^ 1])


async def test_an_agent_gets_jwt_svids_for_its_entries_only(server: RunningServer) -> None:
    agent = await server.attest()
    mine = await server.create_entry(agent_path(agent), "/mine")
    channel = server.port(agent)
    request = svid_pb2.NewJWTSVIDRequest(entry_id=mine, audience=["a"])
    response = await server.call(SVID + "NewJWTSVID", request, svid_pb2.NewJWTSVIDResponse, channel)
    assert response.svid.token.count(".") == 2
    assert response.svid.expires_at > response.svid.issued_at
    with pytest.raises(InvalidArgument, match="at least one audience is required"):
        await server.call(
            SVID + "NewJWTSVID",
            svid_pb2.NewJWTSVIDRequest(entry_id=mine),
            svid_pb2.NewJWTSVIDResponse,
            channel,
        )


async def renew(server: RunningServer, agent: Identity) -> Identity:
    key = generate_key(KeyType.EC_P256)
    request = agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=make_csr(key)))
    response = await server.call(
        AGENT + "RenewAgent", request, agent_pb2.RenewAgentResponse, server.port(agent)
    )
    return Identity(agent.spiffe_id, tuple(response.svid.cert_chain), key)


async def test_both_svids_count_until_the_renewed_one_is_used(server: RunningServer) -> None:
    old = await server.attest()
    new = await renew(server, old)
    await sync(server, server.port(old))
    await sync(server, server.port(new))
    with pytest.raises(PermissionDenied) as refused:
        await sync(server, server.port(old))
    assert permission_denied_reason(refused.value) == Reason.AGENT_NOT_ACTIVE
    assert refused.value.message == (
        "authorization denied for method /spire.api.server.entry.v1.Entry/SyncAuthorizedEntries"
    )
    stored = await server.datastore.get_agent(SpiffeID.parse(new.spiffe_id))
    assert stored is not None
    assert (stored.new_serial_number, bool(stored.serial_number)) == ("", True)


async def test_a_banned_agent_is_refused_at_once_and_may_not_attest_again(
    server: RunningServer,
) -> None:
    token = await server.join_token()
    agent = await server.attest(token)
    channel = server.port(agent)
    await sync(server, channel)
    await server.admin.unary(
        AGENT + "BanAgent",
        agent_pb2.BanAgentRequest(id=pb_id(agent_path(agent))),
        types_pb2.Status,
        timeout=20,
    )
    with pytest.raises(PermissionDenied) as refused:
        await sync(server, channel)
    assert permission_denied_reason(refused.value) == Reason.AGENT_BANNED
    await server.call(
        AGENT + "CreateJoinToken",
        agent_pb2.CreateJoinTokenRequest(ttl=60, token=token),
        types_pb2.JoinToken,
    )
    with pytest.raises(PermissionDenied, match=r"^failed to attest: agent is banned$"):
        await server.attest(token)


async def test_a_deleted_agent_is_not_attested_any_more(server: RunningServer) -> None:
    token = await server.join_token(alias="/alias")
    agent = await server.attest(token)
    channel = server.port(agent)
    assert len(await sync(server, channel)) == 1
    await server.admin.unary(
        AGENT + "DeleteAgent",
        agent_pb2.DeleteAgentRequest(id=pb_id(agent_path(agent))),
        types_pb2.Status,
        timeout=20,
    )
    with pytest.raises(PermissionDenied) as refused:
        await sync(server, channel)
    assert permission_denied_reason(refused.value) == Reason.AGENT_NOT_ATTESTED
    entries = await server.call(
        ENTRY + "ListEntries", entry_pb2.ListEntriesRequest(), entry_pb2.ListEntriesResponse
    )
    assert list(entries.entries) == []


async def test_an_agent_reports_its_version(server: RunningServer) -> None:
    agent = await server.attest()
    await server.call(
        AGENT + "PostStatus",
        agent_pb2.PostStatusRequest(agent_version="1.15.3"),
        agent_pb2.PostStatusResponse,
        server.port(agent),
    )
    shown = await server.call(
        AGENT + "GetAgent", agent_pb2.GetAgentRequest(id=pb_id(agent_path(agent))), types_pb2.Agent
    )
    assert (shown.agent_version, shown.attestation_type) == ("1.15.3", "join_token")


async def test_a_join_token_is_good_for_one_agent(server: RunningServer) -> None:
    token = await server.join_token()
    await server.attest(token)
    with pytest.raises(
        InvalidArgument,
        match=r"^failed to attest: join token does not exist or has already been used$",
    ):
        await server.attest(token)


async def test_anyone_may_have_the_bundle(server: RunningServer) -> None:
    bundle = await server.call(
        BUNDLE + "GetBundle", bundle_pb2.GetBundleRequest(), types_pb2.Bundle, server.port()
    )
    assert bundle.trust_domain == "example.org"
    assert [each.asn1 for each in bundle.x509_authorities] == [server.root]


@pytest.fixture
async def agent(server: RunningServer) -> Identity:
    return await server.attest()


async def test_more_than_a_page_of_entries_is_synced_by_revision(
    server: RunningServer, agent: Identity
) -> None:
    total = 1203
    entries = [
        types_pb2.Entry(
            parent_id=pb_id(agent_path(agent)),
            spiffe_id=pb_id(f"/workload/{number}"),
            selectors=[types_pb2.Selector(type="unix", value="uid:0")],
        )
        for number in range(total)
    ]
    await server.call(
        ENTRY + "BatchCreateEntry",
        entry_pb2.BatchCreateEntryRequest(entries=entries),
        entry_pb2.BatchCreateEntryResponse,
    )
    async with server.port(agent).bidi(
        ENTRY + "SyncAuthorizedEntries", entry_pb2.SyncAuthorizedEntriesResponse, timeout=20
    ) as call:
        await call.send(entry_pb2.SyncAuthorizedEntriesRequest())
        pages = []
        while True:
            pages.append(await anext(call))
            if not pages[-1].more:
                break
        assert [len(page.entry_revisions) for page in pages] == [500, 500, 203]
        assert all(not page.entries for page in pages)
        ids = sorted(revision.id for page in pages for revision in page.entry_revisions)
        await call.send(entry_pb2.SyncAuthorizedEntriesRequest(ids=[*ids[:600], "unknown"]))
        first, second = await anext(call), await anext(call)
        assert [(len(first.entries), first.more), (len(second.entries), second.more)] == [
            (500, True),
            (100, False),
        ]
        assert [each.id for each in (*first.entries, *second.entries)] == ids[:600]
        await call.send(entry_pb2.SyncAuthorizedEntriesRequest(ids=[]))
        empty = await anext(call)
        assert (len(empty.entries), empty.more) == (0, False)
        call.done_sending()
        assert [response async for response in call] == []
    whole = await server.call(
        ENTRY + "GetAuthorizedEntries",
        entry_pb2.GetAuthorizedEntriesRequest(),
        entry_pb2.GetAuthorizedEntriesResponse,
        server.port(agent),
    )
    assert [entry.id for entry in whole.entries] == ids


async def test_an_agents_id_is_one_of_its_selectors_where_the_config_says_so(
    short_path: Path,
) -> None:
    experimental = {"agent_spiffe_id_as_selector": True}
    async with running_server(short_path, experimental=experimental) as server:
        agent = await server.attest()
        shown = await server.call(
            AGENT + "GetAgent",
            agent_pb2.GetAgentRequest(id=pb_id(agent_path(agent))),
            types_pb2.Agent,
        )
        assert list(shown.selectors) == [
            types_pb2.Selector(type="spiffe_id", value=agent.spiffe_id)
        ]
        await server.create_entry("/spire/server", "/alias", f"spiffe_id:{agent.spiffe_id}")
        await server.create_entry("/alias", "/workload")
        entries = await sync(server, server.port(agent))
        assert [entry.spiffe_id.path for entry in entries] == ["/workload"]


async def test_jwt_svids_can_be_switched_off(short_path: Path) -> None:
    async with running_server(short_path, disable_jwt_svids=True) as server:
        agent = await server.attest()
        for method, request, channel in (
            ("MintJWTSVID", svid_pb2.MintJWTSVIDRequest(), server.admin),
            ("NewJWTSVID", svid_pb2.NewJWTSVIDRequest(), server.port(agent)),
        ):
            with pytest.raises(Unimplemented, match="JWT functionality is disabled"):
                await server.call(SVID + method, request, types_pb2.Status, channel)
