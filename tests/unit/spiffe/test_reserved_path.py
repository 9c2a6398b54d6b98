from __future__ import annotations

import pytest

from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import (
    agent_id,
    check_agent_id,
    check_member,
    check_workload_id,
    is_agent_path,
    server_id,
)

TD = TrustDomain("example.org")


def test_server_and_agent_ids() -> None:
    assert str(server_id(TD)) == "spiffe://example.org/spire/server"
    assert str(agent_id(TD, "/join_token/abc")) == "spiffe://example.org/spire/agent/join_token/abc"


@pytest.mark.parametrize("suffix", ["abc", "/a b", "/", "/\ud800"])
def test_agent_id_refuses_a_suffix_that_is_no_path(suffix: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid agent path suffix") as caught:
        agent_id(TD, suffix)
    caught.value.message.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "spiffe://other.org/x",
            '"spiffe://other.org/x" is not a member of trust domain "example.org"',
            id="foreign",
        ),
        pytest.param(
            "spiffe://example.org",
            '"spiffe://example.org" is not a workload in trust domain "example.org"; path is empty',
            id="no path",
        ),
        pytest.param(
            "spiffe://example.org/spire",
            '"spiffe://example.org/spire" is not a workload in trust domain "example.org"; '
            "path is in the reserved namespace",
            id="reserved",
        ),
        pytest.param(
            "spiffe://example.org/spire/agent/x",
            '"spiffe://example.org/spire/agent/x" is not a workload in trust domain '
            '"example.org"; path is in the reserved namespace',
            id="below",
        ),
        pytest.param(
            f"spiffe://example.org/{'a' * 2048}",
            "SPIFFE ID is longer than 2048 bytes",
            id="too long",
            marks=pytest.mark.spec(13),
        ),
    ],
)
def test_workload_ids_are_refused_in_spires_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_workload_id(SpiffeID.parse(text), TD)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("spiffe://example.org/spirex", id="no reserved segment"),
        pytest.param("spiffe://example.org/x/spire/y", id="not at the start"),
        pytest.param(
            f"spiffe://example.org/{'a' * 2027}", id="2048 bytes", marks=pytest.mark.spec(12)
        ),
    ],
)
def test_workload_ids_are_accepted(text: str) -> None:
    spiffe_id = SpiffeID.parse(text)
    assert check_workload_id(spiffe_id, TD) is spiffe_id


@pytest.mark.spec(22)
def test_a_member_may_be_an_agent_but_not_the_trust_domain() -> None:
    agent = agent_id(TD, "/x509pop/1")
    assert check_member(agent, TD) is agent
    with pytest.raises(
        InvalidArgument, match=r'is not a member of trust domain "example.org"; path'
    ):
        check_member(TD.id, TD)


def test_agent_paths_are_told_by_attestation_type() -> None:
    assert is_agent_path("/spire/agent/k8s_psat/x")
    assert is_agent_path("/spire/agent/k8s_psat/x", "k8s_psat")
    assert not is_agent_path("/spire/agent/k8s_psat/x", "k8s")
    assert not is_agent_path("/spire/server")


def test_only_agents_pass_as_agents() -> None:
    agent = agent_id(TD, "/x509pop/1")
    assert check_agent_id(agent, TD) is agent
    with pytest.raises(InvalidArgument, match="path is not in the agent namespace"):
        check_agent_id(server_id(TD), TD)
