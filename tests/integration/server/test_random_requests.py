"""Requests with random contents are answered or refused; none of them breaks anything."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import SpireError
from spire_py.plugin_api.key_manager import KeyType

from .conftest import RunningServer

_CSR = make_csr(generate_key(KeyType.EC_P256), uri="spiffe://example.org/workload")
_TEXTS = [
    "",
    "example.org",
    "other.org",
    "/workload",
    "/spire/agent/x/y",
    "/spire",
    "a:b",
    "é\0",
    "x",
]
_BYTES = [b"", b"\0", _CSR, b"\x30\x03\x02\x01\x00", b"x" * 100]
_NUMBERS = [0, 1, -1, 2, 500, 2**31 - 1, -(2**31)]
_ROUNDS = 30


def fill(message: Message, dice: random.Random, depth: int = 0) -> None:
    """Set some of the fields to something."""
    for field in message.DESCRIPTOR.fields:
        if dice.random() < 0.4 or depth > 4:
            continue
        if not field.is_repeated:
            if field.message_type:
                sub = getattr(message, field.name)
                sub.SetInParent()
                fill(sub, dice, depth + 1)
            else:
                setattr(message, field.name, scalar(field, dice))
            continue
        for _ in range(dice.randrange(3)):
            if field.message_type:
                fill(getattr(message, field.name).add(), dice, depth + 1)
            else:
                getattr(message, field.name).append(scalar(field, dice))


def scalar(field: FieldDescriptor, dice: random.Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            texts = field.type == FieldDescriptor.TYPE_STRING
            return dice.choice(_TEXTS) if texts else dice.choice(_BYTES)
        case FieldDescriptor.CPPTYPE_BOOL:
            return dice.random() < 0.5
        case FieldDescriptor.CPPTYPE_UINT64 | FieldDescriptor.CPPTYPE_UINT32:
            return dice.choice([0, 1, 2**31])
        case FieldDescriptor.CPPTYPE_INT64:
            return dice.choice([*_NUMBERS, 2**62, -(2**62)])
        case FieldDescriptor.CPPTYPE_ENUM:
            return dice.choice([0, 1, 2, 3, 77])
    return dice.choice(_NUMBERS)


METHODS = [
    pytest.param(f"/{service.full_name}/{method.name}", method.input_type, id=method.name)
    for module in (agent_pb2, bundle_pb2, entry_pb2, svid_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not method.client_streaming
]


@pytest.mark.parametrize(("method", "input_type"), METHODS)
@pytest.mark.parametrize("who", ["operator", "agent"])
async def test_random_requests_are_answered_or_refused(
    server: RunningServer, method: str, input_type: Any, who: str
) -> None:
    dice = random.Random(method + who)
    channel = server.admin if who == "operator" else server.port(await server.attest())
    broken_by = []
    for _ in range(_ROUNDS):
        request = GetMessageClass(input_type)()
        fill(request, dice)
        try:
            await server.call(method, request, types_pb2.SPIFFEID, channel)
        except SpireError as error:
            # What a bug is answered with; a refusal has words of its own.
            if error.message == "internal error":
                broken_by.append(request)
    assert broken_by == []
