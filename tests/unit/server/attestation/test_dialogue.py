"""An attestor's challenges as steps of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from spire_py.errors import DeadlineExceeded, Internal, InvalidArgument, PermissionDenied
from spire_py.plugin_api.node_attestor import Challenge, NodeAttestation, ServerNodeAttestor
from spire_py.server.attestation.dialogue import MAX_PAYLOAD_BYTES, Dialogue
from tests.fakes.agents import agent_id

FOUND = NodeAttestation(agent_id("node"))


class Scripted(ServerNodeAttestor):
    """Does what a test wants, and remembers whether it was cancelled."""

    def __init__(self, script: Callable[[bytes, Challenge], Awaitable[NodeAttestation]]) -> None:
        self._script = script
        self.cancelled = False

    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:
        try:
            return await self._script(payload, challenge)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def dialogue(
    script: Callable[[bytes, Challenge], Awaitable[NodeAttestation]],
    *responses: bytes,
    timeout_seconds: float = 20,
) -> tuple[Dialogue, Scripted]:
    waiting = list(responses)

    async def receive() -> bytes:
        return waiting.pop(0)

    attestor = Scripted(script)
    return (
        Dialogue(attestor=attestor, receive=receive, timeout_seconds=timeout_seconds),
        attestor,
    )


async def test_challenges_come_before_the_result() -> None:
    async def script(payload: bytes, challenge: Challenge) -> NodeAttestation:
        assert payload == b"payload"
        assert await challenge(b"one") == b"1"
        assert await challenge(b"two") == b"2"
        return FOUND

    talk, _ = dialogue(script, b"1", b"2")
    assert [step async for step in talk.steps(b"payload")] == [b"one", b"two", FOUND]


async def test_a_refusal_is_the_attestors_own() -> None:
    async def script(payload: bytes, challenge: Challenge) -> NodeAttestation:
        raise PermissionDenied("no")

    talk, _ = dialogue(script)
    with pytest.raises(PermissionDenied, match=r"^no$"):
        await anext(talk.steps(b""))


async def test_a_bug_in_an_attestor_is_not_taken_for_a_refusal() -> None:
    async def script(payload: bytes, challenge: Challenge) -> NodeAttestation:
        raise ZeroDivisionError

    talk, _ = dialogue(script)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(5):
            await anext(talk.steps(b""))


async def test_one_that_never_ends_is_ended() -> None:
    async def script(payload: bytes, challenge: Challenge) -> NodeAttestation:
        await asyncio.Event().wait()
        return FOUND

    talk, attestor = dialogue(script, timeout_seconds=0.01)
    with pytest.raises(DeadlineExceeded):
        await anext(talk.steps(b""))
    assert attestor.cancelled


async def test_too_many_challenges_and_too_large_a_response_are_refused() -> None:
    async def endless(payload: bytes, challenge: Challenge) -> NodeAttestation:
        while True:
            await challenge(b"again")

    talk, _ = dialogue(endless, *[b"x"] * 100)
    with pytest.raises(Internal, match="too many challenges"):
        async for _ in talk.steps(b""):
            pass
    talk, _ = dialogue(endless, b"x" * (MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(InvalidArgument, match="too large"):
        async for _ in talk.steps(b""):
            pass


async def test_an_abandoned_stream_ends_its_attestor() -> None:
    never = asyncio.Event()

    async def script(payload: bytes, challenge: Challenge) -> NodeAttestation:
        await challenge(b"one")
        await never.wait()
        return FOUND

    talk, attestor = dialogue(script, b"1")
    steps = talk.steps(b"")
    assert await anext(steps) == b"one"
    await asyncio.sleep(0)
    await steps.aclose()
    assert attestor.cancelled
