"""Cuts what a message bus sends into messages, and keeps only the answers to calls.

Whoever is on the system bus may send a signal to any other, of up to 32 MB. What is no answer is
dropped unread, and what is too long is never held.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jeepney import HeaderFields, MessageType
from jeepney.low_level import Header, Message

from spire_py.errors import Unavailable

_FIXED_BYTES = 16
_MAX_HEADER_BYTES = 16 * 1024
_MAX_BODY_BYTES = 64 * 1024
_MAX_MESSAGE_BYTES = 128 * 1024 * 1024
_BYTE_ORDERS = {ord("l"): "<", ord("B"): ">"}
_ANSWERS = (MessageType.method_return.value, MessageType.error.value)
_STRING_VARIANT = b"\x01s\x00"
_MAX_SHOWN = 300
_OBJECT_PATH = re.compile("/|(/[A-Za-z0-9_]+)+")


class BadAnswer(Exception):
    """A call failed, or its answer is not what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call brought.

    Attributes:
        serial: of the call.
        error_name: empty where the call worked.
        signature: the types of the body.
        body: None where it is too long to be read.
    """

    serial: int
    error_name: str
    signature: str
    body: bytes | None
    _raw: bytes

    def object_path(self) -> str:
        """The one object path that is all of the answer.

        Raises:
            BadAnswer: it is an error or something else; so do the other methods.
        """
        self._require("o")
        path = str(self._value())
        if not _OBJECT_PATH.fullmatch(path):
            raise BadAnswer("the answer is no object path")
        return path

    def string_variant(self) -> str:
        """The one string in a variant, which is all of the answer."""
        body = self._require("v")
        if not body.startswith(_STRING_VARIANT):
            kind = _printable(body[1 : 1 + body[0]]) if body else ""
            raise BadAnswer(f"a value of type {kind!r} was not a string")
        _, value = self._value()
        return str(value)

    def check(self) -> None:
        """See that the call worked."""
        if self.error_name:
            readable = self.signature == "s" and self.body
            text = str(self._value()) if readable else ""
            raise BadAnswer(_printable((text or self.error_name).encode()))

    def _require(self, signature: str) -> bytes:
        self.check()
        if self.body is None:
            raise BadAnswer(f"the answer is longer than {_MAX_BODY_BYTES} bytes")
        if self.signature != signature:
            shown = _printable(self.signature.encode())
            raise BadAnswer(f"the answer is of type {shown!r}, not {signature!r}")
        return self.body

    def _value(self) -> Any:
        """The body's only value. Its type has been looked at: the library would read any."""
        try:
            (value,) = Message.from_buffer(self._raw).body
        except Exception as error:
            raise BadAnswer("the answer cannot be read") from error
        return value


class Framer:
    """Gathers answers from the bytes of a connection. It holds less than 100 KB and one read."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._to_drop = 0

    def feed(self, data: bytes) -> Iterator[Answer]:
        """The answers that are complete now.

        Raises:
            Unavailable: this is no D-Bus; nothing more can be read.
        """
        self._buffer += data
        while True:
            dropped = min(self._to_drop, len(self._buffer))
            del self._buffer[:dropped]
            self._to_drop -= dropped
            if self._to_drop or len(self._buffer) < _FIXED_BYTES:
                return
            header_size, body_size = self._sizes()
            whole = self._buffer[1] in _ANSWERS and header_size <= _MAX_HEADER_BYTES
            wanted = 0 if not whole else header_size
            if whole and body_size <= _MAX_BODY_BYTES:
                wanted += body_size
            if len(self._buffer) < wanted:
                return
            if whole:
                yield _answer(bytes(self._buffer[:wanted]), header_size, body_size)
            self._to_drop = header_size + body_size

    def _sizes(self) -> tuple[int, int]:
        """Bytes of the next message's header, padding included, and of its body."""
        order = _BYTE_ORDERS.get(self._buffer[0])
        if order is None:
            raise Unavailable("the bus sent what is no D-Bus message")
        body, _, fields = struct.unpack_from(f"{order}III", self._buffer, 4)
        header = (_FIXED_BYTES + fields + 7) // 8 * 8
        if header + body > _MAX_MESSAGE_BYTES:
            raise Unavailable("the bus sent a message that is longer than any may be")
        return header, body


def _answer(raw: bytes, header_size: int, body_size: int) -> Answer:
    try:
        header, _ = Header.from_buffer(raw)
        fields = header.fields
        return Answer(
            serial=int(fields[HeaderFields.reply_serial]),
            error_name=_error_name(header),
            signature=str(fields.get(HeaderFields.signature, "")),
            body=raw[header_size:] if len(raw) == header_size + body_size else None,
            _raw=raw,
        )
    # The library has no exception of its own: what is malformed makes it stumble anywhere.
    except Exception as error:
        raise Unavailable("the bus sent an answer that cannot be read") from error


def _error_name(header: Header) -> str:
    if header.message_type is not MessageType.error:
        return ""
    return str(header.fields[HeaderFields.error_name])


def _printable(text: bytes) -> str:
    shown = text[:_MAX_SHOWN].decode("utf-8", "replace")
    return "".join(each if each.isprintable() else " " for each in shown)
