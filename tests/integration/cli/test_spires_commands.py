"""Entries and tokens made by SPIRE's commands on our server, and by ours on SPIRE's.

What else commands print is compared in `test_side_by_side.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.daemons import OUR_SERVER, OURS, TRUST_DOMAIN, Stack, new_stack, run
from tests.peers.find import peer_binary

pytestmark = pytest.mark.peer("spire-server")

Command = Callable[..., tuple[int, str, str]]

ENTRY = (
    *("-entryID", "one", "-parentID", f"spiffe://{TRUST_DOMAIN}/node"),
    *("-spiffeID", f"spiffe://{TRUST_DOMAIN}/workload", "-selector", "unix:uid:7"),
    *("-selector", "unix:gid:7", "-x509SVIDTTL", "600", "-dns", "a.example.org"),
    *("-hint", "h", "-admin", "-entryExpiry", "4000000000"),
)


@pytest.fixture(scope="module", params=["ours", "spire"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    spire = (str(peer_binary("spire-server")),)
    with new_stack(server_program=OUR_SERVER if request.param == "ours" else spire) as stack:
        stack.start_server()
        yield stack


@pytest.fixture
def ours(stack: Stack) -> Command:
    return _command(OURS, stack.server_socket)


@pytest.fixture
def spires(stack: Stack) -> Command:
    return _command((str(peer_binary("spire-server")),), stack.server_socket)


def _command(program: tuple[str, ...], socket: Path) -> Command:
    def call(*words: str) -> tuple[int, str, str]:
        done = run(*program, *words, "-socketPath", str(socket))
        return done.returncode, done.stdout, done.stderr

    return call


def test_an_entry_is_created_shown_counted_and_deleted_alike(
    ours: Command, spires: Command
) -> None:
    by_ours = ours("entry", "create", *ENTRY)
    assert by_ours[0] == 0
    similar = ours("entry", "create", *ENTRY[2:])
    assert similar[0] == 1
    assert "similar entry already exists" in similar[2]
    assert spires("entry", "create", *ENTRY[2:]) == similar
    for words in (
        ("show",),
        ("show", "-output", "json"),
        ("show", "-entryID", "one"),
        ("show", "-selector", "unix:uid:7", "-matchSelectorsOn", "superset"),
        ("show", "-spiffeID", f"spiffe://{TRUST_DOMAIN}/nothing"),
        ("show", "-downstream"),
        ("count",),
        ("show", "-entryID", "nothing"),
        ("delete", "-entryID", "nothing"),
    ):
        assert spires("entry", *words) == ours("entry", *words), words
    deleted = ours("entry", "delete", "-entryID", "one")
    assert spires("entry", "create", *ENTRY) == by_ours
    assert spires("entry", "delete", "-entryID", "one") == deleted
    assert deleted[0] == 0


def test_a_token_of_either_is_one_word(ours: Command, spires: Command) -> None:
    for command in (ours, spires):
        code, output, _ = command("token", "generate", "-output", "json")
        assert code == 0
        assert set(json.loads(output)) == {"expires_at", "value"}
