"""The Agent API: attestation and renewal for agents, their administration for operators."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any, Protocol

from google.protobuf.empty_pb2 import Empty

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2
from spire_py.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    SpireError,
    StatusCode,
)
from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.model.join_token import ATTESTATION_TYPE, MAX_TOKEN_BYTES, JoinToken
from spire_py.model.selector import Selector
from spire_py.runtime.clock import Clock
from spire_py.server.api.filters import agent_filter_from_pb, page_from_pb
from spire_py.server.api.svids import x509_svid_to_pb
from spire_py.server.attestation.attest import AgentSigner, Attestation, sign_agent_csr
from spire_py.server.datastore.filters import AgentFilter, Page
from spire_py.server.policy import calling_agent
from spire_py.server.rate_limits import RateLimits
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import agent_id as make_agent_id
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.agents import agent_to_pb
from spire_py.wire.join_tokens import join_token_to_pb
from spire_py.wire.masks import apply_mask, output_mask
from spire_py.wire.spiffe_ids import agent_id_from_pb, workload_id_from_pb
from spire_py.wire.status import Reason, permission_denied, prefixed, prefixing

_MAX_VERSION_BYTES = 255

log = get_logger("api")


class AgentStore(Protocol):
    """What the Agent API needs of the datastore."""

    async def get_agent(self, agent_id: SpiffeID) -> Agent | None: ...
    async def update_agent(self, agent_id: SpiffeID, **fields: Any) -> Agent: ...
    async def note_renewed_svid(
        self, agent_id: SpiffeID, serial_number: str, expires_at: datetime
    ) -> Agent: ...
    async def activate_svid(
        self, agent_id: SpiffeID, new_serial_number: str, expires_at: datetime
    ) -> Agent: ...
    async def delete_agent(self, agent_id: SpiffeID) -> Agent: ...
    async def list_agents(
        self, wanted: AgentFilter, page: Page | None
    ) -> tuple[list[Agent], str]: ...
    async def count_agents(self, wanted: AgentFilter) -> int: ...
    async def create_join_token(self, token: JoinToken) -> None: ...
    async def take_join_token(self, value: str) -> JoinToken | None: ...
    async def create_entry(self, entry: Entry) -> tuple[Entry, bool]: ...


class AgentMemory(Protocol):
    """What the Agent API needs of the cache."""

    def agent(self, agent_id: SpiffeID) -> Agent | None: ...
    def put_agent(self, agent: Agent) -> None: ...
    def remove_agent(self, agent_id: SpiffeID) -> None: ...
    def put_entry(self, entry: Entry) -> None: ...
    async def refresh(self) -> None: ...


class AgentServicer:
    """`spire.api.server.agent.v1.Agent`."""

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        store: AgentStore,
        memory: AgentMemory,
        signer: AgentSigner,
        attestation: Attestation,
        limits: RateLimits,
        clock: Clock,
    ) -> None:
        self._trust_domain = trust_domain
        self._store = store
        self._memory = memory
        self._signer = signer
        self._attestation = attestation
        self._limits = limits
        self._clock = clock

    # --- for agents ---

    async def attest_agent(
        self, requests: AsyncIterator[agent_pb2.AttestAgentRequest], context: CallContext
    ) -> AsyncGenerator[agent_pb2.AttestAgentResponse, None]:
        await self._limits.wait(context)
        async with aclosing(self._attestation.attest(requests, context)) as responses:
            async for response in responses:
                yield response

    async def renew_agent(
        self, request: agent_pb2.RenewAgentRequest, context: CallContext
    ) -> agent_pb2.RenewAgentResponse:
        await self._limits.wait(context)
        agent_id = calling_agent(context)
        agent = self._memory.agent(agent_id)
        if agent is None:
            raise NotFound("agent not found")
        if agent.can_reattest:
            raise permission_denied(
                Reason.AGENT_MUST_REATTEST, "agent must reattest instead of renew"
            )
        log.info("Renewing agent SVID", caller_id=str(agent_id), caller_addr=context.peer.address)
        if not request.HasField("params"):
            raise InvalidArgument("params cannot be nil")
        if not request.params.csr:
            raise InvalidArgument("missing CSR")
        svid = await sign_agent_csr(self._signer, agent_id, request.params.csr)
        await self._await_activation(agent_id, str(svid.serial_number), svid.expires_at)
        return agent_pb2.RenewAgentResponse(svid=x509_svid_to_pb(svid))

    async def _await_activation(
        self, agent_id: SpiffeID, serial_number: str, expires_at: datetime
    ) -> None:
        """Note the new serial number beside the current one, until the agent comes with it."""
        renewed = await self._written(
            agent_id, self._store.note_renewed_svid(agent_id, serial_number, expires_at)
        )
        if not renewed.serial_number:  # banned while we signed
            raise permission_denied(Reason.AGENT_BANNED, f'agent "{agent_id}" is banned')

    async def post_status(
        self, request: agent_pb2.PostStatusRequest, context: CallContext
    ) -> agent_pb2.PostStatusResponse:
        await self._limits.wait(context)
        agent_id = calling_agent(context)
        version = request.agent_version
        if len(version.encode()) > _MAX_VERSION_BYTES:
            raise InvalidArgument("agent version is too long (max 255 characters)")
        known = self._memory.agent(agent_id)
        if version and (known is None or known.agent_version != version):
            await self._update(agent_id, agent_version=version)
            log.debug("Agent status updated", spiffe_id=str(agent_id), agent_version=version)
        return agent_pb2.PostStatusResponse()

    async def activate(self, agent: Agent) -> Agent | None:
        """Make an agent's new serial number its current one: it came with it.

        With the database away the agent is let in all the same, and this is tried again.

        Returns:
            The agent as it is now: it may have been banned, or renewed, a moment ago.
        """
        expires_at = agent.new_expires_at or agent.expires_at
        try:
            return await self._written(
                agent.id, self._store.activate_svid(agent.id, agent.new_serial_number, expires_at)
            )
        except NotFound:
            return None
        except SpireError as error:
            log.warning(
                "Unable to activate the new agent SVID",
                agent_id=str(agent.id),
                serial_num=agent.serial_number,
                new_serial_num=agent.new_serial_number,
                error=error.message,
            )
            return agent

    # --- for operators ---

    async def count_agents(
        self, request: agent_pb2.CountAgentsRequest, _context: CallContext
    ) -> agent_pb2.CountAgentsResponse:
        wanted = agent_filter_from_pb(request.filter)
        with prefixing("failed to count agents", StatusCode.INTERNAL):
            count = await self._store.count_agents(wanted)
        return agent_pb2.CountAgentsResponse(count=count)

    async def list_agents(
        self, request: agent_pb2.ListAgentsRequest, _context: CallContext
    ) -> agent_pb2.ListAgentsResponse:
        wanted = agent_filter_from_pb(request.filter)
        with prefixing("failed to list agents", StatusCode.INTERNAL):
            agents, token = await self._store.list_agents(wanted, page_from_pb(request))
        mask = output_mask(request)
        response = agent_pb2.ListAgentsResponse(next_page_token=token)
        for agent in agents:
            response.agents.append(apply_mask(agent_to_pb(agent), mask))
        return response

    async def get_agent(
        self, request: agent_pb2.GetAgentRequest, _context: CallContext
    ) -> types_pb2.Agent:
        agent_id = self._agent_id(request)
        with prefixing("failed to fetch agent", StatusCode.INTERNAL):
            agent = await self._store.get_agent(agent_id)
        if agent is None:
            raise NotFound("agent not found")
        return apply_mask(agent_to_pb(agent), output_mask(request))

    async def delete_agent(
        self, request: agent_pb2.DeleteAgentRequest, _context: CallContext
    ) -> Empty:
        agent_id = self._agent_id(request)
        try:
            await self._store.delete_agent(agent_id)
        except NotFound as error:
            self._memory.remove_agent(agent_id)
            raise NotFound("agent not found") from error
        except SpireError as error:
            raise prefixed("failed to remove agent", error, StatusCode.INTERNAL) from error
        self._memory.remove_agent(agent_id)
        log.info("Agent deleted", spiffe_id=str(agent_id))
        await self._see_cascade()
        return Empty()

    async def _see_cascade(self) -> None:
        """An entry that came with a join token went with its agent; see that at once."""
        try:
            await self._memory.refresh()
        except SpireError as error:
            log.warning("Failed to refresh the entry cache", error=error.message)

    async def ban_agent(self, request: agent_pb2.BanAgentRequest, _context: CallContext) -> Empty:
        agent_id = self._agent_id(request)
        # A banned agent is one without serial numbers.
        await self._update(
            agent_id, what="failed to ban agent", serial_number="", new_serial_number=""
        )
        log.info("Agent banned", spiffe_id=str(agent_id))
        return Empty()

    async def create_join_token(
        self, request: agent_pb2.CreateJoinTokenRequest, _context: CallContext
    ) -> types_pb2.JoinToken:
        if request.ttl < 1:
            raise InvalidArgument("ttl is required, you must provide one")
        alias = self._alias_id(request)
        value = request.token or str(uuid.uuid4())
        parent_id = self._join_token_agent_id(value)
        token = JoinToken(value, self._clock.now() + timedelta(seconds=request.ttl))
        with prefixing("failed to create token", StatusCode.INTERNAL):
            await self._store.create_join_token(token)
        if alias is not None:
            await self._create_alias_entry(token, parent_id, alias)
        return join_token_to_pb(token)

    async def _create_alias_entry(
        self, token: JoinToken, parent_id: SpiffeID, alias: SpiffeID
    ) -> None:
        # No workload can match the selector: the entry only hangs the alias below the agent.
        # In exactly this shape it is deleted together with the agent, by us and by SPIRE.
        entry = Entry(
            spiffe_id=alias,
            parent_id=parent_id,
            selectors=(Selector("spiffe_id", str(parent_id)),),
        )
        try:
            stored, _ = await self._store.create_entry(entry)
        except SpireError as error:
            await self._store.take_join_token(token.value)
            raise prefixed(
                "failed to create join token registration entry", error, StatusCode.INTERNAL
            ) from error
        self._memory.put_entry(stored)

    def _alias_id(self, request: agent_pb2.CreateJoinTokenRequest) -> SpiffeID | None:
        if not request.HasField("agent_id"):
            return None
        with prefixing("invalid agent ID"):
            return workload_id_from_pb(request.agent_id, self._trust_domain)

    def _join_token_agent_id(self, value: str) -> SpiffeID:
        try:
            if len(value.encode()) > MAX_TOKEN_BYTES:
                raise InvalidArgument("failed to create join token ID: the token is too long")
            return make_agent_id(self._trust_domain, f"/{ATTESTATION_TYPE}/{value}")
        except InvalidSpiffeID:
            # Its text would hold the token. SPIRE takes such a token, which can never be used.
            raise InvalidArgument(
                "failed to create join token ID: the token has characters that no ID may have"
            ) from None

    def _agent_id(
        self,
        request: (
            agent_pb2.GetAgentRequest | agent_pb2.DeleteAgentRequest | agent_pb2.BanAgentRequest
        ),
    ) -> SpiffeID:
        with prefixing("invalid agent ID"):
            message = request.id if request.HasField("id") else None
            return agent_id_from_pb(message, self._trust_domain)

    async def _update(
        self, agent_id: SpiffeID, what: str = "failed to update agent", **fields: Any
    ) -> Agent:
        return await self._written(agent_id, self._store.update_agent(agent_id, **fields), what)

    async def _written(
        self, agent_id: SpiffeID, write: Awaitable[Agent], what: str = "failed to update agent"
    ) -> Agent:
        """Wait for a change of an agent, and take it in."""
        try:
            agent = await write
        except NotFound as error:
            self._memory.remove_agent(agent_id)
            raise NotFound("agent not found") from error
        except PermissionDenied:
            raise
        except SpireError as error:
            raise prefixed(what, error, StatusCode.INTERNAL) from error
        self._memory.put_agent(agent)
        return agent
