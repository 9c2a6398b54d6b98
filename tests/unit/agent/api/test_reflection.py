from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from spire_py._proto.grpc.reflection import v1_pb2, v1alpha_pb2
from spire_py.errors import StatusCode
from tests.unit.agent.endpoint import Endpoint

VERSIONS = [pytest.param(v1_pb2, id="v1"), pytest.param(v1alpha_pb2, id="v1alpha")]


async def ask(endpoint: Endpoint, module: ModuleType, **question: Any) -> Any:
    service = module.DESCRIPTOR.services_by_name["ServerReflection"].full_name
    method = f"/{service}/ServerReflectionInfo"
    async with endpoint.channel.bidi(method, module.ServerReflectionResponse, timeout=20) as call:
        await call.send(module.ServerReflectionRequest(**question))
        return await anext(call)


@pytest.mark.spec(88, 89)
@pytest.mark.parametrize("module", VERSIONS)
async def test_the_services_are_listed_and_further_ones_are_separate(
    endpoint: Endpoint, module: ModuleType
) -> None:
    answer = await ask(endpoint, module, list_services="*")
    assert [item.name for item in answer.list_services_response.service] == [
        "SpiffeWorkloadAPI",
        "envoy.service.secret.v3.SecretDiscoveryService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "spire_py.explain.v1.Explain",
    ]


@pytest.mark.spec(89)
@pytest.mark.parametrize("module", VERSIONS)
@pytest.mark.parametrize(
    "question",
    [
        pytest.param({"file_containing_symbol": "SpiffeWorkloadAPI"}, id="service"),
        pytest.param({"file_containing_symbol": "X509SVIDResponse"}, id="message"),
        pytest.param({"file_by_filename": "workload.proto"}, id="file"),
    ],
)
async def test_a_file_comes_with_all_it_needs(
    endpoint: Endpoint, module: ModuleType, question: dict[str, str]
) -> None:
    answer = await ask(endpoint, module, **question)
    files = [
        FileDescriptorProto.FromString(text)
        for text in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert [file.name for file in files] == ["workload.proto", "google/protobuf/struct.proto"]
    assert [service.name for service in files[0].service] == ["SpiffeWorkloadAPI"]


@pytest.mark.parametrize("module", VERSIONS)
@pytest.mark.parametrize(
    ("question", "code"),
    [
        pytest.param({"file_containing_symbol": "no.such"}, StatusCode.NOT_FOUND, id="unknown"),
        pytest.param(
            {"all_extension_numbers_of_type": "X509SVID"}, StatusCode.UNIMPLEMENTED, id="extensions"
        ),
    ],
)
async def test_what_is_not_known_is_said_so(
    endpoint: Endpoint, module: ModuleType, question: dict[str, str], code: StatusCode
) -> None:
    answer = await ask(endpoint, module, **question)
    assert answer.error_response.error_code == code
