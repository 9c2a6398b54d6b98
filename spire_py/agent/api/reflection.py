"""gRPC's reflection service, v1 and v1alpha (feature H16; spec check 89)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from types import ModuleType
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from spire_py._proto.grpc.reflection import v1_pb2, v1alpha_pb2
from spire_py.errors import StatusCode
from spire_py.transport import CallContext, Service

_MAX_ANSWERS = 10_000


def reflection_services(service_names: Sequence[str]) -> list[Service]:
    """Both versions of the service, which tell of `service_names` and of themselves."""
    versions: tuple[ModuleType, ...] = (v1_pb2, v1alpha_pb2)
    descriptors = [module.DESCRIPTOR.services_by_name["ServerReflection"] for module in versions]
    names = sorted((*service_names, *(item.full_name for item in descriptors)))
    return [
        Service(descriptor, ReflectionServicer(module, names))
        for module, descriptor in zip(versions, descriptors, strict=True)
    ]


class ReflectionServicer:
    """Answers what services there are and how their messages look.

    Args:
        messages: the generated module of one version; both have the same messages.
        service_names: full names, sorted.
    """

    def __init__(self, messages: ModuleType, service_names: Sequence[str]) -> None:
        self._messages: Any = messages
        self._service_names = service_names
        self._pool = descriptor_pool.Default()

    async def server_reflection_info(
        self, requests: AsyncIterator[Any], _context: CallContext
    ) -> AsyncIterator[Any]:
        """One answer to each question."""
        count = 0
        async for request in requests:
            count += 1
            if count > _MAX_ANSWERS:
                return
            response = self._messages.ServerReflectionResponse(
                valid_host=request.host, original_request=request
            )
            self._answer(request, response)
            yield response

    def _answer(self, request: Any, response: Any) -> None:
        kind = request.WhichOneof("message_request")
        try:
            if kind == "list_services":
                for name in self._service_names:
                    response.list_services_response.service.add(name=name)
            elif kind == "file_by_filename":
                self._add_file(self._pool.FindFileByName(request.file_by_filename), response)
            elif kind == "file_containing_symbol":
                symbol = request.file_containing_symbol
                self._add_file(self._pool.FindFileContainingSymbol(symbol), response)
            else:
                self._refuse(response, StatusCode.UNIMPLEMENTED, "not offered")
        except KeyError:
            self._refuse(response, StatusCode.NOT_FOUND, "not found")

    def _add_file(self, file: FileDescriptor, response: Any) -> None:
        for item in _with_dependencies(file):
            response.file_descriptor_response.file_descriptor_proto.append(item.serialized_pb)

    def _refuse(self, response: Any, code: StatusCode, message: str) -> None:
        response.error_response.error_code = code
        response.error_response.error_message = message


def _with_dependencies(file: FileDescriptor) -> Iterator[FileDescriptor]:
    """The file, then all it needs, each once."""
    waiting, seen = [file], {file.name}
    while waiting:
        current = waiting.pop(0)
        yield current
        for needed in current.dependencies:
            if needed.name not in seen:
                seen.add(needed.name)
                waiting.append(needed)
