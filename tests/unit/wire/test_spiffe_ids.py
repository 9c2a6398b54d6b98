from __future__ import annotations

from collections.abc import Callable

import pytest

from spire_py._proto.spire.api.types_pb2 import SPIFFEID
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.wire.spiffe_ids import (
    agent_id_from_pb,
    id_from_pb,
    id_to_pb,
    member_id_from_pb,
    workload_id_from_pb,
)

TD = TrustDomain("example.org")


@pytest.mark.parametrize("text", ["spiffe://example.org", "spiffe://example.org/a/b"])
def test_ids_come_back_as_they_were(text: str) -> None:
    spiffe_id = SpiffeID.parse(text)
    assert id_from_pb(id_to_pb(spiffe_id)) == spiffe_id


def test_trust_domain_may_be_written_as_an_id() -> None:
    message = SPIFFEID(trust_domain="spiffe://example.org", path="/a")
    assert id_from_pb(message) == TD.member("/a")


@pytest.mark.parametrize(
    ("message", "text"),
    [
        pytest.param(None, "request must specify SPIFFE ID", id="none"),
        pytest.param(SPIFFEID(path="/a"), "trust domain is missing", id="no trust domain"),
        pytest.param(
            SPIFFEID(trust_domain="example.org", path="a"), "path must have a leading slash",
            id="no slash",
        ),
        pytest.param(
            SPIFFEID(trust_domain="example.org", path="/a/"), "path cannot have a trailing slash",
            id="trailing slash",
        ),
        pytest.param(
            SPIFFEID(trust_domain="example.org", path="/a/../b"),
            "path cannot contain dot segments",
            id="dots",
        ),
    ],
)  # fmt: skip
def test_what_is_no_id_is_refused(message: SPIFFEID | None, text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        id_from_pb(message)
    assert refusal.value.message == text


@pytest.mark.parametrize(
    ("read", "path", "why"),
    [
        pytest.param(
            member_id_from_pb, "", "a member of trust domain \"example.org\"; path is empty",
            id="member without a path",
        ),
        pytest.param(
            workload_id_from_pb, "", "a workload in trust domain \"example.org\"; path is empty",
            id="workload without a path",
        ),
        pytest.param(
            workload_id_from_pb, "/spire",
            "a workload in trust domain \"example.org\"; path is in the reserved namespace",
            id="workload named as the namespace",
        ),
        pytest.param(
            workload_id_from_pb, "/spire/agent/x",
            "a workload in trust domain \"example.org\"; path is in the reserved namespace",
            id="workload in the namespace",
        ),
        pytest.param(
            agent_id_from_pb, "", "an agent in trust domain \"example.org\"; path is empty",
            id="agent without a path",
        ),
        pytest.param(
            agent_id_from_pb, "/spire/agent",
            "an agent in trust domain \"example.org\"; path is not in the agent namespace",
            id="agent elsewhere",
        ),
    ],
)  # fmt: skip
def test_id_of_the_wrong_kind_is_refused(
    read: Callable[[SPIFFEID, TrustDomain], SpiffeID], path: str, why: str
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        read(SPIFFEID(trust_domain="example.org", path=path), TD)
    assert refusal.value.message == f'"spiffe://example.org{path}" is not {why}'


@pytest.mark.parametrize("read", [member_id_from_pb, workload_id_from_pb, agent_id_from_pb])
def test_id_of_another_trust_domain_is_refused(
    read: Callable[[SPIFFEID, TrustDomain], SpiffeID],
) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        read(SPIFFEID(trust_domain="other.org", path="/spire/agent/x"), TD)
    assert refusal.value.message == (
        '"spiffe://other.org/spire/agent/x" is not a member of trust domain "example.org"'
    )


def test_ids_of_the_right_kind_pass() -> None:
    for read, path in (
        (member_id_from_pb, "/spire/server"),
        (workload_id_from_pb, "/spirex"),
        (agent_id_from_pb, "/spire/agent/join_token/x"),
    ):
        assert read(SPIFFEID(trust_domain="example.org", path=path), TD) == TD.member(path)
