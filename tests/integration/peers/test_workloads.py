"""Workloads written with other SPIFFE libraries, on a real agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.daemons import TRUST_DOMAIN, Stack
from tests.integration.peers.conftest import ONE, TWO
from tests.peers.process import run

Find = Callable[[str], Path]

WORKLOADS = [
    pytest.param("workload", marks=pytest.mark.peer("workload"), id="go-spiffe"),
    pytest.param("py-workload", marks=pytest.mark.peer("py-workload"), id="py-spiffe"),
    pytest.param("rust-workload", marks=pytest.mark.peer("rust-workload"), id="rust spiffe"),
]
every_workload = pytest.mark.parametrize("peer", WORKLOADS)


@every_workload
async def test_a_workload_gets_its_identities_and_the_bundle(
    require_peer: Find, spiffe_stack: Stack, endpoint: str, peer: str
) -> None:
    authorities = spiffe_stack.server("bundle", "show").count("BEGIN CERTIFICATE")
    code, lines = await run(require_peer(peer), "fetch", "-socket", endpoint)
    assert code == 0, lines
    assert [svid["id"] for svid in lines[0]["svids"]] == [ONE, TWO]
    assert [svid["chain"] for svid in lines[0]["svids"]] == [1, 1]
    assert lines[0]["bundles"] == {TRUST_DOMAIN: authorities}


@pytest.mark.parametrize("peer", [WORKLOADS[0], WORKLOADS[2]])
async def test_hints_tell_identities_apart(require_peer: Find, endpoint: str, peer: str) -> None:
    _, lines = await run(require_peer(peer), "fetch", "-socket", endpoint)
    assert [svid["hint"] for svid in lines[0]["svids"]] == ["", "second"]


@every_workload
async def test_tokens_hold_by_the_bundles_and_by_the_agents_own_check(
    require_peer: Find, endpoint: str, peer: str
) -> None:
    code, lines = await run(require_peer(peer), "jwt", "-socket", endpoint, "-audience", "someone")
    assert code == 0, lines
    assert [line["id"] for line in lines] == [ONE, TWO]
    assert [line["audience"] for line in lines] == [["someone"], ["someone"]]


@every_workload
async def test_a_token_can_be_had_for_one_identity(
    require_peer: Find, endpoint: str, peer: str
) -> None:
    code, lines = await run(require_peer(peer), "jwt", "-socket", endpoint, "-spiffe-id", TWO)
    assert code == 0, lines
    assert [line["id"] for line in lines] == [TWO]


@every_workload
async def test_no_token_is_given_for_an_identity_of_others(
    require_peer: Find, endpoint: str, peer: str
) -> None:
    stranger = f"spiffe://{TRUST_DOMAIN}/stranger"
    code, lines = await run(require_peer(peer), "jwt", "-socket", endpoint, "-spiffe-id", stranger)
    assert code == 1
    assert "no identity issued" in lines[-1]["error"]


@every_workload
async def test_the_agent_refuses_a_token_meant_for_someone_else(
    require_peer: Find, endpoint: str, peer: str
) -> None:
    program = require_peer(peer)
    _, lines = await run(program, "jwt", "-socket", endpoint, "-audience", "someone")
    asked = ("validate", "-socket", endpoint, "-token", lines[0]["token"])
    code, right = await run(program, *asked, "-audience", "someone")
    assert (code, right[-1]["id"]) == (0, ONE)
    code, wrong = await run(program, *asked, "-audience", "someone-else")
    assert code == 1
    assert "audience" in wrong[-1]["error"]
