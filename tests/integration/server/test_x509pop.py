"""x509pop over the wire: each of our ends with the other, and with SPIRE's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from spire_py.crypto.keys import PrivateKey
from tests.fakes.pki import issue
from tests.integration.daemons import OUR_AGENT, OUR_SERVER, Stack, new_stack
from tests.peers.find import peer_binary

ROOT = issue(name="root", is_ca=True)
INTERMEDIATE = issue(ROOT, name="intermediate", is_ca=True)

KEYS = [
    pytest.param(ec.generate_private_key(ec.SECP256R1()), id="P-256"),
    pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
    pytest.param(rsa.generate_private_key(public_exponent=65537, key_size=2048), id="RSA"),
]


@pytest.fixture
def stack() -> Iterator[Stack]:
    with new_stack() as made:
        yield made


def attests(stack: Stack, key: PrivateKey) -> None:
    """The agent gets its SVID, and the server knows its certificate."""
    leaf = issue(INTERMEDIATE, name="node-1", key=key, uris=["x509pop://example.org/zone/eu"])
    files = {"ca": ROOT.pem, "cert": leaf.pem, "key": leaf.key_pem, "chain": INTERMEDIATE.pem}
    for name, content in files.items():
        (stack.folder / f"{name}.pem").write_text(content)
    stack.server_plugins = f"""
      NodeAttestor "x509pop" {{ plugin_data {{
        ca_bundle_path = "{stack.folder}/ca.pem"
        agent_path_template = "/{{{{ .PluginName }}}}/{{{{ .Subject.CommonName | upper }}}}"
      }} }}"""
    stack.agent_attestor = f"""
      NodeAttestor "x509pop" {{ plugin_data {{
        certificate_path = "{stack.folder}/cert.pem"
        private_key_path = "{stack.folder}/key.pem"
        intermediates_path = "{stack.folder}/chain.pem"
      }} }}"""
    stack.start_server()
    stack.start_agent()
    [agent] = json.loads(stack.server("agent", "list", "-output", "json"))["agents"]
    assert agent["id"]["path"] == "/spire/agent/x509pop/NODE-1"
    assert agent["attestation_type"] == "x509pop"
    assert agent["can_reattest"] is True
    assert sorted(each["value"] for each in agent["selectors"]) == sorted(
        [
            "subject:cn:node-1",
            f"ca:fingerprint:{hashlib.sha1(INTERMEDIATE.der).hexdigest()}",
            f"ca:fingerprint:{hashlib.sha1(ROOT.der).hexdigest()}",
            f"serialnumber:{hex_of(leaf.certificate.serial_number)}",
            "san:zone:eu",
        ]
    )


def hex_of(serial_number: int) -> str:
    text = f"{serial_number:x}"
    return text.zfill(len(text) + len(text) % 2)


@pytest.mark.parametrize("key", KEYS)
def test_our_agent_attests_to_our_server(stack: Stack, key: PrivateKey) -> None:
    stack.server_program, stack.agent_program = OUR_SERVER, OUR_AGENT
    attests(stack, key)


@pytest.mark.peer("spire-agent")
@pytest.mark.parametrize("key", KEYS)
def test_spires_agent_attests_to_our_server(stack: Stack, key: PrivateKey) -> None:
    stack.agent_program = (str(peer_binary("spire-agent")),)
    attests(stack, key)


@pytest.mark.peer("spire-server")
@pytest.mark.parametrize("key", KEYS)
def test_our_agent_attests_to_spires_server(stack: Stack, key: PrivateKey) -> None:
    stack.server_program = (str(peer_binary("spire-server")),)
    attests(stack, key)
