from __future__ import annotations

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire_py import explain_pb2
from spire_py.cli.agent.api_explain import explanation

Response = explain_pb2.ExplainWorkloadResponse


def selectors(*texts: str) -> list[types_pb2.Selector]:
    parts = (text.partition(":") for text in texts)
    return [types_pb2.Selector(type=kind, value=value) for kind, _, value in parts]


def candidate(entry_id: str, *missing: str, has_x509_svid: bool = True) -> Response.Candidate:
    return Response.Candidate(
        entry_id=entry_id,
        spiffe_id=f"spiffe://example.org/{entry_id}",
        missing=selectors(*missing),
        has_x509_svid=has_x509_svid,
    )


def test_identities_are_told() -> None:
    response = Response(
        pid=7,
        selectors=selectors("unix:uid:0"),
        candidates=[
            candidate("a"),
            candidate("b", has_x509_svid=False),
            candidate("c", "unix:gid:1"),
        ],
        entries_count=3,
        last_sync_success=1,
    )
    assert list(explanation(response)) == [
        "Process 7 has these selectors:",
        "  unix:uid:0",
        "",
        "It gets 2 identities:",
        "  spiffe://example.org/a by entry a",
        "  spiffe://example.org/b by entry b (its X.509-SVID is not signed yet)",
    ]


def test_what_is_missing_is_told_and_what_to_do() -> None:
    response = Response(
        pid=7,
        selectors=selectors("unix:uid:0", "unix:gid:0"),
        candidates=[candidate("c", "unix:gid:1", "k8s:ns:x")],
        entries_count=1,
        last_sync_success=1,
    )
    lines = list(explanation(response))
    assert "It gets no identity: no entry's selectors are all among these." in lines
    assert "  spiffe://example.org/c by entry c wants also unix:gid:1, k8s:ns:x" in lines
    assert "-selector unix:uid:0" in lines[-1]


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        pytest.param(Response(last_sync_success=1), "entitled to no entries", id="no entries"),
        pytest.param(Response(), "heard nothing from its server", id="no sync"),
        pytest.param(
            Response(
                entries_count=1,
                last_sync_success=1,
                failed_attestors=[Response.FailedAttestor(name="k8s", error="kubelet is away")],
                candidates=[candidate("c", "k8s:ns:x")],
            ),
            "Mend the attestor",
            id="an attestor failed",
        ),
    ],
)
def test_the_cause_is_named(response: Response, sentence: str) -> None:
    assert sentence in "\n".join(explanation(response))
