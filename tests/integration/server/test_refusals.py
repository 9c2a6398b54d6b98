"""What the server refuses, in SPIRE's codes and words, and that it then changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from google.protobuf.message import Message

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import PermissionDenied, SpireError, StatusCode
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.id import SpiffeID
from spire_py.wire.status import Reason, permission_denied_reason

from .conftest import (
    AGENT,
    BUNDLE,
    ENTRY,
    SVID,
    RunningServer,
    pb_id,
    running_server,
)

KEY = generate_key(KeyType.EC_P256)
CSR = make_csr(KEY, uri="spiffe://example.org/workload")
PLAIN = make_csr(KEY)
INVALID, NOT_FOUND, DENIED = (
    StatusCode.INVALID_ARGUMENT,
    StatusCode.NOT_FOUND,
    StatusCode.PERMISSION_DENIED,
)
RESERVED = (
    '"spiffe://example.org/spire/x" is not a workload in trust domain "example.org"; '
    "path is in the reserved namespace"
)


def csr_of(*uris: str) -> bytes:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.add_extension(names, critical=False).sign(KEY, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.DER)


def selectors(*pairs: tuple[str, str]) -> list[types_pb2.Selector]:
    return [types_pb2.Selector(type=kind, value=value) for kind, value in pairs]


def entry(**changes: Any) -> types_pb2.Entry:
    fields: dict[str, Any] = {
        "parent_id": pb_id("/parent"),
        "spiffe_id": pb_id("/workload"),
        "selectors": selectors(("unix", "uid:0")),
        **changes,
    }
    return types_pb2.Entry(**{name: value for name, value in fields.items() if value is not None})


@pytest.mark.parametrize(
    ("method", "request_message", "code", "message"),
    [
        pytest.param(
            AGENT + "CreateJoinToken",
            agent_pb2.CreateJoinTokenRequest(),
            INVALID,
            "ttl is required, you must provide one",
            id="join token without ttl",
        ),
        pytest.param(
            AGENT + "CreateJoinToken",
            agent_pb2.CreateJoinTokenRequest(ttl=1, agent_id=pb_id("/spire/x")),
            INVALID,
            f"invalid agent ID: {RESERVED}",
            id="join token for a reserved id",
        ),
        pytest.param(
            AGENT + "GetAgent",
            agent_pb2.GetAgentRequest(),
            INVALID,
            "invalid agent ID: request must specify SPIFFE ID",
            id="agent without id",
        ),
        pytest.param(
            AGENT + "BanAgent",
            agent_pb2.BanAgentRequest(id=pb_id("/workload")),
            INVALID,
            'invalid agent ID: "spiffe://example.org/workload" is not an agent in trust domain '
            '"example.org"; path is not in the agent namespace',
            id="ban of a workload",
        ),
        pytest.param(
            AGENT + "BanAgent",
            agent_pb2.BanAgentRequest(id=pb_id("/spire/agent/a/b")),
            NOT_FOUND,
            "agent not found",
            id="ban of nobody",
        ),
        pytest.param(
            AGENT + "DeleteAgent",
            agent_pb2.DeleteAgentRequest(id=pb_id("/spire/agent/a/b")),
            NOT_FOUND,
            "agent not found",
            id="deletion of nobody",
        ),
        pytest.param(
            AGENT + "ListAgents",
            agent_pb2.ListAgentsRequest(
                filter=agent_pb2.ListAgentsRequest.Filter(
                    by_selector_match=types_pb2.SelectorMatch(selectors=selectors(("a:b", "c")))
                )
            ),
            INVALID,
            "failed to parse selectors: selector type contains ':'",
            id="agents by a bad selector",
        ),
        pytest.param(
            ENTRY + "GetEntry", entry_pb2.GetEntryRequest(), INVALID, "missing ID", id="entry"
        ),
        pytest.param(
            ENTRY + "GetEntry",
            entry_pb2.GetEntryRequest(id="nobody"),
            NOT_FOUND,
            "entry not found",
            id="unknown entry",
        ),
        pytest.param(
            ENTRY + "ListEntries",
            entry_pb2.ListEntriesRequest(
                filter=entry_pb2.ListEntriesRequest.Filter(by_selectors=types_pb2.SelectorMatch())
            ),
            INVALID,
            "malformed selectors filter: empty selector set",
            id="entries by no selector",
        ),
        pytest.param(
            ENTRY + "ListEntries",
            entry_pb2.ListEntriesRequest(
                filter=entry_pb2.ListEntriesRequest.Filter(
                    by_parent_id=pb_id("/parent", "other.org")
                )
            ),
            INVALID,
            'malformed parent ID filter: "spiffe://other.org/parent" is not a member of '
            'trust domain "example.org"',
            id="entries by a foreign parent",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(),
            INVALID,
            "missing CSR",
            id="mint without csr",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(csr=PLAIN),
            INVALID,
            "CSR URI SAN is required",
            id="mint without uri",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(
                csr=csr_of("spiffe://example.org/workload", "spiffe://example.org/other")
            ),
            INVALID,
            "only one URI SAN is expected",
            id="mint with two ids",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(csr=CSR[:-1] + bytes([CSR[-1] ^ 1])),
            INVALID,
            "failed to verify CSR signature: verification failure",
            id="mint with another signature",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(csr=make_csr(KEY, uri="spiffe://example.org/spire/x")),
            INVALID,
            f"CSR URI SAN is invalid: {RESERVED}",
            id="mint of a reserved id",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(csr=make_csr(KEY, uri="spiffe://other.org/x")),
            INVALID,
            'CSR URI SAN is invalid: "spiffe://other.org/x" is not a member of trust domain '
            '"example.org"',
            id="mint of a foreign id",
        ),
        pytest.param(
            SVID + "MintX509SVID",
            svid_pb2.MintX509SVIDRequest(
                csr=make_csr(
                    KEY, uri="spiffe://example.org/w", dns=("*.example.org", "a.example.org")
                )
            ),
            INVALID,
            "CSR DNS name contains a wildcard that covers another non-wildcard name: "
            'name "a.example.org" overlaps with an existing wildcard name in the list: '
            "wildcard overlap",
            id="mint with overlapping names",
        ),
        pytest.param(
            SVID + "MintJWTSVID",
            svid_pb2.MintJWTSVIDRequest(id=pb_id("/workload")),
            INVALID,
            "at least one audience is required",
            id="jwt without audience",
        ),
        pytest.param(
            SVID + "MintJWTSVID",
            svid_pb2.MintJWTSVIDRequest(id=pb_id("/spire/x"), audience=["a"]),
            INVALID,
            f"invalid SPIFFE ID: {RESERVED}",
            id="jwt for a reserved id",
        ),
        pytest.param(
            BUNDLE + "GetFederatedBundle",
            bundle_pb2.GetFederatedBundleRequest(trust_domain="example.org"),
            INVALID,
            "getting a federated bundle for the server's own trust domain is not allowed",
            id="own bundle as federated",
        ),
        pytest.param(
            BUNDLE + "GetFederatedBundle",
            bundle_pb2.GetFederatedBundleRequest(trust_domain="other.org"),
            NOT_FOUND,
            "bundle not found",
            id="unknown bundle",
        ),
        pytest.param(
            BUNDLE + "AppendBundle",
            bundle_pb2.AppendBundleRequest(),
            INVALID,
            "no authorities to append",
            id="append of nothing",
        ),
    ],
)
async def test_an_operator_is_told_what_is_wrong(
    server: RunningServer, method: str, request_message: Message, code: StatusCode, message: str
) -> None:
    with pytest.raises(SpireError) as refused:
        await server.call(method, request_message, types_pb2.Status)
    assert (refused.value.code, refused.value.message) == (code, message)


@pytest.mark.parametrize(
    ("wanted", "code", "message"),
    [
        pytest.param(
            entry(spiffe_id=pb_id("/spire/x")),
            INVALID,
            f"failed to convert entry: invalid spiffe ID: {RESERVED}",
            id="reserved id",
        ),
        pytest.param(
            entry(spiffe_id=None),
            INVALID,
            "failed to convert entry: invalid spiffe ID: request must specify SPIFFE ID",
            id="no id",
        ),
        pytest.param(
            entry(parent_id=pb_id("/x", "other.org")),
            INVALID,
            'failed to convert entry: invalid parent ID: "spiffe://other.org/x" is not a member '
            'of trust domain "example.org"',
            id="foreign parent",
        ),
        pytest.param(
            entry(selectors=[]),
            INVALID,
            "failed to convert entry: selector list is empty",
            id="no selectors",
        ),
        pytest.param(
            entry(selectors=selectors(("", "x"))),
            INVALID,
            "failed to convert entry: missing selector type",
            id="no selector type",
        ),
        pytest.param(
            entry(hint="x" * 1025),
            INVALID,
            "failed to convert entry: hint is too long, max length is 1024 characters",
            id="long hint",
        ),
        pytest.param(
            entry(dns_names=["a.*.b"]),
            INVALID,
            "failed to convert entry: invalid DNS name: wildcard must be first label",
            id="bad dns name",
        ),
        pytest.param(
            entry(id="a b"),
            INVALID,
            "failed to create entry: datastore-validation: invalid registration entry: "
            "entry ID contains invalid characters",
            id="bad entry id",
        ),
        pytest.param(
            entry(x509_svid_ttl=-1),
            INVALID,
            "failed to create entry: datastore-validation: invalid registration entry: "
            "X509SvidTtl is not set",
            id="negative ttl",
        ),
    ],
)
async def test_a_bad_entry_is_refused_by_itself_and_changes_nothing(
    server: RunningServer, wanted: types_pb2.Entry, code: StatusCode, message: str
) -> None:
    response = await server.call(
        ENTRY + "BatchCreateEntry",
        entry_pb2.BatchCreateEntryRequest(entries=[wanted, entry()]),
        entry_pb2.BatchCreateEntryResponse,
    )
    first, second = response.results
    assert (first.status.code, first.status.message) == (code, message)
    assert not first.HasField("entry")
    assert (second.status.code, second.status.message) == (0, "OK")
    count = await server.call(
        ENTRY + "CountEntries", entry_pb2.CountEntriesRequest(), entry_pb2.CountEntriesResponse
    )
    assert count.count == 1


async def test_a_similar_entry_is_shown_as_it_is_stored(server: RunningServer) -> None:
    stored = await server.create_entry("/parent", "/workload", hint="first")
    response = await server.call(
        ENTRY + "BatchCreateEntry",
        entry_pb2.BatchCreateEntryRequest(entries=[entry(hint="second")]),
        entry_pb2.BatchCreateEntryResponse,
    )
    (result,) = response.results
    assert (result.status.code, result.status.message) == (6, "similar entry already exists")
    assert (result.entry.id, result.entry.hint) == (stored, "first")


async def test_a_bad_update_changes_nothing(server: RunningServer) -> None:
    entry_id = await server.create_entry("/parent", "/workload")
    response = await server.call(
        ENTRY + "BatchUpdateEntry",
        entry_pb2.BatchUpdateEntryRequest(
            entries=[
                entry(id=entry_id, spiffe_id=pb_id("/spire/x")),
                types_pb2.Entry(id="nobody", hint="x"),
                entry(id="nobody", x509_svid_ttl=-1),
            ],
            input_mask=types_pb2.EntryMask(spiffe_id=True, hint=True, x509_svid_ttl=True),
        ),
        entry_pb2.BatchUpdateEntryResponse,
    )
    assert response.results[0].status.message.startswith(
        "failed to convert entry: invalid spiffe ID: "
    )
    assert response.results[1].status.code == INVALID
    assert response.results[2].status.message == (
        "failed to update entry: datastore-validation: invalid registration entry: "
        "X509SvidTtl is not set"
    )
    shown = await server.call(
        ENTRY + "GetEntry", entry_pb2.GetEntryRequest(id=entry_id), types_pb2.Entry
    )
    assert (shown.spiffe_id.path, shown.revision_number) == ("/workload", 0)


async def test_deletions_are_answered_one_by_one(server: RunningServer) -> None:
    entry_id = await server.create_entry("/parent", "/workload")
    response = await server.call(
        ENTRY + "BatchDeleteEntry",
        entry_pb2.BatchDeleteEntryRequest(ids=["", "nobody", entry_id]),
        entry_pb2.BatchDeleteEntryResponse,
    )
    assert [(r.status.code, r.status.message, r.id) for r in response.results] == [
        (3, "missing entry ID", ""),
        (5, "entry not found", "nobody"),
        (0, "OK", entry_id),
    ]


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        pytest.param(
            [entry_pb2.SyncAuthorizedEntriesRequest(ids=["x"])],
            "specifying IDs on initial request is not supported",
            id="ids first",
        ),
        pytest.param(
            [entry_pb2.SyncAuthorizedEntriesRequest(output_mask=types_pb2.EntryMask(hint=True))],
            "revision number cannot be masked",
            id="mask",
        ),
    ],
)
async def test_a_bad_sync_is_refused(
    server: RunningServer, requests: list[Message], message: str
) -> None:
    agent = await server.attest()
    async with server.port(agent).bidi(
        ENTRY + "SyncAuthorizedEntries", entry_pb2.SyncAuthorizedEntriesResponse, timeout=20
    ) as call:
        await call.send(requests[0])
        with pytest.raises(SpireError) as refused:
            await anext(call)
    assert (refused.value.code, refused.value.message) == (INVALID, message)


async def test_renewing_needs_params_and_a_csr(server: RunningServer) -> None:
    channel = server.port(await server.attest())
    for request, message in (
        (agent_pb2.RenewAgentRequest(), "params cannot be nil"),
        (
            agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams()),
            "missing CSR",
        ),
    ):
        with pytest.raises(SpireError) as refused:
            await server.call(AGENT + "RenewAgent", request, types_pb2.Status, channel)
        assert (refused.value.code, refused.value.message) == (INVALID, message)


async def test_an_agent_that_can_attest_again_must_not_renew(server: RunningServer) -> None:
    agent = await server.attest()
    known = server.endpoints.entries.agent(SpiffeID.parse(agent.spiffe_id))
    assert known is not None
    server.endpoints.entries.put_agent(
        await server.datastore.update_agent(known.id, can_reattest=True)
    )
    with pytest.raises(PermissionDenied) as refused:
        await server.call(
            AGENT + "RenewAgent",
            agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=PLAIN)),
            types_pb2.Status,
            server.port(agent),
        )
    assert refused.value.message == "agent must reattest instead of renew"
    assert permission_denied_reason(refused.value) == Reason.AGENT_MUST_REATTEST


async def test_a_version_that_is_too_long_is_refused(server: RunningServer) -> None:
    with pytest.raises(SpireError) as refused:
        await server.call(
            AGENT + "PostStatus",
            agent_pb2.PostStatusRequest(agent_version="x" * 256),
            types_pb2.Status,
            server.port(await server.attest()),
        )
    assert (refused.value.code, refused.value.message) == (
        INVALID,
        "agent version is too long (max 255 characters)",
    )


async def test_a_batch_over_the_limit_is_refused_on_the_port(short_path: Path) -> None:
    limited = {"attestation": False, "signing": True}
    async with running_server(short_path, ratelimit=limited) as server:
        agent = await server.attest()
        params = [svid_pb2.NewX509SVIDParams(entry_id="x", csr=CSR)] * 501
        with pytest.raises(SpireError) as refused:
            await server.call(
                SVID + "BatchNewX509SVID",
                svid_pb2.BatchNewX509SVIDRequest(params=params),
                svid_pb2.BatchNewX509SVIDResponse,
                server.port(agent),
            )
    assert (refused.value.code, refused.value.message) == (
        StatusCode.RESOURCE_EXHAUSTED,
        (
            "rejecting request due to certificate signing rate limiting: "
            "rate (501) exceeds burst size (500)"
        ),
    )
