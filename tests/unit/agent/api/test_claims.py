"""Which claims of a foreign token a workload is shown is the operator's choice (feature C18)."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict

from spire_py._proto import workload_pb2
from tests.unit.agent.builders import OTHER, Authority, entry
from tests.unit.agent.endpoint import open_endpoint


async def test_named_claims_of_a_foreign_token_are_shown_too() -> None:
    other = Authority(OTHER)
    async with open_endpoint(allowed_foreign_jwt_claims=("iat", "jti")) as endpoint:
        endpoint.register(entry("a", federates_with=(OTHER,)), bundles=[other.bundle])
        token = other.token("spiffe://other.test/a", jti="once")
        response = await endpoint.call(
            "ValidateJWTSVID",
            workload_pb2.ValidateJWTSVIDRequest(audience="audience", svid=token),
            workload_pb2.ValidateJWTSVIDResponse,
        )
    claims = MessageToDict(response.claims)
    assert sorted(claims) == ["aud", "exp", "iat", "jti", "sub"]
    assert claims["jti"] == "once"
