"""Attested agents in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, insert, select, update

from spire_py.errors import AlreadyExists, PermissionDenied, SpireError
from spire_py.model.agent import Agent
from spire_py.model.join_token import ATTESTATION_TYPE
from spire_py.model.selector import Selector
from spire_py.server.datastore.filters import AgentFilter, Page
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.agent_filters import filtered
from spire_py.server.datastore.sql.entry_writes import delete_entries
from spire_py.server.datastore.sql.errors import not_found
from spire_py.server.datastore.sql.store import (
    AnyRow,
    Query,
    Store,
    add_events,
    chunks,
    events_after,
    latest_event_id,
    next_token,
    paged,
    prune_events,
)
from spire_py.spiffe.id import SpiffeID
from spire_py.telemetry.logs import get_logger

log = get_logger("sql")

_AGENTS = schema.agents.c
_EVERYTHING = AgentFilter()
_ALL_AT_ONCE = 5000
_PRUNE_AT_ONCE = 1000

# Made once, because making a statement costs as much as running it.
_SELECTORS = schema.agent_selectors.c
_BY_IDS = select(schema.agents).where(_AGENTS.spiffe_id.in_(bindparam("ids", expanding=True)))
_LOCKED_BY_IDS = _BY_IDS.with_for_update()
_ALL_SELECTORS = select(_SELECTORS.spiffe_id, _SELECTORS.type, _SELECTORS.value)
_SELECTORS_BY_IDS = _ALL_SELECTORS.where(_SELECTORS.spiffe_id.in_(bindparam("ids", expanding=True)))

_INSERT = insert(schema.agents)
_INSERT_SELECTORS = insert(schema.agent_selectors)
_DELETE_SELECTORS = delete(schema.agent_selectors).where(
    _SELECTORS.spiffe_id.in_(bindparam("ids", expanding=True))
)

_COLUMN_OF_FIELD = {
    "serial_number": "serial_number",
    "expires_at": "expires_at",
    "new_serial_number": "new_serial_number",
    "new_expires_at": "new_expires_at",
    "can_reattest": "can_reattest",
    "agent_version": "agent_version",
}


@dataclass(frozen=True, slots=True)
class _Attested:
    """What one attestation showed."""

    agent: Agent
    now: datetime
    must_be_new: bool


class AgentStore(Store):
    """Agents, their selectors, and the events about them."""

    async def create_agent(self, agent: Agent) -> Agent:
        """Store an agent that has not attested before, with its selectors.

        Raises:
            AlreadyExists: there is one of this ID.
        """
        await self._database.write(_create, [agent], self._clock.now())
        return agent

    async def store_attested_agent(
        self, agent: Agent, now: datetime | None = None, *, must_be_new: bool = False
    ) -> Agent:
        """Store what an attestation showed: a new agent, or new facts of a known one.

        All of it is one transaction. A known agent's version stays.

        Args:
            agent: what was shown.
            now: the time to be written; the clock's where it is left out.
            must_be_new: refuse an agent that is known, whose evidence may be used only once.

        Raises:
            PermissionDenied: the agent is banned, or was banned meanwhile.
            AlreadyExists: it is known, and must be new.
        """
        shown = _Attested(agent, now or self._clock.now(), must_be_new)
        return await self._database.write_together(_store_attested, shown)

    async def update_agent(self, agent_id: SpiffeID, **fields: object) -> Agent:
        """Change some of the fields that are columns, such as both serial numbers of a ban.

        Raises:
            NotFound: there is no such agent.
        """
        values = {_COLUMN_OF_FIELD[name]: value for name, value in fields.items()}
        is_ban = fields.get("serial_number") == ""
        write = self._database.write_durably if is_ban else self._database.write
        return await write(_update, agent_id, values, self._clock.now())

    async def note_renewed_svid(
        self, agent_id: SpiffeID, serial_number: str, expires_at: datetime
    ) -> Agent:
        """Put a new serial number beside the current one; the agent as it is then.

        A banned agent gets none: it has no current one either.

        Raises:
            NotFound: there is no such agent.
        """
        values = {"new_serial_number": serial_number, "new_expires_at": expires_at}
        not_banned = _AGENTS.serial_number != ""
        return await self._database.write(_update, agent_id, values, self._clock.now(), not_banned)

    async def activate_svid(
        self, agent_id: SpiffeID, new_serial_number: str, expires_at: datetime
    ) -> Agent:
        """Make the new serial number the current one, where it still is the new one.

        Where it is not, nothing changes: a ban or a later renewal, maybe of another server, stands.

        Returns:
            The agent as it is then.

        Raises:
            NotFound: there is no such agent.
        """
        values = {
            "serial_number": new_serial_number,
            "expires_at": expires_at,
            "new_serial_number": "",
            "new_expires_at": None,
        }
        still_new = _AGENTS.new_serial_number == new_serial_number
        return await self._database.write(_update, agent_id, values, self._clock.now(), still_new)

    async def set_agent_selectors(self, agent_id: SpiffeID, selectors: Iterable[Selector]) -> None:
        """Replace all selectors of an agent."""
        await self._database.write(_set_selectors, agent_id, tuple(selectors), self._clock.now())

    async def delete_agent(self, agent_id: SpiffeID) -> Agent:
        """Delete an agent and its selectors; returns what it was.

        With one that used a join token goes the entry that was made beside the token.

        Raises:
            NotFound: there is no such agent.
        """
        return await self._database.write_durably(_delete, agent_id, self._clock.now())

    async def prune_agents(
        self,
        expired_before: datetime,
        *,
        include_non_reattestable: bool = False,
        batch_size: int = _PRUNE_AT_ONCE,
    ) -> list[Agent]:
        """Delete agents, never banned ones, that expired before; at most `batch_size` of them."""
        size = batch_size if batch_size > 0 else _PRUNE_AT_ONCE
        return await self._database.write(
            _prune, expired_before, include_non_reattestable, size, self._clock.now()
        )

    async def get_agent(self, agent_id: SpiffeID) -> Agent | None:
        """The agent of this ID, with its selectors."""
        found = await self._database.read(_fetch, [str(agent_id)])
        return found[0] if found else None

    async def get_agents(self, ids: Collection[str]) -> list[Agent]:
        """The agents of these SPIFFE IDs, as far as they exist, in no order."""
        return await self._database.read(_fetch, ids)

    async def load_all_agents(self) -> list[Agent]:
        """All agents, oldest first, as one state of the database."""
        return (await self._database.read(_list, _EVERYTHING, None))[0]

    async def list_agents(
        self, wanted: AgentFilter = _EVERYTHING, page: Page | None = None
    ) -> tuple[list[Agent], str]:
        """The agents that pass the filter, oldest first, and the token of the next page.

        Raises:
            InvalidArgument: the filter or the page is none.
        """
        return await self._database.read(_list, wanted, page)

    async def count_agents(self, wanted: AgentFilter = _EVERYTHING) -> int:
        """How many agents pass the filter.

        Raises:
            InvalidArgument: the filter is none.
        """
        return await self._database.read(_count, wanted)

    async def agent_events(self, after_id: int) -> list[tuple[int, str]]:
        """The events above an ID, in order, each with the SPIFFE ID of the agent."""
        return await self._database.read(events_after, schema.agent_events, after_id)

    async def latest_agent_event_id(self) -> int:
        """The highest event ID; 0 where there is none."""
        return await self._database.read(latest_event_id, schema.agent_events)

    async def prune_agent_events(self, older_than: datetime) -> int:
        """Delete events made before; returns how many."""
        return await self._database.write(prune_events, schema.agent_events, older_than)


def _create(connection: Connection, agents: Sequence[Agent], now: datetime) -> None:
    _insert(connection, agents, now)
    _replace_selectors(connection, {str(agent.id): agent.selectors for agent in agents}, now)
    add_events(connection, schema.agent_events, [str(agent.id) for agent in agents], now)


def _store_attested(connection: Connection, shown: Sequence[_Attested]) -> list[Agent | SpireError]:
    """What attestations showed: those of agents that nobody knew go in together."""
    rows = _locked(connection, [each.agent.id for each in shown])
    new: dict[SpiffeID, _Attested] = {}
    for each in shown:
        if str(each.agent.id) not in rows:
            new.setdefault(each.agent.id, each)
    if new:
        agents = [each.agent for each in new.values()]
        _create(connection, agents, max(each.now for each in new.values()))
    return [
        each.agent if new.get(each.agent.id) is each else _store_known(connection, each, rows)
        for each in shown
    ]


def _store_known(
    connection: Connection, shown: _Attested, rows: Mapping[str, AnyRow]
) -> Agent | SpireError:
    agent, spiffe_id, now = shown.agent, str(shown.agent.id), shown.now
    # One that is not among the rows was new a moment ago, in this transaction.
    row = rows.get(spiffe_id) or _locked(connection, [agent.id])[spiffe_id]
    if not row.serial_number and not row.new_serial_number:
        return PermissionDenied("failed to attest: agent is banned")
    if shown.must_be_new:
        return AlreadyExists("attestation data has already been used to attest an agent")
    values = {
        "data_type": agent.attestation_type,
        "serial_number": agent.serial_number,
        "expires_at": agent.expires_at,
        "new_serial_number": agent.new_serial_number,
        "new_expires_at": agent.new_expires_at,
        "can_reattest": agent.can_reattest,
        "updated_at": now,
    }
    connection.execute(update(schema.agents).where(_AGENTS.id == row.id).values(**values))
    selectors = tuple(sorted(set(agent.selectors)))
    stored = _selectors(connection, [spiffe_id])[spiffe_id]
    if sorted(stored) != [(each.type, each.value) for each in selectors]:
        _replace_selectors(connection, {spiffe_id: selectors}, now)
    add_events(connection, schema.agent_events, [spiffe_id], now)
    return replace(agent, agent_version=row.agent_version or "", selectors=selectors)


def _update(
    connection: Connection,
    agent_id: SpiffeID,
    values: dict[str, Any],
    now: datetime,
    condition: ColumnElement[bool] | None = None,
) -> Agent:
    """Change an agent, where the condition holds; the agent as it is then."""
    chosen = update(schema.agents).where(_AGENTS.spiffe_id == str(agent_id))
    if condition is not None:
        chosen = chosen.where(condition)
    if connection.execute(chosen.values(updated_at=now, **values)).rowcount == 0:
        found = _fetch(connection, [str(agent_id)])
        if condition is None or not found:
            raise not_found()
        return found[0]
    add_events(connection, schema.agent_events, [str(agent_id)], now)
    return _fetch(connection, [str(agent_id)])[0]


def _set_selectors(
    connection: Connection, agent_id: SpiffeID, selectors: Sequence[Selector], now: datetime
) -> None:
    _replace_selectors(connection, {str(agent_id): selectors}, now)
    add_events(connection, schema.agent_events, [str(agent_id)], now)


def _delete(connection: Connection, agent_id: SpiffeID, now: datetime) -> Agent:
    row = _locked(connection, [agent_id]).get(str(agent_id))
    if row is None:
        raise not_found()
    agent = _fetch(connection, [str(agent_id)])
    _delete_row(connection, row, now)
    if not agent:
        raise not_found()
    return agent[0]


def _delete_row(connection: Connection, row: AnyRow, now: datetime) -> None:
    if row.data_type == ATTESTATION_TYPE:
        delete_entries(connection, _token_entries(connection, row.spiffe_id), now)
    table = schema.agent_selectors
    connection.execute(delete(table).where(table.c.spiffe_id == row.spiffe_id))
    connection.execute(delete(schema.agents).where(_AGENTS.id == row.id))
    add_events(connection, schema.agent_events, [row.spiffe_id], now)


def _token_entries(connection: Connection, spiffe_id: str) -> list[AnyRow]:
    """The entries that were made with a join token, to give its agent a further ID.

    Their one selector is the agent's own ID; entries with others belong to somebody.
    """
    entries, selectors = schema.entries.c, schema.selectors.c
    query = (
        select(entries.id, entries.entry_id)
        .join(schema.selectors, selectors.registered_entry_id == entries.id)
        .where(entries.parent_id == spiffe_id)
        .group_by(entries.id, entries.entry_id)
        .having(
            func.count() == 1,
            func.min(selectors.type) == "spiffe_id",
            func.min(selectors.value) == spiffe_id,
        )
    )
    return list(connection.execute(query))


def _prune(
    connection: Connection,
    expired_before: datetime,
    include_non_reattestable: bool,
    size: int,
    now: datetime,
) -> list[Agent]:
    query = _select().where(_AGENTS.expires_at < expired_before, _AGENTS.serial_number != "")
    if not include_non_reattestable:
        query = query.where(_AGENTS.can_reattest.is_(True))
    rows = connection.execute(query.order_by(_AGENTS.id).limit(size).with_for_update()).all()
    agents = _build(connection, rows)
    for row in rows:
        _delete_row(connection, row, now)
    return agents


def _list(
    connection: Connection, wanted: AgentFilter, page: Page | None
) -> tuple[list[Agent], str]:
    rows = connection.execute(paged(filtered(_select(), wanted), _AGENTS.id, page)).all()
    return _build(connection, rows), next_token(page, [row.id for row in rows])


def _count(connection: Connection, wanted: AgentFilter) -> int:
    query = filtered(select(func.count()).select_from(schema.agents), wanted)
    return int(connection.execute(query).scalar_one())


def _fetch(connection: Connection, ids: Iterable[str]) -> list[Agent]:
    rows: list[AnyRow] = []
    for chunk in chunks(dict.fromkeys(ids)):
        rows.extend(connection.execute(_BY_IDS, {"ids": chunk}))
    return _build(connection, rows)


def _select() -> Query:
    return select(schema.agents)


def _locked(connection: Connection, ids: Iterable[SpiffeID]) -> dict[str, AnyRow]:
    """The rows of agents, as far as they exist, kept from all others until the end."""
    found = connection.execute(_LOCKED_BY_IDS, {"ids": list(map(str, ids))})
    return {row.spiffe_id: row for row in found}


def _insert(connection: Connection, agents: Iterable[Agent], now: datetime) -> None:
    rows = [
        {
            "created_at": now,
            "updated_at": now,
            "spiffe_id": str(agent.id),
            "data_type": agent.attestation_type,
            "serial_number": agent.serial_number,
            "expires_at": agent.expires_at,
            "new_serial_number": agent.new_serial_number,
            "new_expires_at": agent.new_expires_at,
            "can_reattest": agent.can_reattest,
            "agent_version": agent.agent_version,
        }
        for agent in agents
    ]
    connection.execute(_INSERT, rows)


def _replace_selectors(
    connection: Connection, selectors: Mapping[str, Iterable[Selector]], now: datetime
) -> None:
    """Give agents, by their SPIFFE IDs, these selectors and no others."""
    connection.execute(_DELETE_SELECTORS, {"ids": list(selectors)})
    rows = [
        {
            "created_at": now,
            "updated_at": now,
            "spiffe_id": spiffe_id,
            "type": selector.type,
            "value": selector.value,
        }
        for spiffe_id, those in selectors.items()
        for selector in sorted(set(those))
    ]
    if rows:
        connection.execute(_INSERT_SELECTORS, rows)


def _build(connection: Connection, rows: Sequence[AnyRow]) -> list[Agent]:
    """The agents of these rows, in their order; what cannot be read is left out with a warning."""
    selectors = _selectors(connection, [row.spiffe_id for row in rows])
    agents = []
    for row in rows:
        try:
            agents.append(_agent(row, selectors[row.spiffe_id]))
        except (SpireError, ValueError) as error:
            log.warning("stored agent cannot be read", spiffe_id=row.spiffe_id, error=str(error))
    return agents


def _agent(row: AnyRow, selectors: Iterable[tuple[str, str]]) -> Agent:
    return Agent(
        id=SpiffeID.parse(row.spiffe_id or ""),
        attestation_type=row.data_type or "",
        serial_number=row.serial_number or "",
        expires_at=_whole(row.expires_at) or datetime.fromtimestamp(0, UTC),
        new_serial_number=row.new_serial_number or "",
        new_expires_at=_whole(row.new_expires_at),
        can_reattest=bool(row.can_reattest),
        agent_version=row.agent_version or "",
        selectors=tuple(Selector(*pair) for pair in sorted(selectors)),
    )


def _whole(time: datetime | None) -> datetime | None:
    return time.replace(microsecond=0).astimezone(UTC) if time else None


def _selectors(
    connection: Connection, ids: Sequence[str]
) -> defaultdict[str, list[tuple[str, str]]]:
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    if len(ids) > _ALL_AT_ONCE:
        results = [connection.execute(_ALL_SELECTORS)]
    else:
        results = [connection.execute(_SELECTORS_BY_IDS, {"ids": chunk}) for chunk in chunks(ids)]
    for result in results:
        for spiffe_id, kind, value in result:
            found[spiffe_id].append((kind or "", value or ""))
    return found
