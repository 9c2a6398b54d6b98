from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from spire_py._proto import workload_pb2
from spire_py.crypto.keys import public_key_der
from spire_py.errors import Internal, InvalidArgument, PermissionDenied, Unavailable, Unimplemented
from spire_py.spiffe.bundle import JWTAuthority
from spire_py.spiffe.x509_svid import verify_chain
from tests.unit.agent.builders import OTHER, THIRD, Authority, entry, selectors
from tests.unit.agent.endpoint import Endpoint, open_endpoint

X509 = ("FetchX509SVID", workload_pb2.X509SVIDRequest(), workload_pb2.X509SVIDResponse)
X509_BUNDLES = (
    "FetchX509Bundles",
    workload_pb2.X509BundlesRequest(),
    workload_pb2.X509BundlesResponse,
)
JWT_BUNDLES = ("FetchJWTBundles", workload_pb2.JWTBundlesRequest(), workload_pb2.JWTBundlesResponse)
JWT = (
    "FetchJWTSVID",
    workload_pb2.JWTSVIDRequest(audience=["audience"]),
    workload_pb2.JWTSVIDResponse,
)
VALIDATE = (
    "ValidateJWTSVID",
    workload_pb2.ValidateJWTSVIDRequest(audience="audience", svid="a.b.c"),
    workload_pb2.ValidateJWTSVIDResponse,
)
STREAMS = [
    pytest.param(X509, id="FetchX509SVID"),
    pytest.param(X509_BUNDLES, id="FetchX509Bundles"),
    pytest.param(JWT_BUNDLES, id="FetchJWTBundles"),
]
ALL = [
    *STREAMS,
    pytest.param(JWT, id="FetchJWTSVID"),
    pytest.param(VALIDATE, id="ValidateJWTSVID"),
]

Call = tuple[str, Message, type[Message]]


async def make(endpoint: Endpoint, call: Call, **options: Any) -> Message:
    if call[0] in ("FetchJWTSVID", "ValidateJWTSVID"):
        return await endpoint.call(*call, **options)
    return await endpoint.first(*call, **options)


