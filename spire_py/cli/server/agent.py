"""`agent list`, `count`, `show`, `ban` and `evict` (features E18 to E21)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeVar

from google.protobuf.empty_pb2 import Empty
from google.protobuf.wrappers_pb2 import BoolValue

from spire_py._proto.spire.api import types_pb2 as types
from spire_py._proto.spire.api.server import agent_pb2
from spire_py.cli.command import Command, CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import count_of, go_local_time, on_one_line, print_messages
from spire_py.cli.server.api import (
    MATCHES,
    id_to_pb,
    id_to_text,
    selector_to_pb,
    server_command,
)

_PAGE_SIZE = 1000
_SERVICE = "/spire.api.server.agent.v1.Agent"
_FILTER_FLAGS = (
    Flag("selector", "Only agents with these selectors; may be given again", Kind.TEXTS),
    Flag("attestationType", "Only agents attested so, such as join_token or x509pop"),
    Flag("canReattest", "true: only agents that can re-attest; false: only those that cannot"),
    Flag("banned", "true: only banned agents; false: only those that are not"),
    Flag("expiresBefore", 'Only agents that expire before, as "2006-01-02 15:04:05 -0700 -07"'),
    Flag("matchSelectorsOn", "exact, any, superset or subset", default="superset"),
)
FilterT = TypeVar(
    "FilterT", agent_pb2.ListAgentsRequest.Filter, agent_pb2.CountAgentsRequest.Filter
)


def _filter(flags: Flags, into: FilterT) -> FilterT:
    if selectors := flags.texts("selector"):
        match = flags.text("matchSelectorsOn")
        if match not in MATCHES:
            raise CommandFailed("unsupported match behavior")
        wanted = types.SelectorMatch(match=MATCHES[match])
        wanted.selectors.extend(_selector(text) for text in selectors)
        into.by_selector_match.CopyFrom(wanted)
    if before := flags.text("expiresBefore"):
        _check_time(before)
        into.by_expires_before = before
    into.by_attestation_type = flags.text("attestationType")
    for flag, field in (("canReattest", into.by_can_reattest), ("banned", into.by_banned)):
        # Any other value means no filter, as SPIRE has it.
        if flags.text(flag) in {"true", "false"}:
            field.CopyFrom(BoolValue(value=flags.text(flag) == "true"))
    return into


def _selector(text: str) -> types.Selector:
    try:
        return selector_to_pb(text)
    except CommandFailed as error:
        raise CommandFailed(f'error parsing selector "{text}": {error}') from error


def _check_time(text: str) -> None:
    moment, _, zone = text.rpartition(" ")
    try:
        datetime.strptime(moment, "%Y-%m-%d %H:%M:%S %z")
        datetime.strptime(f"{zone}:00", "%z")
    except ValueError as error:
        raise CommandFailed(
            f'date is not valid: "{text}" must be formatted as 2006-01-02 15:04:05 -0700 -07'
        ) from error


async def _list(flags: Flags, server: Connection) -> int:
    request = agent_pb2.ListAgentsRequest(
        filter=_filter(flags, agent_pb2.ListAgentsRequest.Filter()), page_size=_PAGE_SIZE
    )
    response = agent_pb2.ListAgentsResponse()
    while True:
        page = await server.call(f"{_SERVICE}/ListAgents", request, agent_pb2.ListAgentsResponse)
        response.agents.extend(page.agents)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return print_messages(flags, lambda: _print_list(response), response)


def _print_list(response: agent_pb2.ListAgentsResponse) -> int:
    if not response.agents:
        print("No attested agents found")
        return 0
    print(f"Found {count_of(len(response.agents), 'attested agent', 'attested agents')}:\n")
    for agent in response.agents:
        print(_agent_text(agent))
    return 0


def _agent_text(agent: types.Agent) -> str:
    return "\n".join(f"{label:<18}: {on_one_line(value)}" for label, value in _fields(agent)) + "\n"


def _fields(agent: types.Agent) -> Iterator[tuple[str, str]]:
    yield "SPIFFE ID", id_to_text(agent.id)
    yield "Attestation type", agent.attestation_type
    yield "Expiration time", go_local_time(agent.x509svid_expires_at)
    if agent.banned:
        yield "Banned", "true"
    else:
        yield "Serial number", agent.x509svid_serial_number
    yield "Can re-attest", "true" if agent.can_reattest else "false"
    if agent.agent_version:
        yield "Agent version", agent.agent_version


async def _count(flags: Flags, server: Connection) -> int:
    response = await server.call(
        f"{_SERVICE}/CountAgents",
        agent_pb2.CountAgentsRequest(filter=_filter(flags, agent_pb2.CountAgentsRequest.Filter())),
        agent_pb2.CountAgentsResponse,
    )

    def pretty() -> int:
        print(count_of(response.count, "attested agent", "attested agents"))
        return 0

    return print_messages(flags, pretty, response)


def _asked_for(flags: Flags) -> types.SPIFFEID:
    if not flags.text("spiffeID"):
        raise CommandFailed("a SPIFFE ID is required")
    return id_to_pb(flags.text("spiffeID"))


async def _show(flags: Flags, server: Connection) -> int:
    agent = await server.call(
        f"{_SERVICE}/GetAgent", agent_pb2.GetAgentRequest(id=_asked_for(flags)), types.Agent
    )

    def pretty() -> int:
        print("Found an attested agent given its SPIFFE ID\n")
        print(_agent_text(agent))
        for selector in agent.selectors:
            value = on_one_line(f"{selector.type}:{selector.value}")
            print(f"{'Selectors':<18}: {value}")
        return 0

    return print_messages(flags, pretty, agent)


async def _ban(flags: Flags, server: Connection) -> int:
    request = agent_pb2.BanAgentRequest(id=_asked_for(flags))
    response = await server.call(f"{_SERVICE}/BanAgent", request, Empty)
    return print_messages(flags, lambda: _say("Agent banned successfully"), response)


async def _evict(flags: Flags, server: Connection) -> int:
    request = agent_pb2.DeleteAgentRequest(id=_asked_for(flags))
    response = await server.call(f"{_SERVICE}/DeleteAgent", request, Empty)
    return print_messages(flags, lambda: _say("Agent evicted successfully"), response)


def _say(sentence: str) -> int:
    print(sentence)
    return 0


_ID_FLAG = (Flag("spiffeID", "SPIFFE ID of the agent"),)
LIST: Command = server_command("agent list", "Lists attested agents", _FILTER_FLAGS, _list)
COUNT: Command = server_command("agent count", "Counts attested agents", _FILTER_FLAGS, _count)
SHOW: Command = server_command("agent show", "Shows one attested agent", _ID_FLAG, _show)
BAN: Command = server_command("agent ban", "Bans an attested agent", _ID_FLAG, _ban)
EVICT: Command = server_command("agent evict", "Evicts an attested agent", _ID_FLAG, _evict)
