from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf.struct_pb2 import Struct

from spire_py._proto.envoy import core_pb2, discovery_pb2, tls_pb2
from spire_py.crypto.pem import certificates_to_pem, pem_to_certificates
from spire_py.errors import Internal, InvalidArgument, Unavailable, Unimplemented
from spire_py.transport.client import BidiCall
from tests.unit.agent.builders import OTHER, THIRD, Authority, entry
from tests.unit.agent.endpoint import Endpoint, open_endpoint

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
STREAM = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
FETCH = "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets"
DELTA = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
OWN = "spiffe://example.org"

Response = discovery_pb2.DiscoveryResponse


def node(version: tuple[int, int] | None = None, **metadata: Any) -> core_pb2.Node:
    struct = Struct()
    struct.update(metadata)
    if version is None:
        return core_pb2.Node(id="envoy", metadata=struct)
    return core_pb2.Node(
        id="envoy",
        metadata=struct,
        user_agent_build_version=core_pb2.BuildVersion(
            version=core_pb2.SemanticVersion(major_number=version[0], minor_number=version[1])
        ),
    )


class Proxy:
    """An Envoy on one stream."""

    def __init__(self, call: BidiCall[Response]) -> None:
        self.call = call
        self.last = Response()

    async def ask(self, *names: str, **fields: Any) -> None:
        fields.setdefault("version_info", self.last.version_info)
        fields.setdefault("response_nonce", self.last.nonce)
        await self.call.send(
            discovery_pb2.DiscoveryRequest(type_url=TYPE, resource_names=names, **fields)
        )

    async def answer(self) -> Response:
        self.last = await anext(self.call)
        return self.last


@asynccontextmanager
async def proxy(endpoint: Endpoint) -> AsyncIterator[Proxy]:
    async with endpoint.channel.bidi(STREAM, Response, timeout=20) as call:
        yield Proxy(call)


async def fetch(endpoint: Endpoint, *names: str, **fields: Any) -> Response:
    request = discovery_pb2.DiscoveryRequest(type_url=TYPE, resource_names=names, **fields)
    return await endpoint.channel.unary(FETCH, request, Response, timeout=20)


def secrets(response: Response) -> list[tls_pb2.Secret]:
    out = []
    for resource in response.resources:
        assert resource.type_url == TYPE
        out.append(tls_pb2.Secret.FromString(resource.value))
    return out


def names(response: Response) -> list[str]:
    return [secret.name for secret in secrets(response)]


def validator(secret: tls_pb2.Secret) -> dict[str, str]:
    """What a validation context makes Envoy's SPIFFE validator trust."""
    config = secret.validation_context.custom_validator_config
    assert config.name == "envoy.tls.cert_validator.spiffe"
    assert config.typed_config.type_url == (
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
    )
    parsed = tls_pb2.SPIFFECertValidatorConfig.FromString(config.typed_config.value)
    return {
        domain.name: domain.trust_bundle.inline_bytes.decode() for domain in parsed.trust_domains
    }


@pytest.fixture
def other(endpoint: Endpoint) -> Authority:
    """Two identities, of which the first federates with `other.test`."""
    authority = Authority(OTHER)
    endpoint.register(entry("a", federates_with=(OTHER,)), entry("b"), bundles=[authority.bundle])
    return authority


