"""Two Envoys take certificates and authorities from the agent by SDS and talk by mTLS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.daemons import TRUST_DOMAIN
from tests.integration.peers.conftest import ONE, TWO
from tests.integration.peers.proxies import ask, proxy
from tests.peers import envoy

pytestmark = pytest.mark.peer("envoy")

Find = Callable[[str], Path]

PLAIN = {"disable_spiffe_cert_validation": True}
"""What a node says that cannot take Envoy's SPIFFE validator."""


@pytest.mark.parametrize(
    ("authority", "metadata", "caller", "server", "status"),
    [
        pytest.param("ROOTCA", {}, ONE, TWO, 200, id="ROOTCA and an expected ID, as Istio"),
        pytest.param("ROOTCA", {}, None, None, 200, id="ROOTCA"),
        pytest.param("ALL", {}, ONE, TWO, 200, id="ALL"),
        pytest.param(f"spiffe://{TRUST_DOMAIN}", {}, None, TWO, 200, id="trust domain"),
        pytest.param("ROOTCA", {}, ONE, ONE, 503, id="the server is someone else"),
        pytest.param("ROOTCA", {}, TWO, TWO, 503, id="the caller is someone else"),
        pytest.param("ROOTCA", PLAIN, ONE, TWO, 200, id="plain authorities"),
        pytest.param("ROOTCA", PLAIN, ONE, ONE, 503, id="plain, the server is someone else"),
    ],
)
async def test_envoys_talk_by_mtls_with_secrets_of_the_agent(
    require_peer: Find,
    agent_socket: Path,
    tmp_path: Path,
    authority: str,
    metadata: envoy.Config,
    caller: str | None,
    server: str | None,
    status: int,
) -> None:
    program = require_peer("envoy")
    inner = envoy.common_tls(identity=TWO, authority=authority, peer=caller)
    config = envoy.server(agent_socket=agent_socket, tls=inner, metadata=metadata)
    async with proxy(program, config, tmp_path / "server") as serving:
        outer = envoy.common_tls(identity="default", authority=authority, peer=server)
        upstream = ("127.0.0.1", serving.port)
        config = envoy.client(
            agent_socket=agent_socket, tls=outer, upstream=upstream, metadata=metadata
        )
        async with proxy(program, config, tmp_path / "client") as entrance:
            answer = await ask(entrance)
            assert answer.status == status
            assert (answer.caller, answer.server) == ((ONE, TWO) if status == 200 else ("", ""))
            context = await asyncio.to_thread(entrance.admin.validation)
            assert ("trusted_ca" in context) == bool(metadata)
            assert ("custom_validator_config" in context) == (not metadata)
