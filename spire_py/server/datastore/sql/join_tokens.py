"""Join tokens in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, delete, insert

from spire_py.errors import InvalidArgument, SpireError
from spire_py.model.join_token import JoinToken
from spire_py.server.datastore.sql import schema
from spire_py.server.datastore.sql.store import Store

_TOKENS = schema.join_tokens.c
_TAKE = (
    delete(schema.join_tokens)
    .where(_TOKENS.token.in_(bindparam("values", expanding=True)))
    .returning(_TOKENS.token, _TOKENS.expiry)
)


class JoinTokenStore(Store):
    """Join tokens that were not used yet."""

    async def create_join_token(self, token: JoinToken) -> None:
        """Store a token.

        Raises:
            AlreadyExists: there is one of this value.
        """
        if not token.value:
            raise InvalidArgument("token and expiry are required")
        await self._database.write(_create, token, self._clock.now())

    async def take_join_token(self, value: str) -> JoinToken | None:
        """Remove a token and return it, expired or not; None where there is none.

        Of those who try to take one token at the same time, on any server, one gets it.
        """
        return await self._database.write_together(_take, value, durable=True)

    async def prune_join_tokens(self, expired_before: datetime) -> int:
        """Delete the tokens that expired before; returns how many."""
        return await self._database.write(_prune, expired_before)


def _create(connection: Connection, token: JoinToken, now: datetime) -> None:
    connection.execute(
        insert(schema.join_tokens).values(
            created_at=now,
            updated_at=now,
            token=token.value,
            expiry=int(token.expires_at.timestamp()),
        )
    )


def _take(connection: Connection, values: Sequence[str]) -> list[JoinToken | SpireError | None]:
    # One statement: of several transactions that delete a row, only one sees it deleted.
    taken = {row.token: row.expiry or 0 for row in connection.execute(_TAKE, {"values": values})}
    tokens: list[JoinToken | SpireError | None] = []
    for value in values:
        # Of several in this transaction, the first one gets it.
        expiry = taken.pop(value, None)
        tokens.append(
            None if expiry is None else JoinToken(value, datetime.fromtimestamp(expiry, UTC))
        )
    return tokens


def _prune(connection: Connection, expired_before: datetime) -> int:
    seconds = int(expired_before.timestamp())
    return connection.execute(delete(schema.join_tokens).where(_TOKENS.expiry < seconds)).rowcount
