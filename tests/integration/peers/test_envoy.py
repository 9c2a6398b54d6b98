"""Two Envoys take certificates and authorities from the agent by SDS and talk by mTLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.integration.daemons import TRUST_DOMAIN
from tests.integration.peers.conftest import ONE, TWO
from tests.peers import envoy
from tests.peers.process import running

pytestmark = pytest.mark.peer("envoy")

Find = Callable[[str], Path]


@asynccontextmanager
async def proxy(program: Path, config: envoy.Config, folder: Path) -> AsyncIterator[int]:
    """An Envoy that has all its certificates; gives the port of its listener."""
    async with running(program, *envoy.arguments(config, folder)) as process:
        await process.said("starting workers")
        port = await asyncio.to_thread(envoy.Admin(folder).port)
        assert port is not None
        yield port


def ask(port: int) -> tuple[int, str]:
    """Status, and the caller as the server's proxy saw it."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=15) as answer:
            return answer.status, answer.headers["x-caller"]
    except HTTPError as refusal:
        with refusal:
            return refusal.code, ""


@pytest.mark.parametrize(
    ("authority", "caller", "server", "answer"),
    [
        pytest.param("ROOTCA", ONE, TWO, (200, ONE), id="ROOTCA and an expected ID, as Istio"),
        pytest.param("ROOTCA", None, None, (200, ONE), id="ROOTCA"),
        pytest.param("ALL", ONE, TWO, (200, ONE), id="ALL"),
        pytest.param(f"spiffe://{TRUST_DOMAIN}", None, TWO, (200, ONE), id="trust domain"),
        pytest.param("ROOTCA", ONE, ONE, (503, ""), id="the server is someone else"),
        pytest.param("ROOTCA", TWO, TWO, (503, ""), id="the caller is someone else"),
    ],
)
async def test_envoys_talk_by_mtls_with_secrets_of_the_agent(
    require_peer: Find,
    agent_socket: Path,
    tmp_path: Path,
    authority: str,
    caller: str | None,
    server: str | None,
    answer: tuple[int, str],
) -> None:
    program = require_peer("envoy")
    inner = envoy.common_tls(identity=TWO, authority=authority, peer=caller)
    config = envoy.server(agent_socket=agent_socket, tls=inner)
    async with proxy(program, config, tmp_path / "server") as port:
        outer = envoy.common_tls(identity="default", authority=authority, peer=server)
        config = envoy.client(agent_socket=agent_socket, tls=outer, upstream=("127.0.0.1", port))
        async with proxy(program, config, tmp_path / "client") as entrance:
            assert await asyncio.to_thread(ask, entrance) == answer