class TestSecurityHeader:
    @pytest.mark.spec(82)
    @pytest.mark.parametrize("call", ALL)
    @pytest.mark.parametrize(
        "metadata",
        [
            pytest.param((), id="missing"),
            pytest.param((("workload.spiffe.io", "True"),), id="True"),
            pytest.param((("workload.spiffe.io", "1"),), id="1"),
            pytest.param((("workload.spiffe.io", ""),), id="empty"),
            pytest.param((("workload.spiffe.io", "true"),) * 2, id="twice"),
            pytest.param(
                (("workload.spiffe.io", "true"), ("workload.spiffe.io", "false")), id="both"
            ),
        ],
    )
    async def test_a_call_without_it_is_refused(
        self, endpoint: Endpoint, call: Call, metadata: tuple[tuple[str, str], ...]
    ) -> None:
        endpoint.register(entry("a"))
        with pytest.raises(InvalidArgument) as refusal:
            await make(endpoint, call, metadata=metadata)
        assert refusal.value.message == "security header missing from request"
        assert endpoint.attestor.asked == []

    @pytest.mark.spec(81, 83)
    async def test_a_call_with_it_needs_nothing_else(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a"))
        response = await endpoint.x509()
        assert [svid.spiffe_id for svid in response.svids] == ["spiffe://example.org/a"]


class TestAttestation:
    @pytest.mark.spec(87)
    @pytest.mark.parametrize("call", ALL)
    async def test_its_failure_can_heal_and_says_no_more(
        self, endpoint: Endpoint, call: Call
    ) -> None:
        endpoint.attestor.error = Internal("secret detail")
        with pytest.raises(Unavailable) as refusal:
            await make(endpoint, call)
        assert refusal.value.message == "workload attestation failed"

    @pytest.mark.spec(83)
    async def test_identity_comes_from_the_process_and_not_from_what_it_says(
        self, endpoint: Endpoint
    ) -> None:
        endpoint.register(entry("a"), entry("b", "unix:uid:0"))
        endpoint.attestor.selectors = selectors("unix:uid:0")
        response = await endpoint.x509(
            metadata=(("workload.spiffe.io", "true"), ("x-spiffe-id", "spiffe://example.org/a"))
        )
        assert [svid.spiffe_id for svid in response.svids] == ["spiffe://example.org/b"]


class TestNoIdentity:
    @pytest.mark.spec(87)
    @pytest.mark.parametrize("call", [*STREAMS, pytest.param(JWT, id="FetchJWTSVID")])
    async def test_a_caller_without_entry_is_refused(self, endpoint: Endpoint, call: Call) -> None:
        endpoint.register(entry("a", "unix:uid:1"))
        with pytest.raises(PermissionDenied) as refusal:
            await make(endpoint, call)
        assert refusal.value.message == "no identity issued"

    @pytest.mark.spec(101)
    @pytest.mark.parametrize("call", STREAMS)
    async def test_a_live_stream_ends_when_all_identities_are_withdrawn(
        self, endpoint: Endpoint, call: Call
    ) -> None:
        endpoint.register(entry("a"))
        async with endpoint.stream(*call) as messages:
            await anext(messages)
            endpoint.register()
            with pytest.raises(PermissionDenied, match="no identity issued"):
                await anext(messages)

    async def test_verifiers_may_be_given_bundles(self) -> None:
        async with open_endpoint(allow_unauthenticated_verifiers=True) as endpoint:
            endpoint.register(
                entry("a", "unix:uid:1", federates_with=(OTHER,)), bundles=[Authority(OTHER).bundle]
            )
            bundles = await endpoint.first(*X509_BUNDLES)
            assert list(bundles.bundles) == ["spiffe://example.org"]
            keys = await endpoint.first(*JWT_BUNDLES)
            assert list(keys.bundles) == ["spiffe://example.org"]
            with pytest.raises(PermissionDenied):
                await endpoint.x509()


class TestX509SVID:
    @pytest.mark.spec(91, 92, 97)
    async def test_the_first_message_comes_at_once_and_is_whole(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a", hint="internal"))
        response = await endpoint.x509()
        [svid] = response.svids
        assert svid.spiffe_id == "spiffe://example.org/a"
        assert svid.hint == "internal"
        leaf = x509.load_der_x509_certificate(svid.x509_svid)
        key = load_der_private_key(svid.x509_svid_key, password=None)
        assert public_key_der(key) == public_key_der(leaf.public_key())  # type: ignore[arg-type]
        assert svid.bundle == endpoint.authority.certificate
        bundles = {endpoint.authority.trust_domain: endpoint.authority.bundle}
        assert str(verify_chain([svid.x509_svid], bundles, endpoint.clock.now())) == svid.spiffe_id

    @pytest.mark.spec(105)
    async def test_the_default_identity_is_that_of_the_least_entry_id(
        self, endpoint: Endpoint
    ) -> None:
        endpoint.register(entry("b"), entry("c"), entry("a"))
        async with endpoint.stream(*X509) as messages:
            for _ in range(3):
                response = await anext(messages)
                assert [svid.spiffe_id[-1] for svid in response.svids] == ["a", "b", "c"]
                endpoint.register(entry("c"), entry("a"), entry("b"))

    @pytest.mark.spec(93, 94)
    async def test_a_change_brings_a_whole_new_message(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a"), entry("b"))
        async with endpoint.stream(*X509) as messages:
            first = await anext(messages)
            endpoint.register(entry("b"))
            second = await anext(messages)
        assert [svid.spiffe_id[-1] for svid in first.svids] == ["a", "b"]
        assert [svid.spiffe_id[-1] for svid in second.svids] == ["b"]

    @pytest.mark.spec(98)
    async def test_of_entries_with_one_hint_the_oldest_is_given(self, endpoint: Endpoint) -> None:
        endpoint.register(
            entry("a", hint="internal", created_at=20),
            entry("b", hint="internal", created_at=10),
            entry("c", hint="external", created_at=5),
            entry("d", hint="external", created_at=5),
            entry("e"),
            entry("f"),
        )
        response = await endpoint.x509()
        assert [svid.spiffe_id[-1] for svid in response.svids] == ["b", "c", "e", "f"]

    @pytest.mark.spec(97, 100)
    async def test_federated_bundles_are_by_trust_domain_id(self, endpoint: Endpoint) -> None:
        other, third = Authority(OTHER), Authority(THIRD)
        endpoint.register(entry("a", federates_with=(OTHER,)), bundles=[other.bundle, third.bundle])
        response = await endpoint.x509()
        assert dict(response.federated_bundles) == {"spiffe://other.test": other.certificate}

    async def test_a_new_workload_waits_for_its_svid(self, endpoint: Endpoint) -> None:
        a = entry("a")
        endpoint.authorize(a)
        async with endpoint.stream(*X509) as messages:
            waiting = asyncio.ensure_future(anext(messages))
            await asyncio.wait_for(endpoint.cache.wanted.wait(), 20)
            assert not waiting.done()
            endpoint.cache.store_svids({"a": endpoint.authority.svid(a)})
            response = await asyncio.wait_for(waiting, 20)
        assert [svid.spiffe_id for svid in response.svids] == ["spiffe://example.org/a"]

    async def test_many_streams_get_the_same_update(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a"))

        async def second_message() -> bytes:
            async with endpoint.stream(*X509) as messages:
                await anext(messages)
                started.release()
                return (await anext(messages)).SerializeToString()

        started = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as tasks:
            streams = [tasks.create_task(second_message()) for _ in range(50)]
            for _ in streams:
                await started.acquire()
            endpoint.register(entry("a"))
        assert len({stream.result() for stream in streams}) == 1


class TestBundles:
    @pytest.mark.spec(100)
    async def test_x509_bundles_are_of_the_own_and_federated_domains(
        self, endpoint: Endpoint
    ) -> None:
        other = Authority(OTHER)
        endpoint.register(entry("a", federates_with=(OTHER,)), bundles=[other.bundle])
        response = await endpoint.first(*X509_BUNDLES)
        assert dict(response.bundles) == {
            "spiffe://example.org": endpoint.authority.certificate,
            "spiffe://other.test": other.certificate,
        }

    @pytest.mark.spec(103)
    async def test_jwt_bundles_are_plain_jwks_of_jwt_keys(self, endpoint: Endpoint) -> None:
        witness = Authority()
        own = endpoint.authority.bundle.with_changes(
            wit_authorities=(JWTAuthority("wit", public_key_der(witness.jwt_key)),)
        )
        a = entry("a")
        endpoint.cache.replace({"a": a}, {own.trust_domain: own})
        endpoint.cache.store_svids({"a": endpoint.authority.svid(a)})
        response = await endpoint.first(*JWT_BUNDLES)
        jwks = json.loads(response.bundles["spiffe://example.org"])
        assert list(jwks) == ["keys"]
        assert [key["kid"] for key in jwks["keys"]] == [endpoint.authority.key_id]
        assert all("use" not in key and "x5c" not in key for key in jwks["keys"])

    @pytest.mark.spec(94)
    @pytest.mark.parametrize(
        "call", [pytest.param(X509_BUNDLES, id="X509"), pytest.param(JWT_BUNDLES, id="JWT")]
    )
    async def test_a_bundle_that_is_gone_is_left_out(self, endpoint: Endpoint, call: Call) -> None:
        other = Authority(OTHER)
        a = entry("a", federates_with=(OTHER,))
        endpoint.register(a, bundles=[other.bundle])
        async with endpoint.stream(*call) as messages:
            assert len((await anext(messages)).bundles) == 2
            endpoint.authorize(a)
            assert list((await anext(messages)).bundles) == ["spiffe://example.org"]

    async def test_a_rotated_svid_brings_no_message_of_bundles(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a", federates_with=(OTHER,)))
        async with endpoint.stream(*X509_BUNDLES) as messages:
            await anext(messages)
            endpoint.register(entry("a", federates_with=(OTHER,)))
            endpoint.authorize(
                entry("a", federates_with=(OTHER,)), bundles=[Authority(OTHER).bundle]
            )
            assert len((await anext(messages)).bundles) == 2


class TestJWTSVID:
    @pytest.mark.spec(91, 102)
    async def test_without_an_id_there_is_a_token_for_each_identity(
        self, endpoint: Endpoint
    ) -> None:
        endpoint.authorize(entry("b", hint="second"), entry("a"), entry("c", "unix:uid:1"))
        response = await endpoint.call(*JWT)
        assert [(svid.spiffe_id, svid.hint) for svid in response.svids] == [
            ("spiffe://example.org/a", ""),
            ("spiffe://example.org/b", "second"),
        ]

    @pytest.mark.spec(102)
    async def test_with_an_id_there_is_a_token_for_this_one(self, endpoint: Endpoint) -> None:
        endpoint.authorize(entry("a"), entry("b"))
        request = workload_pb2.JWTSVIDRequest(
            audience=["audience"], spiffe_id="spiffe://example.org/b"
        )
        response = await endpoint.call("FetchJWTSVID", request, workload_pb2.JWTSVIDResponse)
        assert [svid.spiffe_id for svid in response.svids] == ["spiffe://example.org/b"]

    @pytest.mark.spec(102)
    async def test_an_id_of_another_is_refused(self, endpoint: Endpoint) -> None:
        endpoint.authorize(entry("a"), entry("b", "unix:uid:1"))
        request = workload_pb2.JWTSVIDRequest(
            audience=["audience"], spiffe_id="spiffe://example.org/b"
        )
        with pytest.raises(PermissionDenied, match="no identity issued"):
            await endpoint.call("FetchJWTSVID", request, workload_pb2.JWTSVIDResponse)
        assert endpoint.signer.calls == []

    @pytest.mark.spec(98)
    async def test_of_entries_with_one_hint_the_oldest_gets_a_token(
        self, endpoint: Endpoint
    ) -> None:
        endpoint.authorize(
            entry("a", hint="internal", created_at=2), entry("b", hint="internal", created_at=1)
        )
        response = await endpoint.call(*JWT)
        assert [svid.spiffe_id[-1] for svid in response.svids] == ["b"]

    @pytest.mark.spec(96)
    @pytest.mark.parametrize(
        "audience", [pytest.param([], id="none"), pytest.param([""], id="empty")]
    )
    async def test_an_audience_must_be_given(self, endpoint: Endpoint, audience: list[str]) -> None:
        endpoint.authorize(entry("a"))
        request = workload_pb2.JWTSVIDRequest(audience=audience)
        with pytest.raises(InvalidArgument) as refusal:
            await endpoint.call("FetchJWTSVID", request, workload_pb2.JWTSVIDResponse)
        assert refusal.value.message == "audience must be specified"

    async def test_a_malformed_id_is_named(self, endpoint: Endpoint) -> None:
        request = workload_pb2.JWTSVIDRequest(audience=["x"], spiffe_id="example.org/a")
        with pytest.raises(InvalidArgument) as refusal:
            await endpoint.call("FetchJWTSVID", request, workload_pb2.JWTSVIDResponse)
        assert refusal.value.message == "invalid requested SPIFFE ID: scheme is missing or invalid"

    async def test_a_server_that_is_away_can_come_back(self, endpoint: Endpoint) -> None:
        endpoint.authorize(entry("a"))
        endpoint.signer.error = Unavailable("connection refused")
        with pytest.raises(Unavailable) as refusal:
            await endpoint.call(*JWT)
        assert refusal.value.message.startswith("could not fetch JWT-SVID: ")


class TestValidation:
    async def validate(
        self, endpoint: Endpoint, token: str, audience: str = "audience"
    ) -> workload_pb2.ValidateJWTSVIDResponse:
        return await endpoint.call(
            "ValidateJWTSVID",
            workload_pb2.ValidateJWTSVIDRequest(audience=audience, svid=token),
            workload_pb2.ValidateJWTSVIDResponse,
        )

    @pytest.mark.spec(104)
    async def test_a_good_token_gives_its_id_and_claims(self, endpoint: Endpoint) -> None:
        token = endpoint.authority.token()
        response = await self.validate(endpoint, token)
        assert response.spiffe_id == "spiffe://example.org/workload"
        now = endpoint.clock.now().timestamp()
        assert MessageToDict(response.claims) == {
            "sub": "spiffe://example.org/workload",
            "aud": ["audience"],
            "iat": now,
            "exp": now + 300,
        }

    @pytest.mark.spec(104)
    async def test_an_expired_token_is_refused(self, endpoint: Endpoint) -> None:
        token = endpoint.authority.token(lifetime=timedelta(minutes=1))
        await endpoint.clock.advance(timedelta(minutes=10))
        with pytest.raises(InvalidArgument, match="token has expired"):
            await self.validate(endpoint, token)

    @pytest.mark.spec(104)
    async def test_a_token_for_another_audience_is_refused(self, endpoint: Endpoint) -> None:
        with pytest.raises(InvalidArgument, match="expected audience in"):
            await self.validate(endpoint, endpoint.authority.token(), audience="else")

    @pytest.mark.spec(104)
    async def test_a_token_of_a_domain_the_caller_does_not_trust_is_refused(
        self, endpoint: Endpoint
    ) -> None:
        other = Authority(OTHER)
        endpoint.register(entry("a"), bundles=[other.bundle])
        with pytest.raises(InvalidArgument):
            await self.validate(endpoint, other.token("spiffe://other.test/a"))

    async def test_a_foreign_token_shows_the_claims_of_the_spec_only(
        self, endpoint: Endpoint
    ) -> None:
        other = Authority(OTHER)
        endpoint.register(entry("a", federates_with=(OTHER,)), bundles=[other.bundle])
        response = await self.validate(endpoint, other.token("spiffe://other.test/a"))
        assert sorted(MessageToDict(response.claims)) == ["aud", "exp", "sub"]

    @pytest.mark.spec(96)
    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            pytest.param({"svid": "x"}, "audience must be specified", id="audience"),
            pytest.param({"audience": "x"}, "svid must be specified", id="svid"),
        ],
    )
    async def test_both_fields_must_be_given(
        self, endpoint: Endpoint, request_: dict[str, str], message: str
    ) -> None:
        with pytest.raises(InvalidArgument) as refusal:
            await endpoint.call(
                "ValidateJWTSVID",
                workload_pb2.ValidateJWTSVIDRequest(**request_),
                workload_pb2.ValidateJWTSVIDResponse,
            )
        assert refusal.value.message == message


@pytest.mark.spec(87)
async def test_a_caller_who_calls_too_often_may_come_again() -> None:
    limits = {"fetch_x509_svid": 2}
    code = "import sys; from tests.unit.agent.api import often; often.main(*sys.argv[1:])"
    async with open_endpoint(experimental={"ratelimit": limits}) as endpoint:
        endpoint.register(entry("a"))
        # The agent's own calls are never limited, so that another process has to make them.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, str(endpoint.path), "3"),
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[4],
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
        for _ in range(5):
            await endpoint.x509()
    assert output.decode().splitlines() == [
        "ok",
        "ok",
        "Unavailable rate limit exceeded for /SpiffeWorkloadAPI/FetchX509SVID",
    ]


@pytest.mark.spec(106)
@pytest.mark.parametrize(
    ("method", "request_", "response", "message"),
    [
        pytest.param(
            "FetchWITSVID",
            workload_pb2.WITSVIDRequest(),
            workload_pb2.WITSVIDResponse,
            "fetching WIT-SVIDs is not implemented",
            id="svid",
        ),
        pytest.param(
            "FetchWITBundles",
            workload_pb2.WITBundlesRequest(),
            workload_pb2.WITBundlesResponse,
            "fetching WIT bundles is not implemented",
            id="bundles",
        ),
    ],
)
async def test_wit_is_not_offered(
    endpoint: Endpoint, method: str, request_: Message, response: type[Message], message: str
) -> None:
    with pytest.raises(Unimplemented) as refusal:
        await endpoint.first(method, request_, response)
    assert refusal.value.message == message


@pytest.mark.spec(88)
def test_the_service_has_the_methods_of_the_spec_only() -> None:
    service = workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"]
    assert service.full_name == "SpiffeWorkloadAPI"
    assert [method.name for method in service.methods] == [
        "FetchX509SVID",
        "FetchX509Bundles",
        "FetchJWTSVID",
        "FetchJWTBundles",
        "ValidateJWTSVID",
        "FetchWITSVID",
        "FetchWITBundles",
    ]


@pytest.mark.spec(91)
async def test_the_workload_api_can_be_switched_off() -> None:
    async with open_endpoint(disable_workload_api=True) as endpoint:
        endpoint.register(entry("a"))
        with pytest.raises(Unimplemented):
            await endpoint.x509()
