"""Node attestation: how an agent without an SVID gets one (features C6, C9)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2
from spire_py.agent.agent_svid import AgentSVID, IssuedSVID, next_key
from spire_py.crypto.csr import make_csr
from spire_py.errors import Internal, InvalidArgument
from spire_py.plugin_api.key_manager import KeyManager, ManagedKey
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Channel
from spire_py.wire.bundles import known_bundle_from_pb

log = get_logger("attestor")

MAX_CHALLENGES = 32
_CALL_TIMEOUT_SECONDS = 30.0
_ATTEST_TIMEOUT_SECONDS = 60.0

_ATTEST = "/spire.api.server.agent.v1.Agent/AttestAgent"
_GET_BUNDLE = "/spire.api.server.bundle.v1.Bundle/GetBundle"


async def attest_over(channel: Channel, attestor: AgentNodeAttestor, csr: bytes) -> IssuedSVID:
    """One attestation: the payload, then a response to each challenge.

    Raises:
        SpireError: the server refused, could not be reached, or sent what makes no sense.
    """
    params = agent_pb2.AttestAgentRequest.Params(
        data=types_pb2.AttestationData(type=attestor.type, payload=await attestor.payload()),
        params=agent_pb2.AgentX509SVIDParams(csr=csr),
    )
    async with channel.bidi(
        _ATTEST, agent_pb2.AttestAgentResponse, timeout=_ATTEST_TIMEOUT_SECONDS
    ) as call:
        await call.send(agent_pb2.AttestAgentRequest(params=params))
        challenges = 0
        async for response in call:
            if response.WhichOneof("step") == "result":
                call.done_sending()
                return _issued(response.result)
            challenges += 1
            if challenges > MAX_CHALLENGES:
                raise Internal("server sent too many challenges")
            answer = await attestor.respond(response.challenge)
            await call.send(agent_pb2.AttestAgentRequest(challenge_response=answer))
    raise Internal("failed to receive attestation response: the stream ended without a result")


def _issued(result: agent_pb2.AttestAgentResponse.Result) -> IssuedSVID:
    if not result.HasField("svid"):
        raise Internal("failed to parse attestation response: attest response is missing SVID")
    if not result.svid.cert_chain:
        raise Internal("failed to parse attestation response: empty SVID cert chain")
    return IssuedSVID(tuple(result.svid.cert_chain), result.reattestable)


async def fetch_bundle_over(channel: Channel, trust_domain: TrustDomain) -> Bundle:
    """The server's own bundle, as anyone may have it.

    Raises:
        SpireError: it could not be had, or is another trust domain's or has no X.509 authority.
    """
    message = await channel.unary(
        _GET_BUNDLE,
        bundle_pb2.GetBundleRequest(),
        types_pb2.Bundle,
        timeout=_CALL_TIMEOUT_SECONDS,
    )
    return own_bundle_from_pb(message, trust_domain)


def own_bundle_from_pb(message: types_pb2.Bundle, trust_domain: TrustDomain) -> Bundle:
    """Read and check the bundle that the server is verified by from then on.

    Raises:
        InvalidArgument: it is another trust domain's, malformed, or without any X.509 authority.
    """
    bundle = known_bundle_from_pb(message)
    if bundle.trust_domain != trust_domain:
        raise InvalidArgument(f"server sent the bundle of trust domain {bundle.trust_domain}")
    if not bundle.x509_authorities:
        raise InvalidArgument("server sent a bundle without X.509 authorities")
    return bundle


async def attest_first(
    channel: Channel, attestor: AgentNodeAttestor, keys: KeyManager, current: ManagedKey | None
) -> AgentSVID:
    """The first attestation of a start, with a new key beside the current one.

    Raises:
        SpireError: any step failed.
    """
    key = await next_key(keys, current)
    issued = await attest_over(channel, attestor, make_csr(key.private_key))
    svid = AgentSVID.from_chain(issued.chain, key, reattestable=issued.reattestable)
    log.info(
        "Node attestation was successful",
        spiffe_id=str(svid.id),
        reattestable=svid.reattestable,
    )
    return svid


class Reattestation:
    """Attests this node anew, over a connection of its own that shows no certificate.

    Args:
        open_channel: makes that connection.
    """

    def __init__(self, *, open_channel: Callable[[], Channel], attestor: AgentNodeAttestor) -> None:
        self._open_channel = open_channel
        self._attestor = attestor

    async def attest(self, csr: bytes) -> IssuedSVID:
        """Attest; raises what `attest_over` raises."""
        async with aclosing(self._open_channel()) as channel:
            return await attest_over(channel, self._attestor, csr)
