"""The server when its disk is full, and its database locked, read-only or broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from tests.integration.daemons import Stack
from tests.integration.faults.faults import (
    content,
    database,
    end,
    entry_words,
    full_disk,
    is_intact,
    locked_database,
)


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_locked_database_delays_nothing_but_writes(stack: Stack, kind: str) -> None:
    stack.start_server()
    stack.create_entry("workload")
    stack.start_agent()
    with locked_database(stack, kind):
        stack.wait_for_svids(1)
        assert "Found 2 entries" in stack.server("entry", "show")
        refused = stack.try_server(*entry_words("other"))
    assert refused.returncode == 1
    assert "(code: Unavailable, " in refused.stderr
    assert "database is locked" in refused.stderr
    stack.server(*entry_words("other"))
    assert "Found 3 entries" in stack.server("entry", "show")


def test_a_lock_at_the_start_is_told_and_the_next_start_goes_on(stack: Stack) -> None:
    stack.start_server().stop()
    before = content(stack)
    with locked_database(stack):
        blocked = stack.launch_server()
        assert end(blocked) == 1
        assert "database is locked" in blocked.lines[-1]
    stack.start_server()
    assert content(stack)["bundles"] == before["bundles"]


def test_a_full_disk_refuses_writes_and_keeps_what_was_told(stack: Stack) -> None:
    process = stack.start_server()
    stack.create_entry("workload")
    before = content(stack)
    with full_disk(process):
        for words in (
            entry_words("other"),
            ("token", "generate", "-spiffeID", "spiffe://example.org/node"),
        ):
            refused = stack.try_server(*words)
            assert refused.returncode == 1
            assert "datastore-sql: " in refused.stderr
        assert stack.server("entry", "count") == "1 registration entry\n"
        stack.server("server", "healthcheck")
        process.popen.kill()
        process.wait_for_end()
    assert is_intact(stack)
    assert content(stack) == before
    stack.start_server()
    stack.server(*entry_words("other"))
    assert stack.server("entry", "count") == "2 registration entries\n"


def test_space_that_comes_back_is_used_without_a_restart(stack: Stack) -> None:
    process = stack.start_server()
    with full_disk(process):
        assert stack.try_server(*entry_words("other")).returncode == 1
    stack.server(*entry_words("other"))


def test_a_first_start_on_a_full_disk_leaves_nothing_half_done(stack: Stack) -> None:
    for largest in (1, 100, 5_000, 50_000, 100_000):
        stack.server_program = (
            *("prlimit", f"--fsize={largest}"),
            *Stack(stack.folder).server_program,
        )
        process = stack.launch_server()
        assert end(process) == 1, largest
        assert process.lines[-1].startswith("Error: "), process.output
        assert not (stack.folder / "server-data" / "keys.json.tmp").exists()
    stack.server_program = Stack(stack.folder).server_program
    stack.start_server()
    stack.create_entry("workload")
    assert is_intact(stack)


def test_a_read_only_database_is_served_but_not_written(stack: Stack) -> None:
    stack.start_server()
    stack.create_entry("workload")
    stack.processes[-1].stop()
    before = database(stack).read_bytes()
    config = stack.folder / "read-only.conf"
    text = (stack.folder / "server.conf").read_text()
    config.write_text(text.replace(f"{database(stack)}", f"file:{database(stack)}?mode=ro"))
    process = stack._start(*stack.server_program, "run", "-config", str(config))
    process.wait_for("Starting Server APIs", count=2)
    assert stack.server("entry", "count") == "1 registration entry\n"
    refused = stack.try_server(*entry_words("other"))
    assert refused.returncode == 1
    assert "attempt to write a readonly database" in refused.stderr
    assert process.stop() == 0
    assert database(stack).read_bytes() == before


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda data: data[:5000], id="cut short"),
        pytest.param(lambda data: b"x" * len(data), id="another file"),
        pytest.param(lambda data: data[:100] + os.urandom(len(data) - 100), id="overwritten"),
    ],
)
def test_a_broken_database_is_named_and_left_alone(
    stack: Stack, broken: Callable[[bytes], bytes]
) -> None:
    stack.start_server()
    stack.create_entry("workload")
    stack.processes[-1].stop()
    found = broken(database(stack).read_bytes())
    database(stack).write_bytes(found)
    process = stack.launch_server()
    assert end(process) == 1
    assert process.lines[-1].startswith("Error: datastore-sql: ")
    assert database(stack).read_bytes() == found


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param('{"keys": {"x509-CA-A": "MIG', id="cut short"),
        pytest.param("[]", id="a list"),
        pytest.param('{"keys": {"x509-CA-A": "AAAA"}}', id="no key"),
        pytest.param("[" * 100_000, id="nested"),
    ],
)
def test_a_broken_keys_file_is_named_and_left_alone(stack: Stack, text: str) -> None:
    stack.start_server()
    before = content(stack)
    stack.processes[-1].stop()
    keys = stack.folder / "server-data" / "keys.json"
    keys.write_text(text)
    process = stack.launch_server()
    assert end(process) == 1
    assert process.lines[-1].startswith("Error: unable to ")
    assert keys.read_text() == text
    assert content(stack) == before


def test_keys_that_cannot_be_written_are_not_used(stack: Stack) -> None:
    """A disk that fills up between the keys of two authorities."""
    stack.server_keys = 'ca_ttl = "24h"'
    keys = stack.folder / "server-data" / "keys.json"
    keys.parent.mkdir()
    (keys.parent / "keys.json.tmp").mkdir()
    process = stack.launch_server()
    assert end(process) == 1
    assert "unable to write entries" in process.lines[-1]
    assert not keys.exists()
    (keys.parent / "keys.json.tmp").rmdir()
    stack.start_server()
    assert len(json.loads(keys.read_text())["keys"]) == 2
