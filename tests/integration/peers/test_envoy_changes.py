"""Envoys follow what changes: identities, authorities, and an identity that comes late."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.daemons import Stack
from tests.integration.peers.conftest import ONE, TWO
from tests.integration.peers.proxies import Answer, Proxy, ask, heard, proxy, started
from tests.peers import envoy
from tests.peers.process import running

pytestmark = pytest.mark.peer("envoy")

Find = Callable[[str], Path]

MOST_REQUESTS = 1800
PAUSE = "0.04s"
BRIEF = ("-x509SVIDTTL", "20")
"""Half of a life is five seconds then: certificates begin ten seconds early."""


@dataclass
class Seen:
    """What a steady flow of requests met; each came over a TLS connection of its own."""

    statuses: Counter[int] = field(default_factory=Counter)
    ends: set[tuple[str, str]] = field(default_factory=set)
    callers: set[str] = field(default_factory=set)
    issuers: set[str] = field(default_factory=set)
    servers: set[str] = field(default_factory=set)

    def note(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        self.ends.add((answer.caller, answer.server))
        self.callers.add(answer.caller_serial)
        self.issuers.add(answer.caller_issuer)


@dataclass(frozen=True)
class Pair:
    """A proxy that takes requests, and the one that it forwards them to."""

    entrance: Proxy
    serving: Proxy

    async def flow(self, *, identities: int, authorities: int) -> Seen:
        """Send request after request until both ends have shown so many identities."""
        seen = Seen()
        for number in range(MOST_REQUESTS):
            seen.note(await ask(self.entrance))
            assert set(seen.statuses) == {200}, seen
            if number % 20 == 0:
                seen.servers |= await asyncio.to_thread(self.serving.admin.serials)
            enough = min(len(seen.callers), len(seen.servers)) >= identities
            if enough and len(seen.issuers) >= authorities:
                return seen
        raise AssertionError(f"too few changes: {seen}")


async def pair_of(
    opened: AsyncExitStack, program: Path, socket: Path, folder: Path, *, spiffe_validator: bool
) -> Pair:
    metadata = {"disable_spiffe_cert_validation": not spiffe_validator}
    inner = envoy.common_tls(identity=TWO, authority="ROOTCA", peer=ONE)
    config = envoy.server(agent_socket=socket, tls=inner, metadata=metadata)
    serving = await opened.enter_async_context(proxy(program, config, folder / "server"))
    outer = envoy.common_tls(identity="default", authority="ROOTCA", peer=TWO)
    upstream = ("127.0.0.1", serving.port)
    config = envoy.client(
        agent_socket=socket, tls=outer, upstream=upstream, metadata=metadata, pause=PAUSE
    )
    entrance = await opened.enter_async_context(proxy(program, config, folder / "client"))
    return Pair(entrance, serving)


async def rotate(
    program: Path, stack: Stack, folder: Path, *, identities: int, authorities: int
) -> None:
    """Two pairs, one for each way to trust; the flow of requests through both loses none."""
    # The configuration switches the SPIFFE validator off; one pair's nodes ask for it all the same.
    stack.agent_keys += "\nsds { disable_spiffe_cert_validation = true }"
    await asyncio.to_thread(stack.start_server)
    await asyncio.to_thread(stack.start_agent)
    await asyncio.to_thread(stack.create_entry, "one", "-entryID", "1-one", *BRIEF)
    await asyncio.to_thread(stack.create_entry, "two", "-entryID", "2-two", *BRIEF)
    await asyncio.to_thread(stack.wait_for_svids, 2)
    socket = stack.agent_socket
    async with AsyncExitStack() as opened:
        pairs = [
            await pair_of(opened, program, socket, folder / name, spiffe_validator=validator)
            for name, validator in (("validator", True), ("plain", False))
        ]
        contexts = [await asyncio.to_thread(pair.entrance.admin.validation) for pair in pairs]
        assert "custom_validator_config" in contexts[0]
        assert "trusted_ca" in contexts[1]
        flows = [pair.flow(identities=identities, authorities=authorities) for pair in pairs]
        for seen in await asyncio.gather(*flows):
            assert seen.ends == {(ONE, TWO)}


async def test_no_request_is_lost_while_identities_rotate(
    require_peer: Find, fresh_stack: Stack, tmp_path: Path
) -> None:
    await rotate(require_peer("envoy"), fresh_stack, tmp_path, identities=2, authorities=1)


async def test_no_request_is_lost_while_authorities_rotate(
    require_peer: Find, our_stack: Stack, tmp_path: Path
) -> None:
    # The next authority is prepared after 30 s and takes over after 50 s.
    our_stack.server_keys += '\nca_ttl = "60s"'
    await rotate(require_peer("envoy"), our_stack, tmp_path, identities=3, authorities=2)


async def test_a_node_without_metadata_gets_what_the_configuration_says(
    require_peer: Find, our_stack: Stack, tmp_path: Path
) -> None:
    our_stack.agent_keys += "\nsds { disable_spiffe_cert_validation = true }"
    await asyncio.to_thread(our_stack.start_server)
    await asyncio.to_thread(our_stack.start_agent)
    await asyncio.to_thread(our_stack.create_entry, "one")
    tls = envoy.common_tls(identity="default", authority="ROOTCA", peer=ONE, patience="0s")
    config = envoy.server(agent_socket=our_stack.agent_socket, tls=tls)
    async with proxy(require_peer("envoy"), config, tmp_path / "server") as serving:
        assert "trusted_ca" in await asyncio.to_thread(serving.admin.validation)


async def test_a_refused_name_leaves_the_others_alone_and_an_identity_may_come_late(
    require_peer: Find, our_stack: Stack, tmp_path: Path
) -> None:
    await asyncio.to_thread(our_stack.start_server)
    await asyncio.to_thread(our_stack.start_agent)
    socket = our_stack.agent_socket
    program = require_peer("envoy")
    tls = envoy.common_tls(identity="default", authority="ROOTCA", peer=ONE, patience="0s")
    config = envoy.server(agent_socket=socket, tls=tls)
    # As Istio's gateways ask for where they are told to use files: never for the agent.
    stray = "file-cert:/etc/certs/cert-chain.pem~/etc/certs/key.pem"
    never = envoy.common_tls(identity=stray, authority="ROOTCA", peer=None, patience="1s")
    envoy.add_listener(config, tls=never)
    refusal = "workload is not authorized for the requested identities"
    folder = tmp_path / "server"
    async with running(program, *envoy.arguments(config, folder)) as process:
        await heard(process, f'{refusal} ["{stray}"]')
        await heard(process, f'{refusal} ["default"]')
        await heard(process, "accepted with 1 resources")
        admin = envoy.Admin(folder)
        assert await asyncio.to_thread(admin.secrets) == {"ROOTCA"}

        entry = await asyncio.to_thread(our_stack.create_entry, "one")
        serving = await started(process, admin)
        assert await asyncio.to_thread(admin.secrets) == {"ROOTCA", "default"}
        upstream = ("127.0.0.1", serving.port)
        config = envoy.client(agent_socket=socket, tls=tls, upstream=upstream, pause=PAUSE)
        async with proxy(program, config, tmp_path / "client") as entrance:
            answer = await ask(entrance)
            assert (answer.status, answer.caller, answer.server) == (200, ONE, ONE)

            # A withdrawn identity ends its stream; what the proxy has it keeps.
            process.noise.clear()
            await asyncio.to_thread(our_stack.server, "entry", "delete", "-entryID", entry)
            await heard(process, f'{refusal} ["default"]')
            assert (await ask(entrance)).status == 200
