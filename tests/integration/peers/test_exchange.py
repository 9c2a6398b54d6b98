"""SPIRE's commands and ours do the same on the same sockets, whoever serves."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.daemons import OURS, TRUST_DOMAIN, Stack, run
from tests.integration.peers.conftest import ONE, TWO

Find = Callable[[str], Path]

NEW = f"spiffe://{TRUST_DOMAIN}/made-by-the-other"


def test_the_agent_has_attested_and_serves(spiffe_stack: Stack) -> None:
    agents = json.loads(spiffe_stack.server("agent", "list", "-output", "json"))["agents"]
    assert [agent["attestation_type"] for agent in agents] == ["join_token"]
    fetched = spiffe_stack.try_agent("api", "fetch", "x509", "-output", "json")
    assert [svid["spiffe_id"] for svid in json.loads(fetched.stdout)["svids"]] == [ONE, TWO]


@pytest.mark.peer("spire-server")
@pytest.mark.parametrize(
    "words",
    [
        "entry show",
        "entry show -output json",
        f"entry show -spiffeID {ONE}",
        "entry count",
        "agent list",
        "agent list -output json",
        "agent count",
        "bundle show",
        "bundle show -format spiffe",
        "healthcheck",
        "entry show -entryID none",
        "entry delete -entryID none",
    ],
)
def test_commands_for_the_server_say_the_same(
    require_peer: Find, spiffe_stack: Stack, words: str
) -> None:
    where = (*words.split(), "-socketPath", str(spiffe_stack.server_socket))
    spire = run(str(require_peer("spire-server")), *where)
    ours = run(*OURS, *server_words(where))
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        spire.returncode,
        spire.stdout,
        spire.stderr,
    )


def server_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Our one program has two commands of the name `healthcheck`."""
    return ("server", *words) if words[0] == "healthcheck" else words


@pytest.mark.peer("spire-server")
@pytest.mark.parametrize("maker", ["ours", "spire"])
async def test_an_entry_of_one_command_is_shown_and_deleted_by_the_other(
    require_peer: Find, spiffe_stack: Stack, maker: str
) -> None:
    spire = (str(require_peer("spire-server")),)
    make, take = (OURS, spire) if maker == "ours" else (spire, OURS)
    where = ("-socketPath", str(spiffe_stack.server_socket))
    create = (
        *("entry", "create", "-spiffeID", NEW, "-parentID", f"spiffe://{TRUST_DOMAIN}/node"),
        *("-selector", f"unix:uid:{os.getuid()}", "-selector", "unix:user:nobody-of-that-name"),
        *("-dns", "made.test", "-hint", "made", "-x509SVIDTTL", "300", "-jwtSVIDTTL", "60"),
    )
    made = run(*make, *create, *where)
    assert made.returncode == 0, made.stderr
    again = run(*take, *create, *where)
    assert (again.returncode, "similar entry already exists" in again.stderr) == (1, True)
    shown = run(*take, "entry", "show", "-spiffeID", NEW, *where)
    text = shown.stdout.removeprefix("Found 1 entry\n")
    assert text.strip() == made.stdout.strip()
    found = re.search(r"Entry ID +: (\S+)", shown.stdout)
    assert found is not None
    deleted = run(*take, "entry", "delete", "-entryID", found[1], *where)
    assert deleted.stdout.startswith(f"Deleted entry with ID: {found[1]}\n")


@pytest.mark.peer("spire-agent")
@pytest.mark.parametrize(
    "words", ["api fetch x509", "api fetch x509 -output json", "healthcheck", "api fetch jwt"]
)
def test_commands_for_the_agent_say_the_same(
    require_peer: Find, spiffe_stack: Stack, words: str
) -> None:
    where = (*words.split(), "-socketPath", str(spiffe_stack.agent_socket))
    spire = run(str(require_peer("spire-agent")), *where)
    ours = run(*OURS, *(("agent", *where) if words == "healthcheck" else where))
    assert (ours.returncode, lasting(ours.stdout), ours.stderr) == (
        spire.returncode,
        lasting(spire.stdout),
        spire.stderr,
    )


def lasting(output: str) -> str:
    """Without how long it took."""
    return re.sub(r"after \S+", "after a while", output)


@pytest.mark.peer("spire-agent")
@pytest.mark.parametrize("maker", ["ours", "spire"])
def test_a_token_of_one_command_holds_for_the_other(
    require_peer: Find, spiffe_stack: Stack, maker: str
) -> None:
    spire = (str(require_peer("spire-agent")),)
    make, take = (OURS, spire) if maker == "ours" else (spire, OURS)
    where = ("-socketPath", str(spiffe_stack.agent_socket))
    fetched = run(*make, "api", "fetch", "jwt", "-audience", "someone", *where)
    token = fetched.stdout.splitlines()[1].strip()
    validate = ("api", "validate", "jwt", "-svid", token, "-audience")
    assert "SVID is valid." in run(*take, *validate, "someone", *where).stdout
    assert run(*take, *validate, "someone-else", *where).returncode == 1
