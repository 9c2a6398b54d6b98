"""Keys of the configuration have their effect in daemons that run: keys, lifetimes, names, logs."""

from __future__ import annotations

import json
import os
import re
import signal
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from spire_py._proto import workload_pb2
from spire_py.transport import Channel
from tests.integration.daemons import TRUST_DOMAIN, Process, Stack, new_stack

SERVER_KEYS = """
  ca_key_type = "rsa-2048"
  jwt_key_type = "ec-p384"
  ca_ttl = "10h"
  ca_subject { country = ["DE"] organization = ["ACME"] common_name = "Root" }
  default_x509_svid_ttl = "20m"
  default_jwt_svid_ttl = "2m"
  agent_ttl = "40m"
  jwt_issuer = "https://issuer.example.org"
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Both daemons with settings that are nobody's defaults, and one workload."""
    with new_stack(
        server_keys=SERVER_KEYS, agent_keys='workload_x509_svid_key_type = "rsa-2048"'
    ) as made:
        made.start_server()
        made.start_agent()
        made.create_entry("workload")
        made.wait_for_svids(1)
        yield made


def life(certificate: x509.Certificate) -> timedelta:
    """Without the ten seconds by which certificates are backdated."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return end - begin - timedelta(seconds=10)


def written(stack: Stack, folder: Path) -> tuple[x509.Certificate, x509.Certificate]:
    """The workload's certificate and the root."""
    done = stack.try_agent("api", "fetch", "x509", "-write", str(folder))
    assert done.returncode == 0, done.stderr
    leaf, root = ((folder / name).read_bytes() for name in ("svid.0.pem", "bundle.0.pem"))
    return x509.load_pem_x509_certificate(leaf), x509.load_pem_x509_certificate(root)


