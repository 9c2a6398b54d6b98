"""Workloads of other SPIFFE libraries see every change on the stream they hold."""

from __future__ import annotations

import asyncio

import pytest

from tests.integration.daemons import TRUST_DOMAIN, Stack
from tests.integration.peers.authorities import append_to_own_bundle, authority_of
from tests.integration.peers.conftest import ONE, TWO
from tests.integration.peers.followers import LANGUAGES, Find, following, serial_of

pytestmark = pytest.mark.peer(*LANGUAGES)

BRIEF = f"spiffe://{TRUST_DOMAIN}/brief"


async def test_new_rotated_and_withdrawn_identities_are_seen(
    require_peer: Find, spiffe_stack: Stack, endpoint: str
) -> None:
    async with following(require_peer, endpoint) as followers:
        await followers.until_ids(ONE, TWO)
        words = ("-entryID", "3-brief", "-x509SVIDTTL", "20")
        entry = await asyncio.to_thread(spiffe_stack.create_entry, "brief", *words)
        try:
            first = await followers.until_ids(ONE, TWO, BRIEF)
            serials = {serial_of(line, BRIEF) for line in first.values()}
            rotated = await followers.until(
                lambda line: serial_of(line, BRIEF) not in {"", *serials}
            )
            for name, line in rotated.items():
                # The others are as they were.
                assert serial_of(line, ONE) == serial_of(first[name], ONE)
        finally:
            await asyncio.to_thread(spiffe_stack.server, "entry", "delete", "-entryID", entry)
        await followers.until_ids(ONE, TWO)


async def test_a_growing_bundle_is_seen(
    require_peer: Find, spiffe_stack: Stack, endpoint: str
) -> None:
    grown = authority_of(TRUST_DOMAIN)
    async with following(require_peer, endpoint) as followers:
        lines = await followers.until_ids(ONE, TWO)
        before = lines["workload"]["bundles"][TRUST_DOMAIN]
        await append_to_own_bundle(spiffe_stack.server_socket, grown.bundle)
        await followers.until(lambda line: line["bundles"] == {TRUST_DOMAIN: before + 1})


async def test_a_growing_bundle_is_seen_by_those_who_check_tokens(
    require_peer: Find, spiffe_stack: Stack, endpoint: str
) -> None:
    grown = authority_of(TRUST_DOMAIN)
    async with following(require_peer, endpoint) as followers:
        lines = await followers.until(lambda line: True, event="jwt_bundles")
        assert all(grown.key_id not in line["keys"][TRUST_DOMAIN] for line in lines.values())
        await append_to_own_bundle(spiffe_stack.server_socket, grown.bundle)
        await followers.until(
            lambda line: grown.key_id in line["keys"][TRUST_DOMAIN], event="jwt_bundles"
        )


async def test_who_has_no_identity_yet_waits_for_one(require_peer: Find, our_stack: Stack) -> None:
    await asyncio.to_thread(our_stack.start_server)
    await asyncio.to_thread(our_stack.start_agent)
    async with following(require_peer, f"unix://{our_stack.agent_socket}") as followers:
        go = followers.watching["workload"]
        refusal = await go.event("watch_error")
        assert (refusal["code"], refusal["message"]) == ("PermissionDenied", "no identity issued")
        entry = await asyncio.to_thread(our_stack.create_entry, "one")
        await followers.until_ids(ONE)
        await asyncio.to_thread(our_stack.server, "entry", "delete", "-entryID", entry)
        refusal = await go.event("watch_error")
        assert (refusal["code"], refusal["message"]) == ("PermissionDenied", "no identity issued")
        withdrawn = await followers.watching["rust-workload"].event("watch_error")
        assert withdrawn["message"] == "material withdrawn: no identity issued"
        await asyncio.to_thread(our_stack.create_entry, "two")
        await followers.until_ids(TWO)
