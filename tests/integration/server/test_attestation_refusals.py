"""Attestations that the server refuses, in SPIRE's codes and words; nothing is stored of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import SpireError, StatusCode
from spire_py.model.join_token import JoinToken
from spire_py.plugin_api.key_manager import KeyType

from .conftest import RunningServer, attest_request

INVALID = StatusCode.INVALID_ARGUMENT
PLAIN = make_csr(generate_key(KeyType.EC_P256))


def _params(**changes: Any) -> agent_pb2.AttestAgentRequest:
    fields: dict[str, Any] = {
        "data": types_pb2.AttestationData(type="join_token", payload=b"x"),
        "params": agent_pb2.AgentX509SVIDParams(csr=PLAIN),
        **changes,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return agent_pb2.AttestAgentRequest(params=agent_pb2.AttestAgentRequest.Params(**given))


@pytest.mark.parametrize(
    ("request_message", "code", "message"),
    [
        pytest.param(
            agent_pb2.AttestAgentRequest(challenge_response=b"x"),
            INVALID,
            "malformed param: missing params",
            id="no params",
        ),
        pytest.param(
            _params(data=None), INVALID, "malformed param: missing attestation data", id="no data"
        ),
        pytest.param(
            _params(params=None),
            INVALID,
            "malformed param: missing X509-SVID parameters",
            id="no svid params",
        ),
        pytest.param(
            _params(params=agent_pb2.AgentX509SVIDParams()),
            INVALID,
            "malformed param: missing CSR",
            id="no csr",
        ),
        pytest.param(
            _params(data=types_pb2.AttestationData(payload=b"x")),
            INVALID,
            "malformed param: missing attestation data type",
            id="no type",
        ),
        pytest.param(
            _params(data=types_pb2.AttestationData(type="join_token")),
            INVALID,
            "malformed param: missing attestation data payload",
            id="no payload",
        ),
        pytest.param(
            attest_request("x", PLAIN, kind="x"),
            StatusCode.FAILED_PRECONDITION,
            'error getting node attestor: could not find node attestor type "x"',
            id="unknown type",
        ),
        pytest.param(
            attest_request("nobody's", PLAIN),
            INVALID,
            "failed to attest: join token does not exist or has already been used",
            id="unknown token",
        ),
    ],
)
async def test_a_bad_attestation_is_refused(
    server: RunningServer,
    request_message: agent_pb2.AttestAgentRequest,
    code: StatusCode,
    message: str,
) -> None:
    with pytest.raises(SpireError) as refused:
        await server.attest_call([request_message])
    assert (refused.value.code, refused.value.message) == (code, message)
    assert await server.datastore.count_agents() == 0


async def test_an_attestation_without_a_request_is_refused(server: RunningServer) -> None:
    with pytest.raises(SpireError) as refused:
        await server.attest_call([])
    assert refused.value.code == INVALID


async def test_an_old_join_token_is_refused_and_used_up(server: RunningServer) -> None:
    past = datetime.now(UTC) - timedelta(seconds=5)
    await server.datastore.create_join_token(JoinToken("old", past))
    for message in (
        "join token expired",
        "failed to attest: join token does not exist or has already been used",
    ):
        with pytest.raises(SpireError) as refused:
            await server.attest("old")
        assert (refused.value.code, refused.value.message) == (INVALID, message)


async def test_a_bad_csr_admits_no_agent(server: RunningServer) -> None:
    token = await server.join_token()
    with pytest.raises(SpireError, match="failed to parse CSR: ") as refused:
        await server.attest_call([attest_request(token, b"no csr")])
    assert refused.value.code == INVALID
    assert await server.datastore.count_agents() == 0