class TestNames:
    @pytest.mark.parametrize(
        ("asked", "given"),
        [
            pytest.param(
                [],
                [OWN, "spiffe://other.test", f"{OWN}/a", f"{OWN}/b"],
                id="nothing means everything",
            ),
            pytest.param([""], [OWN, "spiffe://other.test", f"{OWN}/a", f"{OWN}/b"], id="empty"),
            pytest.param(["default"], ["default"], id="the first identity by its default name"),
            pytest.param([f"{OWN}/b"], [f"{OWN}/b"], id="an identity by its ID"),
            pytest.param([f"{OWN}/b", "default"], ["default", f"{OWN}/b"], id="two identities"),
            pytest.param([OWN], [OWN], id="own bundle by its trust domain ID"),
            pytest.param(["ROOTCA"], ["ROOTCA"], id="own bundle by its default name"),
            pytest.param(["ALL"], ["ALL"], id="all bundles"),
            pytest.param(["spiffe://other.test"], ["spiffe://other.test"], id="a foreign bundle"),
            pytest.param(
                ["default", "ROOTCA", "spiffe://other.test"],
                ["ROOTCA", "spiffe://other.test", "default"],
                id="bundles come before identities",
            ),
            pytest.param(["ROOTCA", "ROOTCA"], ["ROOTCA"], id="a name twice is a name once"),
        ],
    )
    async def test_what_is_asked_for_is_given(
        self, endpoint: Endpoint, other: Authority, asked: list[str], given: list[str]
    ) -> None:
        assert names(await fetch(endpoint, *asked)) == given
        async with proxy(endpoint) as envoy:
            await envoy.ask(*asked)
            assert names(await envoy.answer()) == given

    @pytest.mark.parametrize(
        ("asked", "left"),
        [
            pytest.param([f"{OWN}/c"], f'["{OWN}/c"]', id="identity of another"),
            pytest.param(["zz", "aa", "default"], '["aa" "zz"]', id="unknown names, sorted"),
            pytest.param(["default", f"{OWN}/a"], '["default"]', id="first identity twice"),
            pytest.param([OWN, "ROOTCA"], '["ROOTCA"]', id="trust domain ID and ROOTCA"),
            pytest.param(["ROOTCA", "ALL"], '["ALL"]', id="ROOTCA and ALL"),
            pytest.param([OWN, "ALL"], '["ALL"]', id="trust domain ID and ALL"),
            pytest.param(["spiffe://third.test"], '["spiffe://third.test"]', id="not federated"),
            pytest.param(['a"b\\c'], '["a\\"b\\\\c"]', id="quotes are escaped"),
        ],
    )
    async def test_a_name_left_over_ends_the_call(
        self, endpoint: Endpoint, other: Authority, asked: list[str], left: str
    ) -> None:
        message = f"workload is not authorized for the requested identities {left}"
        with pytest.raises(InvalidArgument) as refusal:
            await fetch(endpoint, *asked)
        assert refusal.value.message == message
        async with proxy(endpoint) as envoy:
            await envoy.ask(*asked)
            with pytest.raises(InvalidArgument) as refusal:
                await envoy.answer()
        assert refusal.value.message == message

    async def test_names_can_be_configured(self) -> None:
        sds = {
            "default_svid_name": "me",
            "default_bundle_name": "null",
            "default_all_bundles_name": "ROOTCA",
        }
        async with open_endpoint(sds=sds) as endpoint:
            other = Authority(OTHER)
            endpoint.register(entry("a", federates_with=(OTHER,)), bundles=[other.bundle])
            response = await fetch(endpoint, "me", "ROOTCA")
            assert names(response) == ["ROOTCA", "me"]
            assert list(validator(secrets(response)[0])) == ["example.org", "other.test"]


