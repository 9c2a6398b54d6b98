"""A server that is killed at any moment: the next one goes on with all that was promised."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from shutil import rmtree

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.errors import SpireError
from spire_py.transport import Channel
from tests.integration.daemons import Process, Stack
from tests.integration.faults.faults import content, is_intact

_FIRST_START = (
    "msg=Configured",
    "Plugin loaded",
    "Opening SQL database",
    "Initializing new database",
    "Connected to SQL database",
    "Loading journal",
    "Preparing X509 CA",
    "X509 CA prepared",
    "X509 CA activated",
    "Successfully stored CA journal",
    "Preparing JWT key",
    "JWT key prepared",
    "JWT key activated",
    "Rotating server SVID",
    "Starting Server APIs",
)


def kill_at(process: Process, line: str, count: int = 1) -> None:
    process.wait_for(line, count=count)
    process.kill()


def authorities(stack: Stack) -> set[str]:
    """What identifies the keys that sign for the trust domain."""
    bundle = json.loads(stack.server("bundle", "show", "-format", "spiffe"))
    return {str(key.get("x5c") or key.get("kid")) for key in bundle["keys"]}


@pytest.mark.parametrize("line", _FIRST_START)
def test_a_first_start_that_is_killed_anywhere_is_made_up_for(stack: Stack, line: str) -> None:
    kill_at(stack.launch_server(), line)
    second = stack.start_server()
    found = authorities(stack)
    assert is_intact(stack)
    # An authority that was published and lost its key stays in the bundle until it expires.
    assert 2 <= len(found) <= 4
    assert second.stop() == 0
    stack.start_server()
    assert authorities(stack) == found


def test_a_later_start_that_is_killed_anywhere_changes_nothing(stack: Stack) -> None:
    stack.start_server()
    stack.create_entry("workload")
    stack.processes[-1].kill()
    before = content(stack)
    for line in (*_FIRST_START[:3], "Loading journal", "Journal loaded", "X509 CA activated"):
        kill_at(stack.launch_server(), line)
    stack.start_server()
    assert content(stack) == before


def _entries(first: int, count: int) -> entry_pb2.BatchCreateEntryRequest:
    return entry_pb2.BatchCreateEntryRequest(
        entries=[
            types_pb2.Entry(
                spiffe_id=types_pb2.SPIFFEID(trust_domain="example.org", path=f"/w{number}"),
                parent_id=types_pb2.SPIFFEID(trust_domain="example.org", path="/node"),
                selectors=[types_pb2.Selector(type="unix", value=f"uid:{number}")],
                dns_names=[f"w{number}.test"],
            )
            for number in range(first, first + count)
        ]
    )


async def _create_until_the_end(stack: Stack, started: threading.Event, size: int) -> set[str]:
    """Create entries in batches until the server is gone; the acknowledged IDs."""
    told: set[str] = set()
    channel = Channel.unix(stack.server_socket)
    try:
        for first in itertools.count(step=size):
            response = await channel.unary(
                "/spire.api.server.entry.v1.Entry/BatchCreateEntry",
                _entries(first, size),
                entry_pb2.BatchCreateEntryResponse,
                timeout=20,
            )
            told |= {item.entry.id for item in response.results if not item.status.code}
            if first >= 3 * size:
                started.set()
    except SpireError:
        return told
    finally:
        started.set()
        await channel.aclose()
    return told


@pytest.mark.parametrize("size", [1, 7, 200])
async def test_no_entry_that_was_acknowledged_is_lost(stack: Stack, size: int) -> None:
    server = stack.start_server()
    for _ in range(2):
        started = threading.Event()
        killer = threading.Thread(target=_kill_after, args=(started, server.kill))
        killer.start()
        told = await _create_until_the_end(stack, started, size)
        killer.join()
        server = stack.start_server()
        assert is_intact(stack)
        kept = {row[3] for row in content(stack)["registered_entries"]}
        assert told
        assert told <= kept
        shown = json.loads(stack.server("entry", "show", "-output", "json"))["entries"]
        assert {entry["id"] for entry in shown} == kept
        assert all(entry["selectors"] and entry["dns_names"] for entry in shown)
        server = _emptied(stack)


def _kill_after(started: threading.Event, kill: Callable[[], None]) -> None:
    started.wait(30)
    kill()


def _emptied(stack: Stack) -> Process:
    """A server that begins anew, with the keys and without the database."""
    stack.processes[-1].kill()
    for path in (stack.folder / "server-data").glob("datastore*"):
        path.unlink()
    return stack.start_server()


@pytest.mark.parametrize(
    "line", ["SVID is not found", "Node attestation was successful", "Starting agent APIs"]
)
def test_a_token_that_was_taken_before_the_kill_stays_taken(stack: Stack, line: str) -> None:
    """It is there and nobody is attested, or it is gone for good."""
    server = stack.start_server()
    token = stack.join_token()
    agent = stack.launch_agent(token=token)
    agent.wait_for(line)
    server.kill()
    agent.kill()
    server = stack.start_server()
    is_there = any(token in row for row in content(stack)["join_tokens"])
    is_attested = any(token in str(row) for row in content(stack)["attested_node_entries"])
    assert not (is_there and is_attested)
    if is_there:
        stack.start_agent(token=token)
        return
    rmtree(stack.folder / "agent-data")
    second = stack.launch_agent(token=token)
    second.wait_for("does not exist or has already been used")


@pytest.mark.parametrize(
    "line", ["Preparing X509 CA", "X509 CA prepared", "Preparing JWT key", "JWT key prepared"]
)
def test_a_rotation_that_is_killed_keeps_the_authorities(stack: Stack, line: str) -> None:
    stack.server_keys = 'ca_ttl = "16s"\n default_x509_svid_ttl = "5s"\n agent_ttl = "5s"'
    first = stack.start_server()
    before = authorities(stack)
    kill_at(first, line, count=2)
    second = stack.start_server()
    assert before <= authorities(stack)
    assert second.stop() == 0
