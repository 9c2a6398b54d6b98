from __future__ import annotations

import pytest

from spire_py._proto import workload_pb2
from spire_py._proto.spire.api.agent import delegatedidentity_pb2
from spire_py.transport import Service, snake_case


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BatchNewX509SVID", "batch_new_x509svid"),
        ("MintX509SVID", "mint_x509svid"),
        ("NewJWTSVID", "new_jwtsvid"),
        ("FetchX509SVID", "fetch_x509svid"),
        ("FetchJWTSVID", "fetch_jwtsvid"),
        ("ValidateJWTSVID", "validate_jwtsvid"),
        ("NewDownstreamX509CA", "new_downstream_x509ca"),
        ("FetchX509Bundles", "fetch_x509_bundles"),
        ("ActivateX509Authority", "activate_x509_authority"),
        ("SubscribeToX509SVIDs", "subscribe_to_x509_svids"),
        ("GetBundle", "get_bundle"),
        ("Check", "check"),
        ("A", "a"),
        ("", ""),
    ],
)
def test_names_follow_spires_rule(name: str, expected: str) -> None:
    assert snake_case(name) == expected


class Workload:
    async def fetch_jwtsvid(self, request: object, context: object) -> bytes:
        return b""

    async def fetch_x509svid(self, request: object, context: object) -> None: ...


def test_methods_are_found_by_name_and_a_missing_one_has_no_handler() -> None:
    servicer = Workload()
    service = Service(workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"], servicer)
    assert service.name == "SpiffeWorkloadAPI"
    jwt = service.methods[b"/SpiffeWorkloadAPI/FetchJWTSVID"]
    assert jwt.handler == servicer.fetch_jwtsvid
    assert (jwt.client_streaming, jwt.server_streaming) == (False, False)
    assert isinstance(jwt.parse(b""), workload_pb2.JWTSVIDRequest)
    assert service.methods[b"/SpiffeWorkloadAPI/FetchX509SVID"].server_streaming
    assert service.methods[b"/SpiffeWorkloadAPI/ValidateJWTSVID"].handler is None


def test_a_service_of_a_package_has_its_full_name() -> None:
    file = delegatedidentity_pb2.DESCRIPTOR
    service = Service(file.services_by_name["DelegatedIdentity"], object())
    path = b"/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509SVIDs"
    assert path in service.methods
