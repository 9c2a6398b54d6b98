"""Workloads of different languages talk by mTLS with the identities that the agent gave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.peers.conftest import ONE, TWO
from tests.integration.peers.test_workloads import WORKLOADS
from tests.peers.process import run, running

Find = Callable[[str], Path]


@pytest.mark.parametrize("server", WORKLOADS)
@pytest.mark.parametrize("client", WORKLOADS)
async def test_both_ends_see_who_the_other_is(
    require_peer: Find, endpoint: str, server: str, client: str
) -> None:
    serve = ("serve", "-socket", endpoint, "-spiffe-id", TWO, "-expect", ONE)
    async with running(require_peer(server), *serve) as serving:
        address = (await serving.event("listening"))["address"]
        call = ("get", "-socket", endpoint, "-url", f"https://{address}/")
        code, lines = await run(require_peer(client), *call, "-expect", TWO)
        assert code == 0, lines
        assert lines[-1]["status"] == 200
        assert lines[-1]["body"] == ONE
        assert (await serving.event("peer"))["id"] == ONE


@pytest.mark.parametrize("client", WORKLOADS)
@pytest.mark.peer("workload")
async def test_a_server_with_another_identity_is_refused(
    require_peer: Find, endpoint: str, client: str
) -> None:
    serve = ("serve", "-socket", endpoint, "-spiffe-id", TWO)
    async with running(require_peer("workload"), *serve) as serving:
        address = (await serving.event("listening"))["address"]
        call = ("get", "-socket", endpoint, "-url", f"https://{address}/", "-expect", ONE)
        code, lines = await run(require_peer(client), *call)
        assert code == 1
        assert TWO in lines[-1]["error"]


@pytest.mark.parametrize("server", WORKLOADS)
@pytest.mark.peer("workload")
async def test_a_client_with_another_identity_is_refused(
    require_peer: Find, endpoint: str, server: str
) -> None:
    serve = ("serve", "-socket", endpoint, "-spiffe-id", TWO, "-expect", TWO)
    async with running(require_peer(server), *serve) as serving:
        address = (await serving.event("listening"))["address"]
        call = ("get", "-socket", endpoint, "-url", f"https://{address}/", "-expect", TWO)
        code, lines = await run(require_peer("workload"), *call)
        assert code == 1, lines
