"""Writes that share a transaction."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from spire_py.errors import AlreadyExists, SpireError, Unavailable
from spire_py.server.datastore.sql.group_commit import GroupCommit, Part, one_by_one

_NO_CONNECTION = cast(Connection, None)


class Writer:
    """A database whose first transaction takes until it is let go."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, bool]] = []
        self.let_go = threading.Event()
        self.away = False

    def transaction(self, parts: Sequence[Part], durable: bool) -> list[Sequence[Any]]:
        assert self.let_go.wait(20)
        self.groups.append((sum(len(items) for _, items in parts), durable))
        if self.away:
            raise Unavailable("database is locked")
        return [batch(_NO_CONNECTION, items) for batch, items in parts]


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
def group_commit(writer: Writer) -> Iterator[GroupCommit]:
    with ThreadPoolExecutor(1) as thread:
        yield GroupCommit(writer.transaction, thread)
        writer.let_go.set()


def _refused(_connection: Connection) -> None:
    raise AlreadyExists("it is there")


async def _asked(
    group_commit: GroupCommit, *works: Callable[[Connection], Any], durable: bool = False
) -> list[asyncio.Task[Any]]:
    tasks = [
        asyncio.create_task(group_commit.run(one_by_one, work, durable=durable and number == 1))
        for number, work in enumerate(works)
    ]
    await asyncio.sleep(0)
    return tasks


async def test_those_who_come_while_the_writer_is_busy_share_a_transaction(
    group_commit: GroupCommit, writer: Writer
) -> None:
    tasks = await _asked(group_commit, *(lambda _, n=n: n for n in range(40)))
    writer.let_go.set()
    assert await asyncio.gather(*tasks) == list(range(40))
    assert writer.groups == [(1, False), (32, False), (7, False)]


async def test_a_group_is_durable_where_one_of_it_must_be(
    group_commit: GroupCommit, writer: Writer
) -> None:
    tasks = await _asked(group_commit, *[lambda _: None] * 3, durable=True)
    writer.let_go.set()
    await asyncio.gather(*tasks)
    assert writer.groups == [(1, False), (2, True)]


async def test_a_failure_hits_only_the_one_that_fails(
    group_commit: GroupCommit, writer: Writer
) -> None:
    tasks = await _asked(group_commit, lambda _: 0, lambda _: 1, _refused, lambda _: 3)
    writer.let_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [*outcomes[:2], *outcomes[3:]] == [0, 1, 3]
    assert isinstance(outcomes[2], AlreadyExists)


async def test_those_who_ask_for_the_same_share_its_statements(
    group_commit: GroupCommit, writer: Writer
) -> None:
    together: list[list[int]] = []

    def halves(_connection: Connection, items: Sequence[int]) -> list[int | SpireError]:
        together.append(list(items))
        return [AlreadyExists("odd") if item % 2 else item // 2 for item in items]

    tasks = [
        asyncio.create_task(group_commit.run(halves, number, durable=False)) for number in range(5)
    ]
    await asyncio.sleep(0)
    tasks += await _asked(group_commit, lambda _: "other")
    writer.let_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [outcomes[0], outcomes[2], outcomes[4], outcomes[5]] == [0, 1, 2, "other"]
    assert {type(outcomes[1]), type(outcomes[3])} == {AlreadyExists}
    assert together == [[0], [1, 2, 3, 4]]


async def test_all_are_told_at_once_that_the_database_is_away(
    group_commit: GroupCommit, writer: Writer
) -> None:
    writer.away = True
    tasks = await _asked(group_commit, *[lambda _: None] * 9)
    writer.let_go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert writer.groups == [(1, False), (8, False)]


async def test_what_a_cancelled_caller_asked_for_is_written_all_the_same(
    group_commit: GroupCommit, writer: Writer
) -> None:
    written: list[int] = []
    tasks = await _asked(group_commit, lambda _: 0, lambda _: written.append(1), lambda _: 2)
    tasks[1].cancel()
    writer.let_go.set()
    assert await tasks[2] == 2
    assert written == [1]


async def test_closing_waits_for_all_that_was_asked_for(
    group_commit: GroupCommit, writer: Writer
) -> None:
    tasks = await _asked(group_commit, *[lambda _: None] * 40)
    closing = asyncio.create_task(group_commit.aclose())
    writer.let_go.set()
    await closing
    assert sum(size for size, _ in writer.groups) == 40
    await asyncio.gather(*tasks)


async def test_who_comes_after_the_end_is_told(writer: Writer) -> None:
    with ThreadPoolExecutor(1) as thread:
        group_commit = GroupCommit(writer.transaction, thread)
        tasks = await _asked(group_commit, *[lambda _: None] * 3)
        thread.shutdown(wait=False)
        writer.let_go.set()
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert [type(outcome) for outcome in outcomes] == [type(None), Unavailable, Unavailable]
        with pytest.raises(Unavailable, match="closed"):
            await group_commit.run(one_by_one, lambda _: None, durable=False)
