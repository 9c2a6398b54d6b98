"""Lists: pages, masks and filters (features G18, G19)."""

from __future__ import annotations

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, entry_pb2

from .conftest import AGENT, ENTRY, RunningServer, agent_path, pb_id

Match = types_pb2.SelectorMatch
EntryFilter = entry_pb2.ListEntriesRequest.Filter


async def list_entries(server: RunningServer, **fields: object) -> entry_pb2.ListEntriesResponse:
    request = entry_pb2.ListEntriesRequest(**fields)  # type: ignore[arg-type]
    return await server.call(ENTRY + "ListEntries", request, entry_pb2.ListEntriesResponse)


async def test_pages_follow_each_other_to_the_end(server: RunningServer) -> None:
    for number in range(5):
        await server.create_entry("/parent", f"/workload/{number}")
    found: list[str] = []
    token = ""
    while True:
        page = await list_entries(server, page_size=2, page_token=token)
        assert len(page.entries) <= 2
        found += [entry.spiffe_id.path for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"/workload/{number}" for number in range(5)]
    everything = await list_entries(server)
    assert (len(everything.entries), everything.next_page_token) == (5, "")


async def test_a_mask_leaves_the_id_and_what_it_names(server: RunningServer) -> None:
    entry_id = await server.create_entry("/parent", "/workload", hint="x", x509_svid_ttl=60)
    response = await list_entries(server, output_mask=types_pb2.EntryMask(hint=True))
    (entry,) = response.entries
    assert entry == types_pb2.Entry(id=entry_id, hint="x")


@pytest.mark.parametrize(
    ("wanted", "paths"),
    [
        pytest.param(EntryFilter(by_spiffe_id=pb_id("/a")), ["/a"], id="id"),
        pytest.param(EntryFilter(by_parent_id=pb_id("/two")), ["/b"], id="parent"),
        pytest.param(
            EntryFilter(
                by_selectors=Match(
                    selectors=[types_pb2.Selector(type="x", value="1")], match=Match.MATCH_SUPERSET
                )
            ),
            ["/a", "/b"],
            id="selectors",
        ),
        pytest.param(
            EntryFilter(by_selectors=Match(selectors=[types_pb2.Selector(type="x", value="1")])),
            ["/a"],
            id="exact selectors",
        ),
    ],
)
async def test_entries_are_found_by_what_they_are(
    server: RunningServer, wanted: EntryFilter, paths: list[str]
) -> None:
    await server.create_entry("/one", "/a", "x:1")
    await server.create_entry("/two", "/b", "x:1", "x:2")
    response = await list_entries(server, filter=wanted)
    assert [entry.spiffe_id.path for entry in response.entries] == paths
    count = await server.call(
        ENTRY + "CountEntries",
        entry_pb2.CountEntriesRequest(
            filter=entry_pb2.CountEntriesRequest.Filter.FromString(wanted.SerializeToString())
        ),
        entry_pb2.CountEntriesResponse,
    )
    assert count.count == len(paths)


async def test_agents_are_listed_counted_masked_and_filtered(server: RunningServer) -> None:
    agents = [await server.attest() for _ in range(2)]
    await server.call(
        AGENT + "BanAgent",
        agent_pb2.BanAgentRequest(id=pb_id(agent_path(agents[0]))),
        types_pb2.Status,
    )

    async def paths(wanted: agent_pb2.ListAgentsRequest.Filter | None) -> list[str]:
        request = agent_pb2.ListAgentsRequest(filter=wanted)
        response = await server.call(AGENT + "ListAgents", request, agent_pb2.ListAgentsResponse)
        return [agent.id.path for agent in response.agents]

    banned = agent_pb2.ListAgentsRequest.Filter()
    banned.by_banned.value = True
    not_banned = agent_pb2.ListAgentsRequest.Filter()
    not_banned.by_banned.value = False
    assert await paths(None) == [agent_path(agent) for agent in agents]
    assert await paths(banned) == [agent_path(agents[0])]
    assert await paths(not_banned) == [agent_path(agents[1])]
    count = await server.call(
        AGENT + "CountAgents",
        agent_pb2.CountAgentsRequest(
            filter=agent_pb2.CountAgentsRequest.Filter(by_attestation_type="x509pop")
        ),
        agent_pb2.CountAgentsResponse,
    )
    assert count.count == 0
    shown = await server.call(
        AGENT + "GetAgent",
        agent_pb2.GetAgentRequest(
            id=pb_id(agent_path(agents[1])), output_mask=types_pb2.AgentMask(attestation_type=True)
        ),
        types_pb2.Agent,
    )
    assert shown == types_pb2.Agent(id=pb_id(agent_path(agents[1])), attestation_type="join_token")


async def test_an_update_changes_what_its_mask_names_and_counts_the_revision(
    server: RunningServer,
) -> None:
    entry_id = await server.create_entry("/parent", "/workload", hint="old", x509_svid_ttl=60)
    response = await server.call(
        ENTRY + "BatchUpdateEntry",
        entry_pb2.BatchUpdateEntryRequest(
            entries=[types_pb2.Entry(id=entry_id, hint="new")],
            input_mask=types_pb2.EntryMask(hint=True),
        ),
        entry_pb2.BatchUpdateEntryResponse,
    )
    (result,) = response.results
    assert result.status.message == "OK"
    assert (result.entry.hint, result.entry.x509_svid_ttl, result.entry.revision_number) == (
        "new",
        60,
        1,
    )
    cached = server.endpoints.entries.entry(entry_id)
    assert cached is not None
    assert cached.hint == "new"