def certificate_in(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(b64decode(text))


def token(stack: Stack) -> str:
    done = stack.try_agent("api", "fetch", "jwt", "-audience", "x", "-output", "json")
    text: str = json.loads(done.stdout)[0]["svids"][0]["svid"]
    return text


def test_authorities_are_as_configured(stack: Stack, tmp_path: Path) -> None:
    _, root = written(stack, tmp_path)
    key = root.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert life(root) == timedelta(hours=10)
    subject = {item.rfc4514_attribute_name: item.value for item in root.subject}
    assert (subject["C"], subject["O"], subject["CN"]) == ("DE", "ACME", "Root")


def test_svids_live_as_long_and_have_keys_as_configured(stack: Stack, tmp_path: Path) -> None:
    leaf, root = written(stack, tmp_path)
    assert isinstance(leaf.public_key(), rsa.RSAPublicKey)
    assert life(leaf) == timedelta(minutes=20)
    assert leaf.issuer == root.subject
    agents = json.loads(stack.server("agent", "list", "-output", "json"))["agents"]
    path = stack.folder / "agent-data" / "agent-data.json"
    stored = certificate_in(json.loads(path.read_text())["svid"][0])
    assert life(stored) == timedelta(minutes=40)
    assert isinstance(stored.public_key(), ec.EllipticCurvePublicKey)
    assert int(agents[0]["x509svid_serial_number"]) == stored.serial_number


def test_tokens_are_as_configured(stack: Stack) -> None:
    text = token(stack)
    claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    assert jwt.get_unverified_header(text)["alg"] == "ES384"
    assert claims["iss"] == "https://issuer.example.org"
    assert claims["exp"] - claims["iat"] == 120


@pytest.mark.parametrize("daemon", ["server", "agent"])
def test_a_log_file_is_opened_anew_when_it_was_moved(daemon: str) -> None:
    with new_stack() as stack:
        log = stack.folder / "daemon.log"
        keys = f'log_file = "{log}"\nlog_format = "json"\nlog_source_location = true'
        if daemon == "server":
            stack.server_keys = keys
            process = stack.launch_server()
        else:
            stack.start_server()
            stack.agent_keys = keys
            process = stack.launch_agent()
        ask_until(stack, daemon, lambda healthy: healthy)
        first = json.loads(log.read_text().splitlines()[0])
        assert {"level", "msg", "time", "file", "func"} <= set(first)
        moved = log.rename(stack.folder / "daemon.log.1")
        process.popen.send_signal(signal.SIGUSR2)
        ask_until(stack, daemon, lambda _healthy: log.exists())
        assert process.stop() == 0
        assert "stopped gracefully" in log.read_text()
        assert "stopped gracefully" not in moved.read_text()
        assert process.output == ""


def ask_until(stack: Stack, daemon: str, enough: Callable[[bool], bool]) -> None:
    """Check the daemon's health, again and again, until that is enough."""
    ask = stack.try_server if daemon == "server" else stack.try_agent
    for _ in range(200):
        if enough(ask(daemon, "healthcheck").returncode == 0):
            return
    pytest.fail(f"the {daemon} does not come so far")


def test_keys_in_memory_are_gone_with_the_process_and_that_is_warned_of() -> None:
    with new_stack() as stack:
        stack.start_server().stop()
        in_memory(stack.folder / "server.conf")
        server = again(stack, stack.server_program, "server.conf")
        server.wait_for("Starting Server APIs", count=2)
        before = stack.server("bundle", "show")
        stack.start_agent().stop()
        in_memory(stack.folder / "agent.conf")
        (stack.folder / "agent-data" / "agent-data.json").unlink()
        agent = again(stack, stack.agent_program, "agent.conf", "-joinToken", stack.join_token())
        agent.wait_for("Starting agent APIs")
        assert "the 'memory' key manager is in use" in agent.output
        assert not (stack.folder / "agent-data" / "keys.json").exists()
        assert server.stop() == 0
        again(stack, stack.server_program, "server.conf").wait_for("Starting Server APIs", count=2)
        bundle = stack.server("bundle", "show")
        assert bundle != before
        assert bundle.startswith(before)


def test_a_missing_data_folder_is_made() -> None:
    with new_stack() as stack:
        stack.start_server().stop()
        folder = stack.folder / "not" / "yet"
        server = again(stack, stack.server_program, "server.conf", "-dataDir", str(folder))
        server.wait_for("Starting Server APIs", count=2)
        assert folder.is_dir()


def test_selectors_are_logged_where_the_operator_wants_them() -> None:
    with new_stack(agent_keys='log_selectors = ["unix:uid"]') as stack:
        stack.start_server()
        agent = stack.start_agent()
        assert stack.try_agent("api", "fetch", "-timeout", "1s").returncode == 1
        agent.wait_for("No identity issued")
        (line,) = {line.partition("pid=")[0] for line in agent.lines if "No identity" in line}
        everything = "\n".join(line for line in agent.lines if "No identity issued" in line)
        assert f'selectors="unix:uid:{os.getuid()}"' in everything
        assert "unix:gid" not in everything
        assert "level=error" in line


async def test_an_agent_has_the_options_that_clusters_need() -> None:
    keys = """
      allow_unauthenticated_verifiers = true
      availability_target = "24h"
      x509_svid_cache_max_size = 1
    """
    with new_stack(agent_keys=keys) as stack:
        stack.start_server()
        agent = stack.start_agent()
        # Nobody has an identity yet.
        async with (
            aclosing(Channel.unix(stack.agent_socket)) as channel,
            channel.server_stream(
                "/SpiffeWorkloadAPI/FetchX509Bundles",
                workload_pb2.X509BundlesRequest(),
                workload_pb2.X509BundlesResponse,
                timeout=20.0,
                metadata=[("workload.spiffe.io", "true")],
            ) as messages,
        ):
            assert list((await anext(aiter(messages))).bundles) == [f"spiffe://{TRUST_DOMAIN}"]
        stack.create_entry("absent", "-selector", "unix:uid:4242424")
        stack.create_entry("present")
        stack.wait_for_svids(1)
        agent.wait_for("X509 SVID lifetime isn't long enough to guarantee the availability_target")
        # The node's own entry fills the cache.
        assert "/absent" not in agent.output


def in_memory(config: Path) -> None:
    """Let the daemon keep its keys in memory, and take away those that it had on the disk."""
    text = config.read_text()
    config.write_text(
        re.sub(r'KeyManager "disk" \{.*?\}\s*\}', 'KeyManager "memory" {}', text, flags=re.DOTALL)
    )
    for keys in config.parent.glob("*/keys.json"):
        keys.unlink()


def again(stack: Stack, program: tuple[str, ...], config: str, *words: str) -> Process:
    process = Process([*program, "run", "-config", str(stack.folder / config), *words])
    stack.processes.append(process)
    return process
