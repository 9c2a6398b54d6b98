"""Attestation: an agent proves which node it runs on and gets an SVID (feature G1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from spire_py._proto.spire.api.server import agent_pb2
from spire_py.crypto.csr import parse_csr
from spire_py.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    SpireError,
    StatusCode,
)
from spire_py.model.agent import Agent
from spire_py.model.selector import Selector
from spire_py.plugin_api.node_attestor import NodeAttestation, ServerNodeAttestor
from spire_py.runtime.clock import Clock
from spire_py.server.api.svids import x509_svid_to_pb
from spire_py.server.attestation.dialogue import MAX_PAYLOAD_BYTES, Dialogue
from spire_py.server.ca.ca import SignedX509SVID
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import SERVER_PATH, is_agent_path
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.status import prefixed, prefixing

_TIMEOUT_SECONDS = 120.0
_FIRST_REQUEST_SECONDS = 30.0

log = get_logger("api")

Requests = AsyncIterator[agent_pb2.AttestAgentRequest]


class AgentStore(Protocol):
    """What attestation needs of the datastore."""

    async def get_agent(self, agent_id: SpiffeID) -> Agent | None: ...
    async def store_attested_agent(self, agent: Agent, now: datetime) -> Agent: ...


class AgentMemory(Protocol):
    """What attestation needs of the cache."""

    def agent(self, agent_id: SpiffeID) -> Agent | None: ...
    def put_attested_agent(self, agent: Agent) -> None: ...


class AgentSigner(Protocol):
    """What attestation needs of the CA."""

    async def sign_agent_svid(
        self, public_key_der: bytes, agent_id: SpiffeID
    ) -> SignedX509SVID: ...


class Attestation:
    """Attests agents.

    Args:
        trust_domain: our own.
        attestors: the configured ones and `join_token`, by attestation type.
        store: where attested agents are kept.
        memory: told of them at once, so that an agent's first sync is complete.
        signer: signs their SVIDs.
        clock: the present.
        agent_id_as_selector: give each agent the selector `spiffe_id:<its ID>` (feature B4).
    """

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        attestors: Mapping[str, ServerNodeAttestor],
        store: AgentStore,
        memory: AgentMemory,
        signer: AgentSigner,
        clock: Clock,
        agent_id_as_selector: bool = False,
    ) -> None:
        self._trust_domain = trust_domain
        self._attestors = attestors
        self._store = store
        self._memory = memory
        self._signer = signer
        self._clock = clock
        self._agent_id_as_selector = agent_id_as_selector

    async def attest(
        self, requests: Requests, context: CallContext
    ) -> AsyncGenerator[agent_pb2.AttestAgentResponse, None]:
        """Answer the stream of one attestation: any number of challenges, then the result.

        Raises:
            SpireError: the agent is refused; codes and words are SPIRE's.
        """
        params = _checked_params(await _first_request(requests))
        kind = params.data.type
        attestor = self._attestors.get(kind)
        if attestor is None:
            raise FailedPrecondition(
                "error getting node attestor: could not find node attestor type "
                f'"{_printable(kind)}"'
            )
        dialogue = Dialogue(
            attestor=attestor,
            receive=lambda: _challenge_response(requests),
            timeout_seconds=_TIMEOUT_SECONDS,
            client_ip=context.peer.host,
        )
        async with aclosing(dialogue.steps(params.data.payload)) as steps:
            async for step in steps:
                if isinstance(step, NodeAttestation):
                    found = step
                    break
                yield agent_pb2.AttestAgentResponse(challenge=step)
        agent, svid = await self._admit(kind, found, params.params.csr)
        log.info(
            "Agent attestation request completed",
            address=context.peer.address,
            agent_id=str(agent.id),
            caller_addr=context.peer.address,
            method="AttestAgent",
            node_attestor_type=kind,
            service="agent.v1.Agent",
        )
        yield agent_pb2.AttestAgentResponse(
            result=agent_pb2.AttestAgentResponse.Result(
                svid=x509_svid_to_pb(svid), reattestable=agent.can_reattest
            )
        )

    async def _admit(
        self, kind: str, found: NodeAttestation, csr: bytes
    ) -> tuple[Agent, SignedX509SVID]:
        self._check_agent_id(kind, found.agent_id)
        known = self._memory.agent(found.agent_id)
        if known is not None and not known.serial_number:
            await self._check_still_banned(found.agent_id)
        svid = await sign_agent_csr(self._signer, found.agent_id, csr)
        agent = Agent(
            id=found.agent_id,
            attestation_type=kind,
            serial_number=str(svid.serial_number),
            expires_at=svid.expires_at,
            can_reattest=found.can_reattest,
            selectors=self._selectors(found),
        )
        return await self._stored(agent), svid

    async def _check_still_banned(self, agent_id: SpiffeID) -> None:
        """Refuse an agent that memory knows as banned, before anything is signed for it.

        Storing it looks again. A ban is lifted by deleting the agent, maybe at another server.
        """
        with prefixing("failed to fetch agent", StatusCode.INTERNAL):
            known = await self._store.get_agent(agent_id)
        if known is not None and not known.serial_number:
            raise PermissionDenied("failed to attest: agent is banned")

    async def _stored(self, agent: Agent) -> Agent:
        try:
            stored = await self._store.store_attested_agent(agent, self._clock.now())
        except PermissionDenied:
            raise
        except SpireError as error:
            raise prefixed("failed to create attested agent", error, StatusCode.INTERNAL) from error
        self._memory.put_attested_agent(stored)
        return replace(stored, selectors=agent.selectors)

    def _selectors(self, found: NodeAttestation) -> tuple[Selector, ...]:
        selectors = set(found.selectors)
        if self._agent_id_as_selector:
            selectors.add(Selector("spiffe_id", str(found.agent_id)))
        return tuple(sorted(selectors))

    def _check_agent_id(self, kind: str, agent_id: SpiffeID) -> None:
        if agent_id.path == SERVER_PATH:
            raise Internal("agent ID cannot collide with the server ID")
        ours = agent_id.is_member_of(self._trust_domain)
        if not ours or not is_agent_path(agent_id.path):
            # Stricter than SPIRE, which only warns: nothing else could ever use such an agent.
            raise Internal(f'"{agent_id}" is not in the agent namespace for attestor "{kind}"')
        if not is_agent_path(agent_id.path, kind):
            log.warning(
                "The node attestor produced an invalid agent ID; future releases will enforce "
                "that agent IDs are within the reserved agent namesepace for the node attestor",
                agent_id=str(agent_id),
                node_attestor_type=kind,
            )


async def sign_agent_csr(signer: AgentSigner, agent_id: SpiffeID, csr: bytes) -> SignedX509SVID:
    """Sign an agent's SVID for the key of a CSR, of which nothing else counts.

    Raises:
        InvalidArgument: the CSR is malformed, or its sender does not have the key.
        Internal: signing failed.
    """
    try:
        request = parse_csr(csr)
    except InvalidArgument as error:
        reason = getattr(error, "reason", error.message)
        raise InvalidArgument(f"failed to parse CSR: {reason}") from error
    with prefixing("failed to sign X509 SVID", StatusCode.INTERNAL):
        return await signer.sign_agent_svid(request.public_key_der, agent_id)


async def _first_request(requests: Requests) -> agent_pb2.AttestAgentRequest:
    try:
        async with asyncio.timeout(_FIRST_REQUEST_SECONDS):
            request = await anext(requests, None)
    except TimeoutError as error:
        raise DeadlineExceeded("failed to receive request from stream: none came") from error
    if request is None:
        raise InvalidArgument("failed to receive request from stream: EOF")
    return request


async def _challenge_response(requests: Requests) -> bytes:
    request = await anext(requests, None)
    if request is None:
        raise Internal("failed to receive challenge from agent: EOF")
    return request.challenge_response


def _checked_params(
    request: agent_pb2.AttestAgentRequest,
) -> agent_pb2.AttestAgentRequest.Params:
    params = request.params
    fault = ""
    if not request.HasField("params"):
        fault = "missing params"
    elif not params.HasField("data"):
        fault = "missing attestation data"
    elif not params.HasField("params"):
        fault = "missing X509-SVID parameters"
    elif not params.params.csr:
        fault = "missing CSR"
    elif not params.data.type:
        fault = "missing attestation data type"
    elif not params.data.payload:
        fault = "missing attestation data payload"
    elif len(params.data.payload) > MAX_PAYLOAD_BYTES:
        fault = "attestation data payload is too large"
    if fault:
        raise InvalidArgument(f"malformed param: {fault}")
    return params


def _printable(kind: str) -> str:
    return kind[:64].encode("unicode_escape").decode("ascii").replace('"', '\\"')
