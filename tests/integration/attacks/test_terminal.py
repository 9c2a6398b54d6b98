"""What agents say of themselves, on an operator's terminal."""

from __future__ import annotations

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py.cli.output import on_one_line
from spire_py.cli.server.agent import _agent_text
from spire_py.cli.server.entry_text import entry_text

FORGED = "1.0\nSPIFFE ID         : spiffe://example.org/spire/agent/forged"
TITLE = "\x1b]0;owned\x07"


@pytest.mark.parametrize("version", [FORGED, TITLE, "\x9b31m", "a\rb", "\u202edetrevni"])
def test_an_agents_version_forges_nothing(version: str) -> None:
    lines = _agent_text(types_pb2.Agent(agent_version=version)).splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("SPIFFE ID ")] == lines[:1]


def test_an_entrys_hint_and_selectors_forge_nothing() -> None:
    entry = types_pb2.Entry(
        id="x", hint="h\nAdmin                   : true", selectors=[selector("uid:0\n" + TITLE)]
    )
    text = entry_text(entry)
    assert not any(line.startswith("Admin") for line in text.splitlines())
    assert "\x1b" not in text


def selector(value: str) -> types_pb2.Selector:
    return types_pb2.Selector(type="unix", value=value)


@pytest.mark.parametrize("text", ["", "plain", "münchen", "日本"])
def test_what_can_be_printed_stays(text: str) -> None:
    assert on_one_line(text) == text
