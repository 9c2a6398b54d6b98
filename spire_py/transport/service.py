"""A servicer's methods, found by the names of a protobuf service."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

# The rule below makes `subscribe_to_x509svi_ds` of it; SPIRE names this one by hand.
_SNAKE_EXCEPTIONS = {"SubscribeToX509SVIDs": "subscribe_to_x509_svids"}


def snake_case(name: str) -> str:
    """A method's name as SPIRE's metrics spell it: `BatchNewX509SVID` → `batch_new_x509svid`.

    `_` goes before an upper-case letter that is neither first nor last and has a lower-case letter
    before or after it.
    """
    if name in _SNAKE_EXCEPTIONS:
        return _SNAKE_EXCEPTIONS[name]
    out: list[str] = []
    for index, letter in enumerate(name):
        inside = letter.isupper() and 0 < index < len(name) - 1
        if inside and (name[index - 1].islower() or name[index + 1].islower()):
            out.append("_")
        out.append(letter.lower())
    return "".join(out)


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC.

    Attributes:
        path: `/package.Service/Method`.
        handler: the servicer's method; None is answered with Unimplemented.
        parse: reads a request; raises `google.protobuf.message.DecodeError`.
        client_streaming: the handler gets an iterator of requests.
        server_streaming: the handler is an async generator of answers.
    """

    path: str
    handler: Callable[[Any, Any], Any] | None
    parse: Callable[[bytes], Message]
    client_streaming: bool
    server_streaming: bool


class Service:
    """The methods of `servicer` under the names of a service of a `.proto` file.

    A unary method is `async def m(self, request, context) -> Response | bytes`, where bytes are an
    encoded message; a server-streaming one is an async generator of such; where the client
    streams, `request` is an async iterator. Its name is `snake_case` of the RPC's. An RPC without
    a method is answered with Unimplemented.
    """

    def __init__(self, descriptor: ServiceDescriptor, servicer: object) -> None:
        self.name: str = descriptor.full_name
        self.methods: dict[bytes, Method] = {}
        for method in descriptor.methods:
            path = f"/{descriptor.full_name}/{method.name}"
            self.methods[path.encode()] = Method(
                path=path,
                handler=getattr(servicer, snake_case(method.name), None),
                parse=GetMessageClass(method.input_type).FromString,
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
            )
