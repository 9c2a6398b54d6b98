"""The agent's services before it can serve: whoever calls is kept until it can.

Istio's sidecar looks for the socket once, and without one turns to another authority for good.
Envoy and the libraries of workloads come again, but later than they could.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError

from spire_py.errors import Internal, Unimplemented
from spire_py.transport import CallContext, Service
from spire_py.transport.service import Method, snake_case


class EarlyServices:
    """Stands in for services that are to come. How long a call is kept is its caller's choice.

    Requests are kept as they were sent: parsed, they may be twenty times as large.

    Args:
        descriptors: theirs.
    """

    def __init__(self, descriptors: Iterable[ServiceDescriptor]) -> None:
        self._methods: dict[bytes, Method] = {}
        self._here = asyncio.Event()
        self.services = [Service(each, _StandIn(each, self._found)) for each in descriptors]
        for service in self.services:
            service.methods = {path: _unparsed(each) for path, each in service.methods.items()}

    def arrive(self, services: Sequence[Service]) -> None:
        """Hand the calls that were kept on to the real services."""
        for service in services:
            self._methods.update(service.methods)
        self._here.set()

    async def _found(self, path: bytes, request: Any) -> tuple[Callable[[Any, Any], Any], Any]:
        """The real handler, once it is there, and the request as it wants it."""
        await self._here.wait()
        method = self._methods.get(path)
        if method is None or method.handler is None:
            raise Unimplemented(f"unknown method {path.decode()}")
        if not isinstance(request, bytes):
            return method.handler, request
        try:
            return method.handler, method.parse(request)
        except DecodeError as error:
            raise Internal("grpc: error unmarshalling request") from error


def _unparsed(method: Method) -> Method:
    """The method with a handler that gets bytes; where the caller streams nothing is read yet."""
    as_sent: Callable[[bytes], Any] = bytes
    return method if method.client_streaming else replace(method, parse=as_sent)


class _StandIn:
    """A servicer with all methods of a service."""

    def __init__(self, descriptor: ServiceDescriptor, find: Any) -> None:
        for method in descriptor.methods:
            path = f"/{descriptor.full_name}/{method.name}".encode()
            make = _stream if method.server_streaming else _unary
            setattr(self, snake_case(method.name), make(path, find))


def _unary(path: bytes, find: Any) -> Callable[[Any, CallContext], Any]:
    async def call(request: Any, context: CallContext) -> Any:
        handler, wanted = await find(path, request)
        return await handler(wanted, context)

    return call


def _stream(path: bytes, find: Any) -> Callable[[Any, CallContext], Any]:
    async def call(request: Any, context: CallContext) -> AsyncIterator[Any]:
        handler, wanted = await find(path, request)
        async with aclosing(handler(wanted, context)) as answers:
            async for answer in answers:
                yield answer

    return call
