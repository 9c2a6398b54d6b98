"""The server as a process: it starts, says why when it cannot, and ends in order."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import urllib.request
from collections.abc import Iterator

import pytest

from tests.integration.daemons import Stack, free_port, new_stack
from tests.peers.find import peer_binary


@pytest.fixture
def stack() -> Iterator[Stack]:
    with new_stack() as made:
        yield made


def test_it_starts_answers_and_ends_in_order(stack: Stack) -> None:
    process = stack.start_server()
    mode = stack.server_socket.stat().st_mode
    assert stat.S_IMODE(mode) == 0o770
    stack.server("server", "healthcheck")
    assert process.stop() == 0
    assert any("Server stopped gracefully" in line for line in process.lines)
    assert not stack.server_socket.exists()


def test_a_restart_keeps_the_authorities_and_the_entries(stack: Stack) -> None:
    process = stack.start_server()
    before = stack.server("bundle", "show", "-format", "spiffe")
    stack.create_entry("workload")
    assert process.stop() == 0
    stack.start_server()
    assert json.loads(stack.server("bundle", "show", "-format", "spiffe")) == json.loads(before)
    assert stack.server("entry", "count") == "1 registration entry\n"


def test_a_port_in_use_ends_it_with_one_line_that_says_so(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        stack.port = taken.getsockname()[1]
        with pytest.raises(AssertionError):
            stack.start_server()
    process = stack.processes[-1]
    assert process.wait_for_end() == 1
    assert sum(line.startswith("Error: ") for line in process.lines) == 1
    assert "Traceback" not in process.output
    assert str(stack.port) in process.output


def test_a_database_of_another_trust_domain_is_refused(stack: Stack) -> None:
    process = stack.start_server()
    stack.create_entry("workload")
    assert process.stop() == 0
    config = stack.folder / "server.conf"
    config.write_text(config.read_text().replace('"example.org"', '"other.org"'))
    other = stack._start(*stack.server_program, "run", "-config", str(config))
    assert other.wait_for_end() == 1
    assert "a registration entry with trust domain 'example.org' has been detected" in other.output


def test_it_tells_its_health_over_http(stack: Stack) -> None:
    port = free_port()
    config = stack.folder / "health.conf"
    process = stack.start_server()
    process.stop()
    text = (stack.folder / "server.conf").read_text()
    config.write_text(f'{text}\nhealth_checks {{ listener_enabled = true bind_port = "{port}" }}\n')
    second = stack._start(*stack.server_program, "run", "-config", str(config))
    second.wait_for("Serving health checks")
    for path in ("/live", "/ready"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            assert answer.status == 200
            assert json.load(answer) == {"catalog.datastore": {}, "server": {}, "server.ca": {}}


@pytest.mark.peer("spire-agent")
def test_spires_agent_attests_and_serves_a_workload(stack: Stack) -> None:
    spire_agent = peer_binary("spire-agent")
    assert spire_agent is not None
    stack.agent_program = (str(spire_agent),)
    stack.start_server()
    stack.create_entry("workload", "-dns", "workload.local")
    stack.start_agent()
    stack.wait_for_svids(1)
    shown = json.loads(stack.server("agent", "list", "-output", "json"))
    assert [agent["attestation_type"] for agent in shown["agents"]] == ["join_token"]


def test_sigint_ends_it_too(stack: Stack) -> None:
    process = stack.start_server()
    os.kill(process.popen.pid, signal.SIGINT)
    assert process.wait_for_end() == 0