class TestSecrets:
    async def test_an_identity_is_a_chain_and_a_key(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        [secret] = secrets(await fetch(endpoint, "default"))
        [chain] = pem_to_certificates(secret.tls_certificate.certificate_chain.inline_bytes)
        assert chain == endpoint.cache.svids()["a"].chain[0]
        load_pem_private_key(secret.tls_certificate.private_key.inline_bytes, password=None)

    async def test_hints_take_nothing_away(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a", hint="x"), entry("b", hint="x"))
        assert names(await fetch(endpoint)) == [OWN, f"{OWN}/a", f"{OWN}/b"]

    @pytest.mark.parametrize("name", ["ROOTCA", OWN])
    async def test_the_own_bundle_trusts_the_own_domain_only(
        self, endpoint: Endpoint, other: Authority, name: str
    ) -> None:
        [secret] = secrets(await fetch(endpoint, name))
        assert validator(secret) == {
            "example.org": certificates_to_pem([endpoint.authority.certificate])
        }

    async def test_all_bundles_are_sorted_by_name(self, endpoint: Endpoint) -> None:
        third, other = Authority(THIRD), Authority(OTHER)
        endpoint.register(
            entry("a", federates_with=(THIRD, OTHER)), bundles=[third.bundle, other.bundle]
        )
        [secret] = secrets(await fetch(endpoint, "ALL"))
        assert validator(secret) == {
            "example.org": certificates_to_pem([endpoint.authority.certificate]),
            "other.test": certificates_to_pem([other.certificate]),
            "third.test": certificates_to_pem([third.certificate]),
        }
        assert list(validator(secret)) == ["example.org", "other.test", "third.test"]

    @pytest.mark.parametrize(
        ("proxy_node", "takes_validator"),
        [
            pytest.param(None, True, id="no node"),
            pytest.param(node(), True, id="no version"),
            pytest.param(
                core_pb2.Node(user_agent_build_version=core_pb2.BuildVersion()),
                True,
                id="a version without numbers",
            ),
            pytest.param(node((1, 17)), False, id="1.17"),
            pytest.param(node((1, 18)), True, id="1.18"),
            pytest.param(node((2, 0)), True, id="2.0"),
            pytest.param(node((0, 99)), False, id="0.99"),
            pytest.param(node(disable_spiffe_cert_validation=True), False, id="disabled"),
            pytest.param(node(disable_spiffe_cert_validation="true"), False, id="disabled by text"),
            pytest.param(node(disable_spiffe_cert_validation="T"), False, id="as Go reads it"),
            pytest.param(node(disable_spiffe_cert_validation=False), True, id="not disabled"),
            pytest.param(node(disable_spiffe_cert_validation="yes"), True, id="no flag"),
            pytest.param(node(disable_spiffe_cert_validation=1), True, id="a number"),
            pytest.param(
                node((1, 17), disable_spiffe_cert_validation=False), False, id="old, not disabled"
            ),
        ],
    )
    async def test_an_envoy_that_cannot_take_the_validator_gets_ca_certificates(
        self, endpoint: Endpoint, proxy_node: core_pb2.Node | None, takes_validator: bool
    ) -> None:
        [secret] = secrets(await fetch(endpoint, "ROOTCA", node=proxy_node))
        pem = certificates_to_pem([endpoint.authority.certificate])
        if takes_validator:
            assert validator(secret) == {"example.org": pem}
        else:
            assert secret.validation_context.trusted_ca.inline_bytes.decode() == pem
            with pytest.raises(Internal) as refusal:
                await fetch(endpoint, "ALL", node=proxy_node)
            assert refusal.value.message == 'unable to use "SPIFFE validator" on Envoy below 1.17'

    @pytest.mark.parametrize(
        ("proxy_node", "takes_validator"),
        [
            pytest.param(node(), False, id="as configured"),
            pytest.param(node(disable_spiffe_cert_validation=False), True, id="as the node says"),
        ],
    )
    async def test_the_validator_can_be_switched_off(
        self, proxy_node: core_pb2.Node, takes_validator: bool
    ) -> None:
        async with open_endpoint(sds={"disable_spiffe_cert_validation": True}) as endpoint:
            [secret] = secrets(await fetch(endpoint, "ROOTCA", node=proxy_node))
        has = secret.validation_context.HasField("custom_validator_config")
        assert has is takes_validator


class TestWithoutIdentity:
    """Istio's proxies ask for their bundle on a stream of its own, before an entry exists."""

    async def test_bundles_are_given(self, endpoint: Endpoint) -> None:
        assert names(await fetch(endpoint, "ROOTCA")) == ["ROOTCA"]
        assert names(await fetch(endpoint)) == [OWN]

    async def test_the_default_identity_is_refused(self, endpoint: Endpoint) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            with pytest.raises(InvalidArgument, match=r'identities \["default"\]'):
                await envoy.answer()

    async def test_a_withdrawn_identity_ends_the_stream(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            await envoy.answer()
            endpoint.register()
            with pytest.raises(InvalidArgument, match="not authorized"):
                await envoy.answer()


class TestFetch:
    async def test_it_has_neither_version_nor_nonce(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        response = await fetch(endpoint, "default")
        assert (response.version_info, response.nonce, response.type_url) == ("", "", TYPE)

    async def test_the_type_is_echoed(self, endpoint: Endpoint) -> None:
        request = discovery_pb2.DiscoveryRequest(type_url="some/type")
        response = await endpoint.channel.unary(FETCH, request, Response, timeout=20)
        assert response.type_url == "some/type"

    async def test_failed_attestation_can_heal(self, endpoint: Endpoint) -> None:
        endpoint.attestor.error = Internal("no")
        with pytest.raises(Unavailable, match="workload attestation failed"):
            await fetch(endpoint)
        async with proxy(endpoint) as envoy:
            with pytest.raises(Unavailable, match="workload attestation failed"):
                await envoy.answer()


class TestStream:
    async def test_versions_count_and_nonces_are_new(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            first = await envoy.answer()
            await envoy.ask("default")
            endpoint.register(entry("a"))
            second = await envoy.answer()
        assert (first.version_info, second.version_info) == ("1", "2")
        assert first.nonce != second.nonce
        assert len(bytes.fromhex(first.nonce)) == 4
        assert first.type_url == second.type_url == TYPE
        assert first.resources[0].value != second.resources[0].value

    async def test_changed_names_are_answered_with_the_same_version(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            first = await envoy.answer()
            await envoy.ask("default", "ROOTCA")
            second = await envoy.answer()
        assert names(second) == ["ROOTCA", "default"]
        assert (first.version_info, second.version_info) == ("1", "1")

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({}, id="acknowledgement"),
            pytest.param({"version_info": ""}, id="refusal of the first"),
            pytest.param({"version_info": "0"}, id="refusal with an old version"),
            pytest.param({"response_nonce": "stale"}, id="another nonce"),
        ],
    )
    async def test_the_same_names_bring_no_answer(
        self, endpoint: Endpoint, other: Authority, fields: dict[str, str]
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            await envoy.answer()
            await envoy.ask("default", **fields)
            # An answer to that one would come before the answer to this one.
            await envoy.ask("ROOTCA")
            assert names(await envoy.answer()) == ["ROOTCA"]

    async def test_a_refusal_with_new_names_is_answered(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            await envoy.answer()
            request = discovery_pb2.DiscoveryRequest(
                type_url=TYPE, resource_names=["ROOTCA"], response_nonce=envoy.last.nonce
            )
            request.error_detail.code = 13
            request.error_detail.message = "no"
            await envoy.call.send(request)
            assert names(await envoy.answer()) == ["ROOTCA"]

    async def test_a_request_with_another_nonce_is_as_if_it_never_came(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            await envoy.answer()
            await envoy.ask("ROOTCA", response_nonce="stale")
            await envoy.ask("default")
            endpoint.register(entry("a"))
            assert names(await envoy.answer()) == ["default"]

    async def test_the_node_of_the_first_request_counts_for_all(self, endpoint: Endpoint) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("ROOTCA", node=node((1, 17)))
            await envoy.answer()
            await envoy.ask(OWN)
            [secret] = secrets(await envoy.answer())
            assert secret.validation_context.HasField("trusted_ca")
            await envoy.ask("ROOTCA", node=node((1, 18)))
            [secret] = secrets(await envoy.answer())
            assert secret.validation_context.HasField("custom_validator_config")

    async def test_streams_for_identity_and_bundle_are_independent(
        self, endpoint: Endpoint
    ) -> None:
        async with proxy(endpoint) as bundle, proxy(endpoint) as identity:
            await bundle.ask("ROOTCA")
            assert names(await bundle.answer()) == ["ROOTCA"]
            await identity.ask("default")
            with pytest.raises(InvalidArgument):
                await identity.answer()
            await bundle.ask("ROOTCA")
            endpoint.register(entry("a"))
            assert names(await bundle.answer()) == ["ROOTCA"]
        async with proxy(endpoint) as identity:
            await identity.ask("default")
            assert names(await identity.answer()) == ["default"]

    async def test_the_stream_ends_with_the_requests(
        self, endpoint: Endpoint, other: Authority
    ) -> None:
        async with proxy(endpoint) as envoy:
            await envoy.ask("default")
            await envoy.answer()
            envoy.call.done_sending()
            with pytest.raises(StopAsyncIteration):
                await envoy.answer()


async def test_delta_is_not_offered(endpoint: Endpoint) -> None:
    async with endpoint.channel.bidi(
        DELTA, discovery_pb2.DeltaDiscoveryResponse, timeout=20
    ) as call:
        with pytest.raises(Unimplemented) as refusal:
            await anext(call)
    assert refusal.value.message == "Method is not implemented"


async def test_no_header_is_needed(endpoint: Endpoint) -> None:
    endpoint.register(entry("a"))
    assert names(await fetch(endpoint, "default")) == ["default"]


async def test_sds_can_be_switched_off() -> None:
    async with open_endpoint(disable_sds_api=True) as endpoint:
        with pytest.raises(Unimplemented):
            await fetch(endpoint)
