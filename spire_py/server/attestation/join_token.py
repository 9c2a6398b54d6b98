"""Node attestation by join token, which lies in the datastore (feature I1)."""

from __future__ import annotations

from typing import Protocol

from spire_py.errors import Internal, InvalidArgument, SpireError
from spire_py.model.join_token import ATTESTATION_TYPE, MAX_TOKEN_BYTES, JoinToken
from spire_py.plugin_api.node_attestor import Challenge, NodeAttestation, ServerNodeAttestor
from spire_py.runtime.clock import Clock
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import agent_id


class JoinTokens(Protocol):
    """What the attestor needs of the datastore."""

    async def take_join_token(self, value: str) -> JoinToken | None:
        """Remove the token and return it; of two who take it at once, one gets None."""
        ...


class JoinTokenAttestor(ServerNodeAttestor):
    """Attests an agent that presents a join token.

    A token is gone at its first use, even when it turns out to be too old. An agent that attested
    with one cannot attest again.
    """

    def __init__(self, *, tokens: JoinTokens, trust_domain: TrustDomain, clock: Clock) -> None:
        self._tokens = tokens
        self._trust_domain = trust_domain
        self._clock = clock

    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:  # noqa: ARG002 - as all of its kind
        token = await self._take(payload)
        if token is None:
            raise InvalidArgument(
                "failed to attest: join token does not exist or has already been used"
            )
        if token.expires_at < self._clock.now():
            raise InvalidArgument("join token expired")
        return NodeAttestation(self._agent_id(token.value))

    def _agent_id(self, value: str) -> SpiffeID:
        try:
            if "/" in value:
                raise InvalidSpiffeID("a token is one segment of the path")
            return agent_id(self._trust_domain, f"/{ATTESTATION_TYPE}/{value}")
        except InvalidSpiffeID:
            # Its text would hold the token.
            raise Internal(
                "failed to create join token ID: the token has characters that no ID may have"
            ) from None

    async def _take(self, payload: bytes) -> JoinToken | None:
        if len(payload) > MAX_TOKEN_BYTES:
            return None
        try:
            value = payload.decode()
        except UnicodeDecodeError:
            return None
        try:
            return await self._tokens.take_join_token(value)
        except SpireError as error:
            raise Internal(f"failed to fetch join token: {error.message}") from error
