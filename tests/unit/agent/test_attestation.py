from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2
from spire_py.agent.attestation import attest_over, own_bundle_from_pb
from spire_py.agent.bootstrap import JoinTokenAttestor
from spire_py.errors import (
    Internal,
    InvalidArgument,
    PermissionDenied,
)
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.spiffe.bundle import Bundle
from spire_py.transport import CallContext, Service
from spire_py.wire.bundles import bundle_to_pb
from tests.unit.agent.builders import EXAMPLE, OTHER, Authority
from tests.unit.agent.sockets import channel_to

Request = agent_pb2.AttestAgentRequest
Response = agent_pb2.AttestAgentResponse
Talk = Callable[[AsyncIterator[Request]], AsyncIterator[Response]]

RESULT = Response(
    result=Response.Result(svid=types_pb2.X509SVID(cert_chain=[b"leaf", b"ca"]), reattestable=True)
)


class Countdown(AgentNodeAttestor):
    """Says what it is and answers each challenge with the challenge and a mark."""

    @property
    def type(self) -> str:
        return "countdown"

    async def payload(self) -> bytes:
        return b"payload"

    async def respond(self, challenge: bytes) -> bytes:
        return challenge + b"!"


class FakeAgents:
    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    async def attest_agent(
        self, requests: AsyncIterator[Request], _context: CallContext
    ) -> AsyncIterator[Response]:
        async for response in self._talk(requests):
            yield response


def service(talk: Talk) -> Service:
    return Service(agent_pb2.DESCRIPTOR.services_by_name["Agent"], FakeAgents(talk))


async def test_each_challenge_is_answered() -> None:
    heard: list[Request] = []

    async def talk(requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        heard.append(await anext(requests))
        for challenge in (b"three", b"two", b"one"):
            yield Response(challenge=challenge)
            heard.append(await anext(requests))
        yield RESULT

    async with channel_to(service(talk)) as channel:
        issued = await attest_over(channel, Countdown(), b"csr")
    assert issued.chain == (b"leaf", b"ca")
    assert issued.reattestable
    assert heard[0].params.data.type == "countdown"
    assert heard[0].params.data.payload == b"payload"
    assert heard[0].params.params.csr == b"csr"
    assert [item.challenge_response for item in heard[1:]] == [b"three!", b"two!", b"one!"]


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        pytest.param([], "ended without a result", id="nothing"),
        pytest.param([Response(result=Response.Result())], "missing SVID", id="no SVID"),
        pytest.param(
            [Response(result=Response.Result(svid=types_pb2.X509SVID()))],
            "empty SVID cert chain",
            id="no certificates",
        ),
        pytest.param([Response(challenge=b"x")] * 40, "too many challenges", id="no end"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_refused(
    answers: list[Response], complaint: str
) -> None:
    async def talk(_requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        for answer in answers:
            yield answer

    async with channel_to(service(talk)) as channel:
        with pytest.raises(Internal, match=complaint):
            await attest_over(channel, Countdown(), b"csr")


async def test_a_refusal_is_told_as_it_is() -> None:
    async def talk(_requests: AsyncIterator[Request]) -> AsyncIterator[Response]:
        raise PermissionDenied("failed to attest: agent is banned")
        yield

    async with channel_to(service(talk)) as channel:
        with pytest.raises(PermissionDenied, match="agent is banned"):
            await attest_over(channel, Countdown(), b"csr")


async def test_a_join_token_knows_no_challenge() -> None:
    attestor = JoinTokenAttestor("secret-token")
    assert (attestor.type, await attestor.payload()) == ("join_token", b"secret-token")
    with pytest.raises(InvalidArgument) as refusal:
        await attestor.respond(b"challenge")
    assert "secret-token" not in f"{refusal.value} {attestor!r}"


def test_the_own_bundle_is_what_it_should_be() -> None:
    authority = Authority()
    assert own_bundle_from_pb(bundle_to_pb(authority.bundle), EXAMPLE) == authority.bundle


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param(Authority(OTHER).bundle, id="another trust domain's"),
        pytest.param(Bundle(EXAMPLE), id="without authorities"),
    ],
)
def test_a_bundle_that_would_cut_us_off_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InvalidArgument):
        own_bundle_from_pb(bundle_to_pb(bundle), EXAMPLE)
