"""The agent's end of x509pop, and what the two ends say to each other."""

from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.node_attestor.x509pop import agent as agent_end
from spire_py_plugins.node_attestor.x509pop.messages import (
    ECDSA,
    RSA,
    read_message,
    read_payload,
    write_message,
    write_payload,
)
from spire_py_plugins.node_attestor.x509pop.proof import proof_for, respond

from spire_py.errors import (
    FailedPrecondition,
    InvalidArgument,
)
from spire_py.plugin_api.context import PluginContext
from tests.contracts.node_attestor import attest
from tests.fakes.pki import Issued, issue
from tests.unit.plugins.node_attestor.x509pop_nodes import (
    INTERMEDIATE,
    ROOT,
    RSA_KEY,
    MakeServer,
    agent_of,
)


def write_identity(directory: Path, leaf: Issued) -> dict[str, str]:
    (directory / "cert.pem").write_text(leaf.pem)
    (directory / "key.pem").write_text(leaf.key_pem)
    return {
        "certificate_path": str(directory / "cert.pem"),
        "private_key_path": str(directory / "key.pem"),
    }


async def test_the_agent_reads_its_files_anew(
    make_server: MakeServer, tmp_path: Path, context: PluginContext
) -> None:
    first, second = issue(INTERMEDIATE, name="first"), issue(INTERMEDIATE, name="second")
    settings = write_identity(tmp_path, first)
    (tmp_path / "chain.pem").write_text(INTERMEDIATE.pem)
    agent = agent_end.configure(
        {**settings, "intermediates_path": str(tmp_path / "chain.pem")}, context
    )
    for leaf, name in ((first, "first"), (second, "second")):
        write_identity(tmp_path, leaf)
        result = await attest(make_server(), agent)
        assert str(result.selectors[0]) == f"x509pop:subject:cn:{name}"


async def test_certificate_and_key_may_lie_in_one_file(
    make_server: MakeServer, tmp_path: Path, context: PluginContext
) -> None:
    leaf = issue(INTERMEDIATE, name="node", key=RSA_KEY)
    path = tmp_path / "all.pem"
    path.write_text(leaf.key_pem + leaf.pem + INTERMEDIATE.pem)
    settings = {"certificate_path": str(path), "private_key_path": str(path)}
    await attest(make_server(), agent_end.configure(settings, context))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"cert.pem": None}, "unable to load keypair: .*No such file", id="no file"),
        pytest.param({"cert.pem": "x"}, "unable to load keypair: no PEM blocks", id="no cert"),
        pytest.param({"key.pem": "x"}, "file holds no private key", id="no key"),
        pytest.param(
            {"key.pem": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"},
            "private key is malformed or encrypted",
            id="bad key",
        ),
        pytest.param({"key.pem": ROOT.key_pem}, "key does not match", id="other key"),
        pytest.param({"key.pem": "x" * 5_000_000}, "is too long", id="too long"),
        pytest.param({"chain.pem": "x"}, "unable to load intermediate certificates", id="chain"),
    ],
)
async def test_bad_files_of_the_agent_are_told_of(
    tmp_path: Path, context: PluginContext, changes: dict[str, str | None], message: str
) -> None:
    settings = write_identity(tmp_path, issue(ROOT, name="node"))
    chain = tmp_path / "chain.pem"
    chain.write_text(ROOT.pem)
    for name, content in changes.items():
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    agent = agent_end.configure({**settings, "intermediates_path": str(chain)}, context)
    with pytest.raises(InvalidArgument, match=message) as refused:
        await agent.payload()
    assert "c2VjcmV0" not in str(refused.value)


async def test_the_agent_needs_its_payload_first() -> None:
    with pytest.raises(FailedPrecondition):
        await agent_of(issue(ROOT, name="node")).respond(b"{}")


@pytest.mark.parametrize(
    "challenge",
    [
        pytest.param(b"{}", id="none"),
        pytest.param(write_message(RSA, nonce=b"n" * 32), id="other kind"),
        pytest.param(write_message(ECDSA, nonce=b"n"), id="short nonce"),
    ],
)
async def test_the_agent_signs_no_other_challenge(challenge: bytes) -> None:
    agent = agent_of(issue(ROOT, name="node"))
    await agent.payload()
    with pytest.raises(InvalidArgument, match=r"^failed to calculate challenge response: "):
        await agent.respond(challenge)


def test_the_agent_needs_certificate_and_key(context: PluginContext) -> None:
    with pytest.raises(InvalidArgument) as refused:
        agent_end.configure({}, context)
    assert str(refused.value) == "private_key_path is required; certificate_path is required"


def test_messages_are_as_spire_writes_them() -> None:
    assert json.loads(write_payload([b"a", b"b"])) == {"certificates": ["YQ==", "Yg=="]}
    challenge = json.loads(proof_for(RSA_KEY.public_key()).challenge)
    assert len(base64.b64decode(challenge["rsa_signature"]["nonce"])) == 32
    assert challenge["ecdsa_signature"] is None
    response = json.loads(respond(RSA_KEY, json.dumps(challenge).encode()))
    assert sorted(response["rsa_signature"]) == ["nonce", "signature"]


@given(st.binary(max_size=400))
def test_any_message_is_read_or_refused(message: bytes) -> None:
    for read in (
        lambda: read_payload(message),
        lambda: read_message(message, RSA, ("nonce", "signature")),
    ):
        with contextlib.suppress(InvalidArgument):
            read()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["certificates", RSA, "nonce", "r"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_read_or_refused(document: object) -> None:
    message = json.dumps(document).encode()
    for read in (
        lambda: read_payload(message),
        lambda: read_message(message, RSA, ("nonce", "signature")),
    ):
        with contextlib.suppress(InvalidArgument):
            read()
