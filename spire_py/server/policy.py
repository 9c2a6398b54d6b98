"""Who may call what (features G1 to G20, P1, P3).

The order is SPIRE's: what anyone may call, what a local caller may, the admins of the config, the
admins and downstream servers of the entries, and last the agents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Flag, StrEnum, auto
from typing import Protocol

from spire_py.errors import Internal, PermissionDenied, SpireError
from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.runtime.clock import Clock
from spire_py.spiffe.id import SpiffeID
from spire_py.telemetry.line_budget import LineBudget
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.status import Reason, permission_denied

log = get_logger("api")


class Access(Flag):
    """Classes of callers."""

    ANY = auto()
    LOCAL = auto()
    ADMIN = auto()
    DOWNSTREAM = auto()
    AGENT = auto()


class CallerKind(StrEnum):
    """As what a caller was let in."""

    NOBODY = "nobody"
    LOCAL = "local"
    ADMIN = "admin"
    DOWNSTREAM = "downstream"
    AGENT = "agent"


_OPERATOR = Access.LOCAL | Access.ADMIN
_LOCAL_AUTHORITY = (
    "Prepare{}Authority",
    "Activate{}Authority",
    "Taint{}Authority",
    "Revoke{}Authority",
    "Get{}AuthorityState",
)

_BY_SERVICE: Mapping[str, Mapping[Access, Collection[str]]] = {
    "spire.api.server.agent.v1.Agent": {
        Access.ANY: ("AttestAgent",),
        Access.AGENT: ("RenewAgent", "PostStatus"),
        _OPERATOR: (
            "CountAgents",
            "ListAgents",
            "GetAgent",
            "DeleteAgent",
            "BanAgent",
            "CreateJoinToken",
        ),
    },
    "spire.api.server.bundle.v1.Bundle": {
        Access.ANY: ("GetBundle",),
        _OPERATOR | Access.AGENT: ("GetFederatedBundle",),
        Access.DOWNSTREAM: ("PublishJWTAuthority", "PublishWITAuthority"),
        _OPERATOR: (
            "AppendBundle",
            "CountBundles",
            "ListFederatedBundles",
            "BatchCreateFederatedBundle",
            "BatchUpdateFederatedBundle",
            "BatchSetFederatedBundle",
            "BatchDeleteFederatedBundle",
        ),
    },
    "spire.api.server.entry.v1.Entry": {
        Access.AGENT: ("GetAuthorizedEntries", "SyncAuthorizedEntries"),
        _OPERATOR: (
            "CountEntries",
            "ListEntries",
            "GetEntry",
            "BatchCreateEntry",
            "BatchUpdateEntry",
            "BatchDeleteEntry",
        ),
    },
    "spire.api.server.svid.v1.SVID": {
        Access.AGENT: ("BatchNewX509SVID", "NewJWTSVID", "BatchNewWITSVID"),
        Access.DOWNSTREAM: ("NewDownstreamX509CA",),
        _OPERATOR: ("MintX509SVID", "MintJWTSVID", "MintWITSVID"),
    },
    "spire.api.server.trustdomain.v1.TrustDomain": {
        _OPERATOR: (
            "ListFederationRelationships",
            "GetFederationRelationship",
            "BatchCreateFederationRelationship",
            "BatchUpdateFederationRelationship",
            "BatchDeleteFederationRelationship",
            "RefreshBundle",
        ),
    },
    "spire.api.server.localauthority.v1.LocalAuthority": {
        _OPERATOR: (
            *(name.format(kind) for kind in ("X509", "JWT", "WIT") for name in _LOCAL_AUTHORITY),
            "TaintX509UpstreamAuthority",
            "RevokeX509UpstreamAuthority",
        ),
    },
    "spire_py.changes.v1.Changes": {Access.AGENT: ("Watch",)},
    "spire.api.server.debug.v1.Debug": {Access.LOCAL: ("GetInfo",)},
    "spire.api.server.logger.v1.Logger": {
        Access.LOCAL: ("GetLogger", "SetLogLevel", "ResetLogLevel"),
    },
    "grpc.health.v1.Health": {Access.LOCAL: ("Check", "List", "Watch")},
}

POLICY: Mapping[str, Access] = {
    f"/{service}/{method}": access
    for service, rules in _BY_SERVICE.items()
    for access, methods in rules.items()
    for method in methods
}
"""Who may call each method. What is not in here nobody may call."""


@dataclass(frozen=True, slots=True)
class PeerSVID:
    """The verified X509-SVID of a TLS client. The serial number is decimal, as it is stored."""

    spiffe_id: SpiffeID
    serial_number: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and as what it was let in. `spiffe_id` is None for local and unnamed callers."""

    kind: CallerKind
    spiffe_id: SpiffeID | None = None
    entries: tuple[Entry, ...] = ()


class CallerDirectory(Protocol):
    """What the policy asks about callers; answered from memory but for `fetch_agent`."""

    def agent(self, agent_id: SpiffeID) -> Agent | None: ...
    async def fetch_agent(self, agent_id: SpiffeID) -> Agent | None: ...
    def privileged(self, spiffe_id: SpiffeID) -> list[Entry]: ...


def caller_of(context: CallContext) -> Caller:
    """Who makes this call, as `Authorizer` found it."""
    caller = context.values.get("caller")
    if not isinstance(caller, Caller):
        raise Internal("caller ID missing from request context")
    return caller


