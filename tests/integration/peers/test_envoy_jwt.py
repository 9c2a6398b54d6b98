"""A JWT-SVID goes as a bearer token through Envoy's JWT filter, which has the agent's JWKS."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.integration.daemons import OURS, TRUST_DOMAIN, run
from tests.integration.peers.conftest import ONE
from tests.peers import envoy
from tests.peers.envoy_jwt import gate
from tests.peers.process import running

pytestmark = pytest.mark.peer("envoy")


def token_and_jwks(agent_socket: Path, audience: str) -> tuple[str, str]:
    words = ("api", "fetch", "jwt", "-audience", audience, "-spiffeID", ONE, "-output", "json")
    result = run(*OURS, *words, "-socketPath", str(agent_socket))
    assert result.returncode == 0, result.stderr
    svids, bundles = json.loads(result.stdout)
    jwks = base64.b64decode(bundles["bundles"][f"spiffe://{TRUST_DOMAIN}"]).decode()
    return svids["svids"][0]["svid"], jwks


def ask(port: int, headers: dict[str, str]) -> int:
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}/", headers=headers), timeout=15) as answer:
            return int(answer.status)
    except HTTPError as refusal:
        with refusal:
            return refusal.code


@pytest.mark.spec(48)
async def test_a_token_is_sent_as_a_bearer(
    require_peer: Callable[[str], Path], agent_socket: Path, tmp_path: Path
) -> None:
    token, jwks = await asyncio.to_thread(token_and_jwks, agent_socket, "gate")
    foreign, _ = await asyncio.to_thread(token_and_jwks, agent_socket, "elsewhere")
    config = gate(jwks=jwks, audience="gate")
    folder = tmp_path / "gate"
    async with running(require_peer("envoy"), *envoy.arguments(config, folder)) as process:
        await process.said("starting workers")
        port = await asyncio.to_thread(envoy.Admin(folder).port)
        assert port is not None
        answers = [
            await asyncio.to_thread(ask, port, headers)
            for headers in (
                {"Authorization": f"Bearer {token}"},
                {},
                {"Authorization": token},
                {"Authorization": f"Bearer {foreign}"},
            )
        ]
    assert answers == [200, 401, 401, 403]
