"""Tokens, the bundle, health, and how a command finds its socket (E3, E4, E11, E31, E32)."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from cryptography import x509

from tests.integration.cli.commands import Outcome, Shell, command
from tests.integration.daemons import Stack

TOKEN = r"Token: [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n"


def test_a_token_with_an_id_is_one_line(server: Shell) -> None:
    made = server("token generate -spiffeID spiffe://example.org/node -ttl 600")
    assert made.code == 0
    assert re.fullmatch(TOKEN, made.out)
    alias = server("entry show -spiffeID spiffe://example.org/node").out
    parent = f"spiffe://example.org/spire/agent/join_token/{made.out.split()[1]}"
    assert f"Selector                : spiffe_id:{parent}\n" in alias


def test_a_token_without_an_id_warns_on_stdout(server: Shell) -> None:
    made = server("token generate")
    assert re.fullmatch(TOKEN + "Warning: Missing SPIFFE ID.\n", made.out)
    assert made.err == ""


@pytest.mark.parametrize(("words", "seconds"), [("", 600), ("-ttl 90", 90)])
def test_a_token_as_json(server: Shell, words: str, seconds: int) -> None:
    before = int(time.time())
    token = server(f"token generate {words} -output json").json
    assert sorted(token) == ["expires_at", "value"]
    assert token["expires_at"].isdigit()
    assert before + seconds <= int(token["expires_at"]) <= time.time() + seconds


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param("-spiffeID foo", "scheme is missing or invalid", id="no ID"),
        pytest.param(
            "-ttl 0",
            "rpc error: code = InvalidArgument desc = ttl is required, you must provide one",
            id="no TTL",
        ),
        pytest.param(
            "-ttl -5",
            "rpc error: code = InvalidArgument desc = ttl is required, you must provide one",
            id="negative TTL",
        ),
        pytest.param(
            "-spiffeID spiffe://other.org/x",
            "rpc error: code = InvalidArgument desc = invalid agent ID: "
            '"spiffe://other.org/x" is not a member of trust domain "example.org"',
            id="foreign ID",
        ),
        pytest.param(
            "-ttl 9999999999",
            "invalid value for TTL: overflow converting int(9999999999) to int32",
            id="TTL of more than 32 bits",
        ),
    ],
)
def test_a_token_is_refused_with_the_reason(server: Shell, words: str, message: str) -> None:
    refused = server(f"token generate {words}")
    assert (refused.code, refused.out, refused.err) == (1, "", f"Error: {message}\n")


def test_the_bundle_is_pem_and_nothing_else(server: Shell) -> None:
    shown = server("bundle show")
    (root,) = x509.load_pem_x509_certificates(shown.out.encode())
    assert shown.out.startswith("-----BEGIN CERTIFICATE-----\n")
    assert shown.out.endswith("-----END CERTIFICATE-----\n")
    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.org"]


def test_the_bundle_as_a_spiffe_document_is_indented(server: Shell) -> None:
    shown = server("bundle show -format spiffe")
    document = json.loads(shown.out)
    assert shown.out.startswith('{\n    "keys": [\n        {\n')
    assert {key["use"] for key in document["keys"]} == {"x509-svid", "jwt-svid"}
    assert document["spiffe_sequence"] > 0


def test_the_bundle_as_json_is_the_message(server: Shell) -> None:
    document = server("bundle show -output json").json
    assert document["trust_domain"] == "example.org"
    assert document["x509_authorities"][0]["tainted"] is False
    assert isinstance(document["sequence_number"], str)


@pytest.mark.parametrize(
    ("words", "same_as"),
    [
        pytest.param("-format PEM", "", id="format"),
        pytest.param("-format SPIFFE", "-format spiffe", id="another format"),
        pytest.param("-format=", "", id="empty format"),
        pytest.param("-output JSON", "-output json", id="output"),
        pytest.param("-output Pretty", "", id="plain output"),
    ],
)
def test_a_format_may_be_in_capitals(server: Shell, words: str, same_as: str) -> None:
    shown = server(f"bundle show {words}")
    assert (shown.code, shown.out) == (0, server(f"bundle show {same_as}").out)


def test_an_unknown_format_is_refused(server: Shell) -> None:
    assert server("bundle show -format xml").err == 'Error: invalid format: "xml"\n'
    refused = server("bundle show -output yaml")
    assert refused.code == 1
    assert refused.err.startswith(
        'invalid value "yaml" for flag -output: bad formatter flag: unknown format option: "yaml"\n'
    )


@pytest.mark.parametrize(
    ("words", "out"),
    [
        pytest.param("", "Server is healthy.\n", id="plain"),
        pytest.param("-shallow", "Server is healthy.\n", id="shallow"),
        pytest.param("-verbose", "Checking server health...\nServer is healthy.\n", id="verbose"),
    ],
)
def test_a_server_that_runs_is_healthy(server: Shell, words: str, out: str) -> None:
    assert server(f"healthcheck {words}") == Outcome(0, out, "")


def test_a_server_that_does_not_run_is_unhealthy(tmp_path: Path) -> None:
    down = Shell("spire-server", tmp_path / "none.sock")
    unhealthy = "Error: server is unhealthy: unable to determine health\n"
    assert down("healthcheck") == Outcome(1, "", unhealthy)
    reason = (
        "Failed to check health: rpc error: code = Unavailable desc = connection error: desc = "
        f'"transport: Error while dialing: dial unix {tmp_path}/none.sock: connect: '
        'no such file or directory"\n'
    )
    told = down("healthcheck -verbose")
    assert told == Outcome(1, "Checking server health...\n", reason + unhealthy)


@pytest.mark.parametrize(
    ("line", "prefix"),
    [
        pytest.param("bundle show", "", id="bundle show"),
        pytest.param("entry show", "error fetching entries: ", id="entry show"),
        pytest.param("entry count", "", id="entry count"),
        pytest.param("agent list", "", id="agent list"),
        pytest.param("token generate", "", id="token generate"),
        pytest.param("entry delete -entryID x", "", id="entry delete"),
    ],
)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("none.sock", "no such file or directory", id="no socket"),
        pytest.param("file", "connection refused", id="a plain file"),
    ],
)
def test_a_command_tells_that_no_one_listens(
    tmp_path: Path, line: str, prefix: str, name: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    refused = Shell("spire-server", tmp_path / name)(line)
    assert refused == Outcome(
        1,
        "",
        f"Error: {prefix}rpc error: code = Unavailable desc = connection error: desc = "
        f'"transport: Error while dialing: dial unix {tmp_path}/{name}: connect: {reason}"\n',
    )


def test_the_environment_names_the_socket(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRE_SERVER_PRIVATE_SOCKET", str(stack.server_socket))
    assert command("spire-server", "healthcheck").code == 0
    assert command("spire-py", "server", "healthcheck").code == 0


def test_an_instance_goes_into_the_template(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "SPIRE_SERVER_PRIVATE_SOCKET_TEMPLATE"
    monkeypatch.setenv(name, f"{stack.folder}/%i.sock")
    assert command("spire-server", "healthcheck", "-instance", "server").code == 0
    assert command("spire-server", "healthcheck", "-instance", "other").code == 1
    monkeypatch.setenv(name, "/no/place")
    refused = command("spire-server", "bundle", "show", "-instance", "server")
    assert refused.err == f"Error: failed to find %i in {name}\n"
    monkeypatch.delenv(name)
    refused = command("spire-server", "bundle", "show", "-instance", "server")
    assert refused.err == f"Error: you must define {name} to use the instance flag\n"


def test_commands_of_both_daemons_go_by_our_name_too(stack: Stack) -> None:
    both = Shell("spire-py", stack.server_socket)
    assert both("bundle show").out == Shell("spire-server", stack.server_socket)("bundle show").out
    assert both("entry list").code == 0


def test_words_that_are_no_flags_are_told(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRE_SERVER_PRIVATE_SOCKET", str(stack.server_socket))
    shown = command("spire-server", "entry", "show", "-hint", "none", "false", "-downstream")
    warning = 'warning: "false" is no flag; ignored: false -downstream\n'
    assert shown == Outcome(0, "Found 0 entries\n", warning)


def test_a_server_that_lacks_the_service_is_told(tmp_path: Path, stack: Stack) -> None:
    refused = Shell("spire-agent", stack.server_socket)("api fetch")
    assert refused == Outcome(
        1, "", "rpc error: code = Unimplemented desc = unknown service SpiffeWorkloadAPI\n"
    )
