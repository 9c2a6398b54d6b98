"""Failed calls leave a line."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest

from spire_py.errors import InvalidArgument, NotFound, SpireError
from spire_py.server.api.call_log import LoggedServicer, failed
from spire_py.server.policy import Caller, CallerKind
from spire_py.telemetry.logs import configure_logging
from tests.fakes.agents import agent_id


@dataclass
class FakePeer:
    address: str = "10.0.0.1:1"
    unix: object | None = None


@dataclass
class FakeContext:
    method: str = "/spire.api.server.entry.v1.Entry/GetEntry"
    peer: FakePeer = field(default_factory=FakePeer)
    values: dict[str, object] = field(
        default_factory=lambda: {"caller": Caller(CallerKind.AGENT, agent_id("a"))}
    )


class Servicer:
    async def get_entry(self, request: object, context: object) -> str:
        raise InvalidArgument("malformed param: missing CSR")

    async def stream(self, request: object, context: object) -> AsyncIterator[int]:
        yield 1
        raise NotFound("entry not found")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging(stream=stream)
    yield stream
    configure_logging()


async def test_a_failed_call_is_logged_with_who_called_what(lines: io.StringIO) -> None:
    with pytest.raises(SpireError):
        await LoggedServicer(Servicer()).get_entry(None, FakeContext())
    line = lines.getvalue()
    assert 'level=error msg="Invalid argument: malformed param"' in line
    assert 'error="missing CSR"' in line
    assert "service=entry.v1.Entry" in line
    assert "method=GetEntry" in line
    assert 'caller_addr="10.0.0.1:1"' in line
    assert 'caller_id="spiffe://example.org/spire/agent/test/a"' in line


async def test_a_failed_stream_is_logged_once(lines: io.StringIO) -> None:
    stream = LoggedServicer(Servicer()).stream(None, FakeContext())
    assert await anext(stream) == 1
    with pytest.raises(NotFound):
        await anext(stream)
    assert lines.getvalue().count("Entry not found") == 1


def test_items_of_one_batch_share_a_request_id(lines: io.StringIO) -> None:
    context = FakeContext()
    for name in ("a", "b"):
        status = failed(context, NotFound("entry not found"), entry_id=name)  # type: ignore[arg-type]
        assert (status.code, status.message) == (5, "entry not found")
    ids = {line.partition("request_id=")[2].split()[0] for line in lines.getvalue().splitlines()}
    assert len(ids) == 1


async def test_a_flood_of_failed_calls_that_anyone_may_make_does_not_fill_the_disk(
    lines: io.StringIO,
) -> None:
    servicer = LoggedServicer(Servicer())
    stranger = FakeContext(values={"caller": Caller(CallerKind.NOBODY)})
    for _ in range(20_000):
        with pytest.raises(InvalidArgument):
            await servicer.get_entry(None, stranger)
    assert 1_000 <= lines.getvalue().count("Invalid argument") < 10_000
    with pytest.raises(InvalidArgument):
        await servicer.get_entry(None, FakeContext())
    assert "authorized_as=agent" in lines.getvalue()
