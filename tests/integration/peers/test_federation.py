"""The bundle of another trust domain reaches those whose entry federates with it."""

from __future__ import annotations

import asyncio
import http.client
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.integration.daemons import Stack
from tests.integration.peers.authorities import (
    authority_of,
    delete_federated_bundle,
    set_federated_bundle,
    write_identity,
)
from tests.integration.peers.conftest import ONE, TWO
from tests.integration.peers.followers import LANGUAGES, Find, following
from tests.integration.peers.proxies import ask, proxy
from tests.peers import envoy
from tests.peers.process import Line, running
from tests.unit.agent.builders import Authority

OTHER = "other.test"
CALLER = f"spiffe://{OTHER}/caller"


@pytest_asyncio.fixture
async def other(spiffe_stack: Stack) -> AsyncIterator[Authority]:
    """A foreign trust domain; `three`, one more identity of each process, federates with it."""
    authority = authority_of(OTHER)
    await set_federated_bundle(spiffe_stack.server_socket, authority.bundle)
    words = ("-entryID", "3-three", "-federatesWith", f"spiffe://{OTHER}")
    entry = await asyncio.to_thread(spiffe_stack.create_entry, "three", *words)
    try:
        await asyncio.to_thread(spiffe_stack.wait_for_svids, 3)
        yield authority
    finally:
        await asyncio.to_thread(spiffe_stack.server, "entry", "delete", "-entryID", entry)
        await delete_federated_bundle(spiffe_stack.server_socket, OTHER)
        await asyncio.to_thread(spiffe_stack.wait_for_svids, 2)


@pytest.mark.peer(*LANGUAGES)
class TestWorkloads:
    async def test_the_foreign_bundle_and_its_growth_are_seen(
        self, require_peer: Find, spiffe_stack: Stack, endpoint: str, other: Authority
    ) -> None:
        def foreign(line: Line) -> int:
            count: int = line["bundles"].get(OTHER, 0)
            return count

        async with following(require_peer, endpoint) as followers:
            await followers.until(lambda line: foreign(line) == 1)
            second = authority_of(OTHER).bundle
            grown = replace(
                other.bundle,
                x509_authorities=other.bundle.x509_authorities + second.x509_authorities,
            )
            await set_federated_bundle(spiffe_stack.server_socket, grown)
            await followers.until(lambda line: foreign(line) == 2)

    async def test_the_foreign_keys_of_tokens_are_seen(
        self, require_peer: Find, endpoint: str, other: Authority
    ) -> None:
        async with following(require_peer, endpoint) as followers:
            await followers.until(
                lambda line: line["keys"].get(OTHER) == [other.key_id], event="jwt_bundles"
            )


@pytest.mark.parametrize(
    "server",
    [
        pytest.param("workload", marks=pytest.mark.peer("workload"), id="go-spiffe"),
        pytest.param("rust-workload", marks=pytest.mark.peer("rust-workload"), id="rust spiffe"),
    ],
)
async def test_a_foreign_caller_is_let_in_by_its_own_authority_only(
    require_peer: Find, endpoint: str, other: Authority, tmp_path: Path, server: str
) -> None:
    serve = ("serve", "-socket", endpoint, "-spiffe-id", TWO, "-expect", CALLER)
    async with running(require_peer(server), *serve) as serving:
        address = (await serving.event("listening"))["address"]
        stranger = write_identity(authority_of(OTHER), CALLER, tmp_path / "stranger")
        with pytest.raises((OSError, http.client.HTTPException)):
            await asyncio.to_thread(get, address, *stranger)
        friend = write_identity(other, CALLER, tmp_path / "friend")
        assert await asyncio.to_thread(get, address, *friend) == (200, CALLER)


def get(address: str, chain: Path, key: Path) -> tuple[int, str]:
    """One request by TLS, whoever serves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(chain, key)
    connection = http.client.HTTPSConnection(address, context=context, timeout=15)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.peer("envoy")
@pytest.mark.parametrize(
    ("authority", "status"),
    [
        pytest.param("ALL", 200, id="ALL"),
        pytest.param("ROOTCA", 503, id="ROOTCA knows the own trust domain only"),
    ],
)
async def test_envoy_trusts_foreign_callers_by_all_bundles(
    require_peer: Find,
    spiffe_stack: Stack,
    other: Authority,
    tmp_path: Path,
    authority: str,
    status: int,
) -> None:
    program, socket = require_peer("envoy"), spiffe_stack.agent_socket
    own = tmp_path / "own.pem"
    own.write_text(spiffe_stack.server("bundle", "show"))
    chain, key = write_identity(other, CALLER, tmp_path / "caller")
    inner = envoy.common_tls(identity=ONE, authority=authority, peer=None)
    config = envoy.server(agent_socket=socket, tls=inner)
    async with proxy(program, config, tmp_path / "server") as serving:
        outer = envoy.files_tls(chain=chain, key=key, authority=own)
        upstream = ("127.0.0.1", serving.port)
        config = envoy.client(agent_socket=socket, tls=outer, upstream=upstream)
        async with proxy(program, config, tmp_path / "client") as entrance:
            answer = await ask(entrance)
            assert answer.status == status
            assert (answer.caller, answer.server) == ((CALLER, ONE) if status == 200 else ("", ""))
