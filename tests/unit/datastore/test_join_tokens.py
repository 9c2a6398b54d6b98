from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from spire_py.errors import AlreadyExists, InvalidArgument
from spire_py.model.join_token import JoinToken
from spire_py.server.datastore import Datastore
from tests.unit.datastore.conftest import Opener
from tests.unit.datastore.samples import LATER

TOKEN = JoinToken("secret", LATER)


async def test_token_is_taken_once(datastore: Datastore) -> None:
    await datastore.create_join_token(TOKEN)
    assert await datastore.take_join_token("unknown") is None
    assert await datastore.take_join_token("secret") == TOKEN
    assert await datastore.take_join_token("secret") is None


async def test_of_many_who_take_a_token_on_two_servers_one_gets_it(opener: Opener) -> None:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(opener()) for _ in range(2)]
        for n in range(10):
            token = JoinToken(f"token{n}", LATER)
            await servers[0].create_join_token(token)
            taken = await asyncio.gather(
                *(server.take_join_token(token.value) for server in servers for _ in range(4))
            )
            assert sorted(taken, key=bool) == [*[None] * 7, token]


async def test_two_tokens_never_have_one_value(datastore: Datastore) -> None:
    await datastore.create_join_token(TOKEN)
    with pytest.raises(AlreadyExists) as refusal:
        await datastore.create_join_token(JoinToken("secret", LATER + timedelta(days=1)))
    assert "secret" not in refusal.value.message
    assert await datastore.take_join_token("secret") == TOKEN


async def test_token_without_a_value_is_refused(datastore: Datastore) -> None:
    with pytest.raises(InvalidArgument, match="token and expiry are required"):
        await datastore.create_join_token(JoinToken("", LATER))
    assert await datastore.take_join_token("") is None


async def test_expired_tokens_are_pruned(datastore: Datastore) -> None:
    await datastore.create_join_token(TOKEN)
    await datastore.create_join_token(JoinToken("newer", LATER + timedelta(seconds=1)))
    assert await datastore.prune_join_tokens(LATER) == 0
    assert await datastore.prune_join_tokens(LATER + timedelta(seconds=1)) == 1
    assert await datastore.take_join_token("secret") is None
    assert await datastore.take_join_token("newer") is not None
