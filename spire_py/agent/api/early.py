"""The agent's services before it can serve: whoever calls is kept until it can.

Istio's sidecar looks for the socket once, and without one turns to another authority for good.
Envoy and the libraries of workloads come again, but later than they could.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from spire_py.errors import ResourceExhausted, Unimplemented
from spire_py.transport import CallContext, Service
from spire_py.transport.service import snake_case

_LARGEST_REQUEST = 16 << 10


class EarlyServices:
    """Stands in for services that are to come. How long a call is kept is its caller's choice.

    A request larger than 16 KiB is not kept: parsed, it may be eight times as large as it was sent.

    Args:
        descriptors: theirs.
    """

    def __init__(self, descriptors: Iterable[ServiceDescriptor]) -> None:
        self._handlers: dict[bytes, Callable[[Any, Any], Any] | None] = {}
        self._here = asyncio.Event()
        self.services = [Service(each, _StandIn(each, self._handler)) for each in descriptors]

    def arrive(self, services: Sequence[Service]) -> None:
        """Hand the calls that were kept on to the real services."""
        for service in services:
            self._handlers.update({path: each.handler for path, each in service.methods.items()})
        self._here.set()

    async def _handler(self, path: bytes, request: Any) -> Callable[[Any, Any], Any]:
        if isinstance(request, Message) and not self._here.is_set():
            _check_size(request)
        await self._here.wait()
        handler = self._handlers.get(path)
        if handler is None:
            raise Unimplemented(f"unknown method {path.decode()}")
        return handler


def _check_size(request: Message) -> None:
    if request.ByteSize() > _LARGEST_REQUEST:
        raise ResourceExhausted("the agent starts still, and keeps no request that is so large")


class _StandIn:
    """A servicer with all methods of a service."""

    def __init__(self, descriptor: ServiceDescriptor, find: Any) -> None:
        for method in descriptor.methods:
            path = f"/{descriptor.full_name}/{method.name}".encode()
            make = _stream if method.server_streaming else _unary
            setattr(self, snake_case(method.name), make(path, find))


def _unary(path: bytes, find: Any) -> Callable[[Any, CallContext], Any]:
    async def call(request: Any, context: CallContext) -> Any:
        return await (await find(path, request))(request, context)

    return call


def _stream(path: bytes, find: Any) -> Callable[[Any, CallContext], Any]:
    async def call(request: Any, context: CallContext) -> AsyncIterator[Any]:
        handler = await find(path, request)
        async with aclosing(handler(request, context)) as answers:
            async for answer in answers:
                yield answer

    return call
