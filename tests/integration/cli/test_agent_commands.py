"""`agent list`, `count`, `show`, `ban` and `evict` (features E18 to E21)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.integration.cli.commands import Outcome, Shell
from tests.integration.daemons import Stack, new_stack

NODE = "spiffe://example.org/node"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A server with one agent, which has a further ID."""
    with new_stack() as stack:
        stack.start_server()
        stack.start_agent()
        yield stack


@pytest.fixture(scope="module")
def agent_id(server: Shell) -> str:
    return re.findall(r"^SPIFFE ID +: (\S+)$", server("agent list").out, re.MULTILINE)[0]


def test_agents_are_listed(server: Shell, agent_id: str) -> None:
    listed = server("agent list")
    assert listed.code == 0
    serial = re.findall(r"Serial number     : (\d+)\n", listed.out)[0]
    expiry = re.findall(r"Expiration time   : (.+)\n", listed.out)[0]
    version = re.findall(r"Agent version     : (.+)\n", listed.out)[0]
    assert listed.out == (
        "Found 1 attested agent:\n\n"
        f"SPIFFE ID         : {agent_id}\n"
        "Attestation type  : join_token\n"
        f"Expiration time   : {expiry}\n"
        f"Serial number     : {serial}\n"
        "Can re-attest     : false\n"
        f"Agent version     : {version}\n\n"
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \S+", expiry)
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_an_expiry_is_shown_in_the_machines_zone(
    server: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        listed = server("agent list").out
    finally:
        monkeypatch.undo()
        time.tzset()
    assert re.search(r"Expiration time   : .* \+0[12]00 CES?T\n", listed)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        pytest.param("", 1, id="no filter"),
        pytest.param("-selector a:b", 0, id="selector it has not"),
        pytest.param("-attestationType join_token", 1, id="type"),
        pytest.param("-attestationType x509pop", 0, id="other type"),
        pytest.param("-banned true", 0, id="banned"),
        pytest.param("-banned false", 1, id="not banned"),
        pytest.param("-banned maybe", 1, id="any other word is no filter"),
        pytest.param("-canReattest true", 0, id="can re-attest"),
        pytest.param("-canReattest false", 1, id="cannot re-attest"),
    ],
)
def test_agents_are_filtered_and_counted(server: Shell, words: str, count: int) -> None:
    first = server(f"agent list {words}").out.splitlines()[0]
    assert first == ("Found 1 attested agent:" if count else "No attested agents found")
    plural = "attested agent" if count == 1 else "attested agents"
    assert server(f"agent count {words}") == Outcome(0, f"{count} {plural}\n", "")


@pytest.mark.parametrize(
    ("before", "count"),
    [
        pytest.param("2020-01-01 00:00:00 +0000 +00", 0, id="long ago"),
        pytest.param("2100-01-01 00:00:00 +0100 +01", 1, id="far away"),
    ],
)
def test_agents_are_filtered_by_expiry(server: Shell, before: str, count: int) -> None:
    assert server("agent count", "-expiresBefore", before).out.startswith(f"{count} ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["-selector", "nocolon"], 'error parsing selector "nocolon": ', id="selector"),
        pytest.param(
            ["-selector", "a:b", "-matchSelectorsOn", "x"], "unsupported match behavior", id="match"
        ),
        pytest.param(["-expiresBefore", "tomorrow"], "date is not valid: ", id="date"),
        pytest.param(
            ["-expiresBefore", "2030-01-02 15:04:05 +0530 +0530"], "date is not valid: ", id="zone"
        ),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    server: Shell, words: list[str], message: str
) -> None:
    refused = server("agent list", *words)
    assert refused.code == 1
    assert refused.err.startswith(f"Error: {message}")


def test_one_agent_is_shown_as_text_and_json(server: Shell, agent_id: str) -> None:
    shown = server(f"agent show -spiffeID {agent_id}")
    assert shown.out.startswith(
        f"Found an attested agent given its SPIFFE ID\n\nSPIFFE ID         : {agent_id}\n"
    )
    agent = server(f"agent show -spiffeID {agent_id} -output json").json
    assert agent["attestation_type"] == "join_token"
    assert agent["banned"] is False
    assert isinstance(agent["x509svid_expires_at"], str)
    assert server("agent list -output json").json == {"agents": [agent], "next_page_token": ""}
    assert server("agent count -output json").out == '{"count":1}\n'


@pytest.mark.parametrize("verb", ["show", "ban", "evict"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param("", "a SPIFFE ID is required", id="no ID"),
        pytest.param("-spiffeID foo", "scheme is missing or invalid", id="bad ID"),
        pytest.param(
            "-spiffeID spiffe://example.org/spire/agent/none",
            "rpc error: code = NotFound desc = agent not found",
            id="unknown",
        ),
    ],
)
def test_an_agent_must_be_named(server: Shell, verb: str, words: str, message: str) -> None:
    refused = server(f"agent {verb} {words}")
    assert refused == Outcome(1, "", f"Error: {message}\n")


def test_an_agent_is_banned_and_then_evicted() -> None:
    with new_stack() as stack:
        stack.start_server()
        server = Shell("spire-server", stack.server_socket)
        stack.start_agent()
        agent_id = re.findall(r"^SPIFFE ID +: (\S+)$", server("agent list").out, re.MULTILINE)[0]
        banned = server(f"agent ban -spiffeID {agent_id}")
        assert banned == Outcome(0, "Agent banned successfully\n", "")
        listed = server("agent list -banned true").out
        assert "Banned            : true\n" in listed
        assert "Serial number" not in listed
        evicted = server(f"agent evict -spiffeID {agent_id}")
        assert evicted == Outcome(0, "Agent evicted successfully\n", "")
        assert server("agent list").out == "No attested agents found\n"
        gone = server(f"agent evict -spiffeID {agent_id}")
        assert gone.err == "Error: rpc error: code = NotFound desc = agent not found\n"
