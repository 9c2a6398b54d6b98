from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.model.agent import Agent
from spire_py.model.join_token import JoinToken
from spire_py.model.selector import Selector
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.agents import agent_to_pb, expires_before_from_text
from spire_py.wire.join_tokens import join_token_to_pb

AGENT = Agent(
    id=TrustDomain("example.org").member("/spire/agent/x"),
    attestation_type="x",
    serial_number="12345678901234567890",
    expires_at=datetime(2026, 6, 1, tzinfo=UTC),
    can_reattest=True,
    agent_version="1.15.3",
    selectors=(Selector("a", "1"),),
)


def test_agent_is_told_whole() -> None:
    assert agent_to_pb(AGENT) == types_pb2.Agent(
        id=types_pb2.SPIFFEID(trust_domain="example.org", path="/spire/agent/x"),
        attestation_type="x",
        x509svid_serial_number="12345678901234567890",
        x509svid_expires_at=1780272000,
        selectors=[types_pb2.Selector(type="a", value="1")],
        can_reattest=True,
        agent_version="1.15.3",
    )


def test_banned_agent_says_so() -> None:
    assert agent_to_pb(Agent(AGENT.id, "x", "", AGENT.expires_at)).banned


def test_join_token_is_told_whole() -> None:
    token = JoinToken("secret", datetime(2026, 6, 1, tzinfo=UTC))
    assert join_token_to_pb(token) == types_pb2.JoinToken(value="secret", expires_at=1780272000)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("", None),
        ("2026-06-01 12:00:00 +0000 +00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        (
            "2026-06-01 12:00:00 -0530 -05",
            datetime(2026, 6, 1, 12, tzinfo=timezone(-timedelta(hours=5, minutes=30))),
        ),
    ],
)
def test_time_of_a_filter_is_read(text: str, time: datetime | None) -> None:
    assert expires_before_from_text(text) == time


@pytest.mark.parametrize("text", ["soon", "2026-06-01", "2026-06-01 12:00:00", "x" * 1000])
def test_time_that_is_none_is_no_filter_for_everything(text: str) -> None:
    with pytest.raises(InvalidArgument, match="malformed expires before filter"):
        expires_before_from_text(text)
