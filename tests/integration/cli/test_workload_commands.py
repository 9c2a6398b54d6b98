"""`api fetch`, `api validate jwt` and `api watch` on a running agent (features F3 to F7)."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.integration.cli.commands import Outcome, Shell
from tests.integration.daemons import OURS, Process, Stack, new_stack

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC"
VALIDITY = (
    rf"SVID Valid After:\t{TIME}\nSVID Valid Until:\t{TIME}\n"
    rf"CA #1 Valid After:\t{TIME}\nCA #1 Valid Until:\t{TIME}\n"
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """An agent with two identities for this user; the second has a hint and a DNS name."""
    with new_stack() as stack:
        stack.start_server()
        stack.start_agent()
        stack.create_entry("first", "-entryID", "1")
        stack.create_entry("second", "-entryID", "2", "-hint", "other", "-dns", "d.example.org")
        stack.wait_for_svids(2)
        yield stack


@pytest.fixture(scope="module")
def agent(stack: Stack) -> Shell:
    return Shell("spire-agent", stack.agent_socket)


@pytest.fixture(scope="module")
def token(agent: Shell) -> str:
    fetched = agent("api fetch jwt -audience here -spiffeID spiffe://example.org/first")
    return fetched.out.splitlines()[1].strip()


def test_an_agent_that_runs_is_healthy(agent: Shell) -> None:
    assert agent("healthcheck") == Outcome(0, "Agent is healthy.\n", "")
    checked = agent("healthcheck -verbose -shallow")
    assert checked.out == "Checking agent health...\nAgent is healthy.\n"


def test_a_timeout_of_zero_is_none(agent: Shell, token: str) -> None:
    given = f"api validate jwt -timeout 0s -audience here -svid {token}"
    for command in ("api fetch jwt -timeout 0s -audience here", given):
        answered = agent(command)
        assert (answered.code, answered.err) == (0, "")


def test_an_agent_that_does_not_run_is_unhealthy(tmp_path: Path) -> None:
    down = Shell("spire-agent", tmp_path / "none.sock")
    unhealthy = "Agent is unhealthy: unable to determine health\n"
    assert down("healthcheck") == Outcome(1, "", unhealthy)
    told = down("healthcheck -verbose")
    assert told.err.startswith("Failed to check health: rpc error: code = Unavailable desc = ")
    assert told.err.endswith(unhealthy)


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        pytest.param("api fetch", "", id="fetch"),
        pytest.param("api fetch x509", "", id="fetch x509"),
        pytest.param(
            "api fetch jwt -audience a", "failed to receive JWT bundles: ", id="fetch jwt"
        ),
        pytest.param(
            "api validate jwt -audience a -svid x",
            "unable to validate JWT SVID: ",
            id="validate jwt",
        ),
    ],
)
def test_a_command_tells_that_no_agent_listens(tmp_path: Path, line: str, prefix: str) -> None:
    assert Shell("spire-agent", tmp_path / "none.sock")(line) == Outcome(
        1,
        "",
        f"{prefix}rpc error: code = Unavailable desc = connection error: desc = "
        f'"transport: Error while dialing: dial unix {tmp_path}/none.sock: connect: '
        'no such file or directory"\n',
    )


@pytest.mark.parametrize("line", ["api fetch", "api fetch x509"])
def test_svids_are_printed_with_their_lifetimes(agent: Shell, line: str) -> None:
    fetched = agent(line)
    assert fetched.code == 0
    assert re.fullmatch(
        r"Received 2 svids after [\d.]+(µs|ms|s)\n\n"
        rf"SPIFFE ID:\t\tspiffe://example.org/first\n{VALIDITY}\n"
        rf"SPIFFE ID:\t\tspiffe://example.org/second\nHint:\t\t\tother\n{VALIDITY}\n",
        fetched.out,
    )


def test_silence_prints_nothing(agent: Shell) -> None:
    assert agent("api fetch x509 -silent") == Outcome(0, "", "")


def test_svids_as_json_are_the_message(agent: Shell) -> None:
    message = agent("api fetch x509 -output json").json
    assert sorted(message) == ["crl", "federated_bundles", "svids"]
    first, second = message["svids"]
    assert first["spiffe_id"] == "spiffe://example.org/first"
    assert second["hint"] == "other"
    x509.load_der_x509_certificate(base64.b64decode(first["bundle"]))


def test_svids_are_written_with_keys_for_their_owner_only(agent: Shell, tmp_path: Path) -> None:
    (tmp_path / "svid.0.key").write_text("an older key")
    (tmp_path / "svid.0.key").chmod(0o644)
    written = agent(f"api fetch x509 -silent -write {tmp_path}")
    lines = [
        f"Writing {what} #{number} to file {tmp_path}/{name}.{number}.{ending}."
        for number in (0, 1)
        for what, name, ending in (
            ("SVID", "svid", "pem"),
            ("key", "svid", "key"),
            ("bundle", "bundle", "pem"),
        )
    ]
    assert written == Outcome(0, "\n".join([*lines, ""]), "")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "bundle.0.pem": 0o644,
        "bundle.1.pem": 0o644,
        "svid.0.key": 0o600,
        "svid.0.pem": 0o644,
        "svid.1.key": 0o600,
        "svid.1.pem": 0o644,
    }
    (leaf,) = x509.load_pem_x509_certificates((tmp_path / "svid.1.pem").read_bytes())
    key = load_pem_private_key((tmp_path / "svid.1.key").read_bytes(), None)
    assert leaf.public_key() == key.public_key()
    (root,) = x509.load_pem_x509_certificates((tmp_path / "bundle.1.pem").read_bytes())
    leaf.verify_directly_issued_by(root)


def test_a_folder_that_is_not_there_is_named(agent: Shell, tmp_path: Path) -> None:
    refused = agent(f"api fetch x509 -silent -write {tmp_path}/none")
    assert refused.code == 1
    assert refused.err == f"open {tmp_path}/none/svid.0.pem: no such file or directory\n"


def test_tokens_and_bundles_are_printed(agent: Shell) -> None:
    fetched = agent("api fetch jwt -audience one,two")
    jwt = r"[\w-]+\.[\w-]+\.[\w-]+"
    assert re.fullmatch(
        rf"token\(spiffe://example.org/first\):\n\t{jwt}\n"
        rf"token\(spiffe://example.org/second\):\n\t{jwt}\n"
        r"hint\(spiffe://example.org/second\):\n\tother\n"
        r"bundle\(spiffe://example.org\):\n\t\{\n    \"keys\": \[\n[^}]*\}\n    \]\n\}\n",
        fetched.out,
    )
    body = fetched.out.splitlines()[1].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    assert claims["aud"] == ["one", "two"]


@pytest.mark.parametrize("flag", ["output", "format"])
def test_tokens_as_json_are_a_list_of_two_messages(agent: Shell, flag: str) -> None:
    svids, bundles = agent(f"api fetch jwt -audience a -{flag} json").json
    assert [svid["spiffe_id"] for svid in svids["svids"]] == [
        "spiffe://example.org/first",
        "spiffe://example.org/second",
    ]
    assert list(bundles["bundles"]) == ["spiffe://example.org"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("api fetch jwt", "audience must be specified", id="no audience"),
        pytest.param("api fetch jwt -audience ,", "audience must be specified", id="only commas"),
        pytest.param(
            "api fetch jwt -audience a -spiffeID foo",
            "rpc error: code = InvalidArgument desc = "
            "invalid requested SPIFFE ID: scheme is missing or invalid",
            id="bad ID",
        ),
        pytest.param(
            "api fetch jwt -audience a -spiffeID spiffe://example.org/nope",
            "rpc error: code = PermissionDenied desc = no identity issued",
            id="not this workload's ID",
        ),
        pytest.param("api validate jwt -svid x", "audience must be specified", id="validate for?"),
        pytest.param("api validate jwt -audience a", "svid must be specified", id="validate what?"),
    ],
)
def test_a_token_is_refused_with_the_reason(agent: Shell, line: str, message: str) -> None:
    assert agent(line) == Outcome(1, "", f"{message}\n")


def test_a_good_token_is_valid(agent: Shell, token: str) -> None:
    checked = agent(f"api validate jwt -audience here -svid {token}")
    verdict, name, claims = checked.out.splitlines()
    assert (checked.code, verdict) == (0, "SVID is valid.")
    assert name == "SPIFFE ID : spiffe://example.org/first"
    label, _, document = claims.partition(": ")
    assert label == "Claims    "
    assert isinstance(json.loads(document)["exp"], int)
    message = agent(f"api validate jwt -audience here -svid {token} -output json").json
    assert message == {"claims": json.loads(document), "spiffe_id": "spiffe://example.org/first"}


def test_a_bad_token_is_not_valid(agent: Shell, token: str) -> None:
    for audience, svid in (("there", token), ("here", token[:-8] + "AAAAAAAA"), ("here", "x")):
        refused = agent(f"api validate jwt -audience {audience} -svid {svid}")
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith("SVID is not valid: ")


def test_a_stranger_gets_nothing() -> None:
    with new_stack() as stack:
        stack.start_server()
        stack.start_agent()
        agent = Shell("spire-agent", stack.agent_socket)
        denied = "rpc error: code = PermissionDenied desc = no identity issued\n"
        assert agent("api fetch") == Outcome(1, "", denied)
        assert agent("api fetch x509 -output json") == Outcome(1, "", denied)
        assert agent("api fetch jwt -audience x") == Outcome(1, "", denied)


def test_a_workload_is_explained(agent: Shell) -> None:
    told = agent("api explain")
    assert told.code == 0
    assert f"  unix:uid:{os.getuid()}\n" in told.out
    assert "It gets 2 identities:\n" in told.out
    assert "  spiffe://example.org/first by entry 1\n" in told.out
    message = agent(f"api explain -pid {os.getpid()} -output json").json
    assert message["pid"] == os.getpid()
    assert [item["entry_id"] for item in message["candidates"]][:2] == ["1", "2"]


@pytest.mark.parametrize("pid", ["-1", "9999999999"])
def test_only_a_process_is_explained(agent: Shell, pid: str) -> None:
    refused = agent(f"api explain -pid {pid}")
    assert refused == Outcome(1, "", "-pid must be the ID of a process\n")


def test_watch_prints_each_update_until_it_is_interrupted() -> None:
    with new_stack() as stack:
        stack.start_server()
        stack.start_agent()
        entry_id = stack.create_entry("one")
        watch = Process([*OURS, "api", "watch", "-socketPath", str(stack.agent_socket)])
        try:
            watch.wait_for("Received 1 svid after ")
            stack.create_entry("two")
            watch.wait_for("Received 2 svids after ")
            stack.server("entry", "delete", "-entryID", entry_id)
            watch.wait_for("Received 1 svid after ", count=2)
            watch.popen.send_signal(signal.SIGINT)
            assert watch.wait_for_end() == 130
            assert "Traceback" not in watch.output
        finally:
            watch.kill()


def test_watch_waits_for_an_agent_that_is_away(tmp_path: Path) -> None:
    watch = Process([*OURS, "api", "watch", "-socketPath", f"{tmp_path}/none.sock"])
    try:
        watch.wait_for("rpc error: code = Unavailable", count=2)
        assert watch.popen.poll() is None
    finally:
        watch.kill()
