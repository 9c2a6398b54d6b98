"""An agent that must not trust what it finds at the server's address."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from shutil import rmtree

import pytest

from spire_py.crypto.keys import generate_key
from spire_py.crypto.pem import certificates_to_pem
from spire_py.crypto.subject import Subject
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.plugin_api.key_manager import KeyType
from tests.integration.daemons import Stack
from tests.integration.faults.faults import content

RETRY = "Failed to retrieve attestation result"
"""SPIRE's line, after which an agent waits some 5 s, then half as long again, for a minute."""


def foreign_ca(begin: timedelta, end: timedelta, trust_domain: str = "example.org") -> str:
    now = datetime.now(UTC)
    certificate = self_signed_ca(
        generate_key(KeyType.EC_P256),
        f"spiffe://{trust_domain}",
        Subject(country=("US",)),
        now + begin,
        now + end,
    )
    return certificates_to_pem([certificate])


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param(lambda: foreign_ca(-timedelta(hours=1), timedelta(hours=1)), id="another CA"),
        pytest.param(lambda: foreign_ca(-timedelta(days=2), -timedelta(days=1)), id="expired"),
        pytest.param(
            lambda: foreign_ca(-timedelta(hours=1), timedelta(hours=1), "other.org"),
            id="another trust domain",
        ),
    ],
)
def test_a_server_that_the_bundle_does_not_vouch_for_never_gets_the_token(
    stack: Stack, bundle: Callable[[], str]
) -> None:
    server = stack.start_server()
    token = stack.join_token()
    agent = stack.launch_agent(token=token, bundle=bundle())
    # Beyond the time that a connection is given to become ready.
    agent.wait_for(RETRY, count=4)
    assert "certificate verify failed" in agent.output
    assert "retry_interval=" in agent.output
    agent.kill()
    assert any(token in row for row in content(stack)["join_tokens"])
    assert token not in server.output
    stack.start_agent(token=token)


def test_a_server_of_another_trust_domain_never_gets_the_token(stack: Stack) -> None:
    """Its certificate is good, for what it says; but it is not what the agent looks for."""
    stack.start_server().kill()
    rmtree(stack.folder / "server-data")
    (stack.folder / "server-data").mkdir()
    config = stack.folder / "server.conf"
    config.write_text(config.read_text().replace('"example.org"', '"other.org"'))
    server = stack._start(*stack.server_program, "run", "-config", str(config))
    server.wait_for("Starting Server APIs", count=2)
    agent = stack.launch_agent(token="secret-token")
    agent.wait_for(RETRY)
    assert "no X509 bundle for trust domain" in agent.output
    agent.kill()
    assert "secret-token" not in server.output
    assert "AttestAgent" not in server.output


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
def test_a_bundle_that_is_none_is_told_and_the_token_kept(stack: Stack, text: str) -> None:
    stack.start_server()
    token = stack.join_token()
    agent = stack.launch_agent(token=token)
    agent.kill()
    for path in (stack.folder / "agent-data").glob("*"):
        path.unlink()
    token = stack.join_token()
    (stack.folder / "bundle.pem").write_text(text)
    config = str(stack.folder / "agent.conf")
    agent = stack._start(*stack.agent_program, "run", "-config", config, "-joinToken", token)
    agent.wait_for(RETRY)
    assert "could not parse trust bundle: " in agent.output
    agent.kill()
    assert any(token in row for row in content(stack)["join_tokens"])


def test_a_token_that_is_spent_is_refused_with_a_clear_line(stack: Stack) -> None:
    stack.start_server()
    token = stack.join_token()
    stack.start_agent(token=token).kill()
    for path in (stack.folder / "agent-data").glob("*"):
        path.unlink()
    agent = stack.launch_agent(token=token)
    agent.wait_for("failed to attest: join token does not exist or has already been used")
    agent.wait_for(RETRY)
    assert token not in agent.output


def test_no_token_shows_up_in_the_list_of_processes(stack: Stack) -> None:
    """A token may be given in a file, for the arguments are open to everyone on the host."""
    stack.start_server()
    token = stack.join_token()
    stack.launch_agent(token=token).kill()
    path = stack.folder / "token"
    path.write_text(stack.join_token())
    config = str(stack.folder / "agent.conf")
    agent = stack._start(
        *stack.agent_program, "run", "-config", config, "-joinTokenFile", str(path)
    )
    agent.wait_for("Starting agent APIs")
    shown = subprocess.run(
        ["ps", "-o", "args=", "-p", str(agent.popen.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert path.read_text() not in shown.stdout
