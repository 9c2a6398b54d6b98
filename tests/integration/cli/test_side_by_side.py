"""Our commands and SPIRE's, asked the same of the same daemons, print the same to the letter.

The daemons are ours in one half and SPIRE's in the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration.daemons import OUR_AGENT, OUR_SERVER, OURS, Stack, new_stack, run
from tests.peers.find import peer_binary

pytestmark = [pytest.mark.peer("spire-server"), pytest.mark.peer("spire-agent")]

NODE = "spiffe://example.org/node"
TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
DURATION = re.compile(r"after [\d.]+(µs|ms|s)")


@dataclass(frozen=True)
class Both:
    """The two programs on the sockets of one stack."""

    stack: Stack

    def __call__(self, daemon: str, line: str, *words: str, stdin: str = "") -> None:
        """Run it with both; `line` is split at spaces."""
        socket = self.stack.server_socket if daemon == "server" else self.stack.agent_socket
        given = (*line.split(), *words, "-socketPath", str(socket))
        spires = (str(peer_binary(f"spire-{daemon}")),)
        ours = OURS if "healthcheck" not in line else (*OURS, daemon)
        assert outcome(*ours, *given, stdin=stdin) == outcome(*spires, *given, stdin=stdin)


def outcome(*command: str, stdin: str) -> tuple[int, str, str]:
    done = run(*command, stdin=stdin)
    return done.returncode, bare(done.stdout), bare(done.stderr)


def bare(text: str) -> str:
    """Without what differs from one call to the next."""
    # SPIRE's socket paths begin with the slashes of a URL; its JSON parts claims with spaces.
    text = text.replace("dial unix ///", "dial unix /").partition("Usage of ")[0]
    text = re.sub(r"^Claims .*$", "", text, flags=re.MULTILINE)
    return DURATION.sub("after <>", TOKEN.sub("<JWT>", UUID.sub("<ID>", text)))


@pytest.fixture(scope="module", params=["ours", "SPIRE's"])
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    spires = request.param == "SPIRE's"
    with new_stack(
        server_program=(str(peer_binary("spire-server")),) if spires else OUR_SERVER,
        agent_program=(str(peer_binary("spire-agent")),) if spires else OUR_AGENT,
        server_keys='experimental { cache_reload_interval = "1s" }' if spires else "",
        agent_keys='experimental { sync_interval = "1s" }' if spires else "",
    ) as stack:
        stack.start_server()
        stack.start_agent()
        stack.create_entry("first", "-entryID", "1", "-selector", "unix:gid:0")
        stack.create_entry(
            *("full", "-entryID", "2", "-downstream", "-admin", "-hint", "h", "-dns", "a.org"),
            *("-x509SVIDTTL", "120", "-jwtSVIDTTL", "60", "-entryExpiry", "4000000000"),
        )
        stack.wait_for_svids(2)
        yield Both(stack)


@pytest.mark.parametrize(
    "line",
    [
        "healthcheck",
        "healthcheck -verbose -shallow",
        "entry show",
        "entry show -output json",
        "entry show -entryID 2",
        "entry show -entryID none",
        "entry show -selector unix:gid:0",
        "entry show -selector unix:gid:0 -matchSelectorsOn exact",
        "entry show -selector nocolon",
        "entry show -selector a:b -matchSelectorsOn x",
        "entry show -parentID foo",
        "entry show -downstream",
        "entry show -hint none -output json",
        "entry count",
        "entry count -hint h -output json",
        "entry create",
        "entry create -parentID spiffe://example.org/node -spiffeID foo -selector a:b",
        "entry delete",
        "entry delete -entryID none",
        "entry delete -entryID none -output json",
        "agent list",
        "agent list -output json",
        "agent list -banned true",
        "agent list -selector nocolon",
        "agent count",
        "agent count -output json",
        "agent show",
        "agent show -spiffeID spiffe://example.org/spire/agent/none",
        "agent ban -spiffeID foo",
        "agent evict -spiffeID spiffe://example.org/spire/agent/none -output json",
        "bundle show",
        "bundle show -format spiffe",
        "bundle show -format XML",
        "bundle show -format PEM",
        "bundle show -output JSON",
        "token generate -ttl 99999999999",
        "bundle show -output json",
        "bundle show -output yaml",
        "token generate -ttl 0",
        "token generate -ttl x",
        "token generate -spiffeID spiffe://other.org/x",
        "token generate -nonsense",
        "token generate -ttl",
    ],
)
def test_a_server_command_prints_the_same(both: Both, line: str) -> None:
    both("server", line)


@pytest.mark.parametrize(
    "line",
    [
        "healthcheck",
        "healthcheck -verbose",
        "api fetch",
        "api fetch x509 -silent",
        "api fetch x509 -write /none",
        "api fetch jwt",
        "api fetch jwt -audience a",
        "api fetch jwt -audience a -spiffeID foo",
        "api fetch jwt -audience a -spiffeID spiffe://example.org/none",
        "api fetch -timeout -x",
        "api validate jwt -svid x",
        "api validate jwt -audience x",
        "api validate jwt -audience x -svid x",
    ],
)
def test_an_agent_command_prints_the_same(both: Both, line: str) -> None:
    both("agent", line)


def test_a_refused_entry_is_printed_the_same(both: Both) -> None:
    words = f"-parentID {NODE} -selector unix:uid:5"
    both("server", f"entry create {words} -spiffeID spiffe://other.org/x")
    both("server", f"entry create {words} -spiffeID spiffe://example.org/x -federatesWith none.org")


@pytest.mark.parametrize(
    "stdin", ['{"ids": ["none", "neither"]}', '{"ids": null}', '{"ids": []}', "{}", "null"]
)
def test_a_list_of_ids_is_answered_the_same(both: Both, stdin: str) -> None:
    both("server", "entry delete -file -", stdin=stdin)


@pytest.mark.parametrize(
    ("daemon", "line"),
    [
        pytest.param("server", "healthcheck -verbose", id="server healthcheck"),
        pytest.param("server", "bundle show", id="bundle show"),
        pytest.param("server", "entry show", id="entry show"),
        pytest.param("server", "entry count", id="entry count"),
        pytest.param("server", "agent list", id="agent list"),
        pytest.param("server", "agent count", id="agent count"),
        pytest.param("server", "token generate", id="token generate"),
        pytest.param("server", "entry delete -entryID x", id="entry delete"),
        pytest.param("agent", "healthcheck -verbose", id="agent healthcheck"),
        pytest.param("agent", "api fetch", id="api fetch"),
        pytest.param("agent", "api fetch jwt -audience a", id="api fetch jwt"),
        pytest.param("agent", "api validate jwt -audience a -svid x", id="api validate jwt"),
    ],
)
def test_no_one_at_home_is_told_the_same(daemon: str, line: str) -> None:
    with new_stack() as stack:
        Both(stack)(daemon, line)
