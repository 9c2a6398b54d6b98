"""Messages that no honest caller would send, and calls with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import SpireError, StatusCode
from spire_py.plugin_api.key_manager import KeyType
from spire_py.transport import Channel

_DEPTH = 5
_MOST_ANSWERS = 5
_SECONDS = 20.0

_KEY = generate_key(KeyType.EC_P256)
_CSR = make_csr(_KEY, uri="spiffe://example.org/workload")

_TEXTS = (
    *("", "example.org", "other.org", "spiffe://example.org/w", "spiffe://example.org", "/w"),
    *("/spire/server", "/spire/agent/join_token/x", "//", "/../w", "/w/", "unix", "uid:0", "*"),
    *("a" * 300, "/" + "a" * 3000, "\x00", "é", "\U0001f600", "%s%n", "' OR 1=1 --", "-1", "{}"),
    *("00000000-0000-0000-0000-000000000000", "https://example.org/", "ES256", "w.example.org"),
    *("join_token", "x509pop", "grpc.health.v1.Health", "default", "ROOTCA"),
)
_BYTES = (
    b"",
    b"\0",
    _CSR,
    _CSR[:-1],
    b"{}",
    b'{"certificates":["AAAA"]}',
    b"\xff" * 64,
    b"x" * 300,
)
_NUMBERS = (0, 1, 2, 3, 600, 2**31 - 1)


def _text(texts: Sequence[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(tuple(texts) + _TEXTS) | st.text(max_size=12)


def _number(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([n for n in (*_NUMBERS, low, high) if low <= n <= high]) | st.integers(
        low, high
    )


_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: _number(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: _number(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: _number(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: _number(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-2, 9) | st.just(2**31 - 1),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
}


def _value(descriptor: FieldDescriptor, texts: Sequence[str], depth: int) -> st.SearchStrategy[Any]:
    if descriptor.message_type is not None:
        return messages(descriptor.message_type, texts, depth - 1)
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return st.sampled_from(_BYTES) | st.binary(max_size=20)
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        return _text(texts)
    return _SCALARS[descriptor.cpp_type]


def messages(
    descriptor: Descriptor, texts: Sequence[str] = (), depth: int = _DEPTH
) -> st.SearchStrategy[Message]:
    """Messages of a type, with any of their fields set to anything.

    Args:
        descriptor: the type.
        texts: what exists, such as IDs of entries, that a text may name.
        depth: how far messages within messages go.
    """

    @st.composite
    def draw_message(draw: st.DrawFn) -> Message:
        message: Message = GetMessageClass(descriptor)()
        for each in descriptor.fields:
            if (each.message_type is not None and depth <= 0) or not draw(st.booleans()):
                continue
            _set(message, each, draw)
        return message

    def _set(message: Message, each: FieldDescriptor, draw: st.DrawFn) -> None:
        if each.message_type is not None and each.message_type.GetOptions().map_entry:
            return
        value = _value(each, texts, depth)
        if each.is_repeated:
            getattr(message, each.name).extend(draw(st.lists(value, max_size=3)))
        elif each.message_type is not None:
            getattr(message, each.name).CopyFrom(draw(value))
        else:
            setattr(message, each.name, draw(value))

    return draw_message()


class Raw:
    """Bytes in the place of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:
        return self._data


@dataclass
class Outcome:
    """How a call ended."""

    code: StatusCode
    text: str = ""
    answers: list[Message] = field(default_factory=list)

    @property
    def changed_nothing(self) -> bool:
        """Whether it was refused, each item of a batch too."""
        if self.code is not StatusCode.OK:
            return not self.answers
        results = [item for answer in self.answers for item in getattr(answer, "results", ())]
        return bool(results) and all(item.status.code for item in results)


async def make_call(
    channel: Channel,
    method: MethodDescriptor,
    requests: Sequence[Any],
    metadata: Sequence[tuple[str, str]] = (),
) -> Outcome:
    """One call, whatever its kind; of a stream that goes on only the beginning is read."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    answer: type[Message] = GetMessageClass(method.output_type)
    answers: list[Message] = []
    try:
        async with asyncio.timeout(_SECONDS):
            if method.client_streaming:
                async with channel.bidi(path, answer, metadata=metadata) as call:
                    for request in requests:
                        await call.send(request)
                    call.done_sending()
                    answers += await _first(call)
            elif method.server_streaming:
                async with channel.server_stream(
                    path, requests[0], answer, metadata=metadata
                ) as stream:
                    answers += await _first(stream)
            else:
                answers.append(
                    await channel.unary(
                        path, requests[0], answer, timeout=_SECONDS, metadata=metadata
                    )
                )
    except SpireError as error:
        return Outcome(error.code, error.message, answers)
    return Outcome(StatusCode.OK, "", answers)


async def _first(stream: Any) -> list[Message]:
    """What a stream begins with; one that is silent is left."""
    answers: list[Message] = []
    try:
        async with asyncio.timeout(0.2):
            async for answer in stream:
                answers.append(answer)
                if len(answers) == _MOST_ANSWERS:
                    break
    except TimeoutError:
        pass
    return answers