def calling_agent(context: CallContext) -> SpiffeID:
    """The ID of the agent that makes this call.

    Raises:
        Internal: no agent does; the policy lets nobody else call.
    """
    spiffe_id = caller_of(context).spiffe_id
    if spiffe_id is None:
        raise Internal("caller ID missing from request context")
    return spiffe_id


class Authorizer:
    """Lets a call through or refuses it, before its handler sees anything of it.

    Args:
        callers: agents and the entries that give rights.
        activate: makes an agent's new serial number its current one; called when it first comes
            with it. Gives the agent as it is then: None where it is gone.
        admin_ids: who else may call what admins may (feature A15).
        clock: tells whether an SVID has expired since its connection was made.
    """

    def __init__(
        self,
        *,
        callers: CallerDirectory,
        activate: Callable[[Agent], Awaitable[Agent | None]],
        admin_ids: Collection[SpiffeID],
        clock: Clock,
    ) -> None:
        self._callers = callers
        self._activate = activate
        self._admin_ids = frozenset(admin_ids)
        self._clock = clock
        self._refusals = LineBudget(log, clock)

    async def authorize(self, context: CallContext) -> None:
        """Note the caller in `context.values["caller"]`.

        Raises:
            PermissionDenied: the caller may not call this method; the details say why where
                an agent can do something about it.
            Internal: the database that had to be asked did not answer.
        """
        try:
            caller = await self._classify(context, POLICY.get(context.method, Access(0)))
        except PermissionDenied as error:
            self._refusals.error(
                "Failed to authenticate caller", **_refusal_facts(context, error.message)
            )
            raise PermissionDenied(
                f"authorization denied for method {context.method}", details=error.details
            ) from error
        context.values["caller"] = caller

    async def _classify(self, context: CallContext, access: Access) -> Caller:
        svid = context.peer.identity if isinstance(context.peer.identity, PeerSVID) else None
        spiffe_id = None if svid is None else svid.spiffe_id
        if Access.ANY in access:
            return Caller(CallerKind.NOBODY, spiffe_id)
        if context.peer.unix is not None:
            if Access.LOCAL in access:
                return Caller(CallerKind.LOCAL)
            raise PermissionDenied("local callers may not call this method")
        if svid is None:
            raise PermissionDenied("caller does not have an X509-SVID")
        if caller := self._by_rights(svid, access):
            return caller
        if Access.AGENT in access:
            await self._check_agent(svid)
            return Caller(CallerKind.AGENT, spiffe_id)
        raise PermissionDenied("caller has none of the rights this method needs")

    def _by_rights(self, svid: PeerSVID, access: Access) -> Caller | None:
        rights = access & (Access.ADMIN | Access.DOWNSTREAM)
        if not rights or self._clock.now() > svid.not_after:
            return None
        if Access.ADMIN in rights and svid.spiffe_id in self._admin_ids:
            return Caller(CallerKind.ADMIN, svid.spiffe_id)
        entries = self._callers.privileged(svid.spiffe_id)
        if Access.ADMIN in rights and any(entry.admin for entry in entries):
            return Caller(CallerKind.ADMIN, svid.spiffe_id)
        downstream = tuple(entry for entry in entries if entry.downstream)
        if Access.DOWNSTREAM in rights and downstream:
            return Caller(CallerKind.DOWNSTREAM, svid.spiffe_id, downstream)
        return None

    async def _check_agent(self, svid: PeerSVID) -> None:
        """Let an agent in whose SVID is the one we gave it last (feature P3)."""
        agent_id = svid.spiffe_id
        if self._clock.now() > svid.not_after:
            raise permission_denied(Reason.AGENT_EXPIRED, f'agent "{agent_id}" SVID is expired')
        agent = self._callers.agent(agent_id)
        if agent is not None and not agent.banned and agent.serial_number == svid.serial_number:
            return
        if agent is None or agent.banned or agent.new_serial_number != svid.serial_number:
            # Memory would refuse. Another server may have changed it within the last second.
            agent = await self._look_up(agent_id, agent)
        _check_serial(agent, svid)
        if agent is not None and agent.serial_number != svid.serial_number:
            _check_serial(await self._activate(agent), svid)

    async def _look_up(self, agent_id: SpiffeID, known: Agent | None) -> Agent | None:
        try:
            return await self._callers.fetch_agent(agent_id)
        except SpireError as error:
            log.error(
                "Unable to look up agent information", agent_id=str(agent_id), error=error.message
            )
            if known is not None:
                return known
            raise Internal(f"unable to look up agent information: {error.message}") from error


def _check_serial(agent: Agent | None, svid: PeerSVID) -> None:
    agent_id = svid.spiffe_id
    if agent is None:
        raise permission_denied(Reason.AGENT_NOT_ATTESTED, f'agent "{agent_id}" is not attested')
    if agent.banned:
        raise permission_denied(Reason.AGENT_BANNED, f'agent "{agent_id}" is banned')
    if svid.serial_number not in (agent.serial_number, agent.new_serial_number):
        raise permission_denied(
            Reason.AGENT_NOT_ACTIVE,
            f'agent "{agent_id}" expected to have serial number "{agent.serial_number}"; '
            f'has "{svid.serial_number}"',
        )


def _refusal_facts(context: CallContext, reason: str) -> dict[str, object]:
    fields: dict[str, object] = {"method": context.method, "reason": reason}
    if context.peer.unix is None:
        fields["caller_addr"] = context.peer.address
    if isinstance(context.peer.identity, PeerSVID):
        fields["caller_id"] = str(context.peer.identity.spiffe_id)
    return fields
