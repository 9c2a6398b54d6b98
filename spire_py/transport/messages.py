"""gRPC's length-prefixed messages."""

from __future__ import annotations

import gzip
import zlib

from spire_py.errors import Internal, ResourceExhausted, Unimplemented

_PREFIX = 5
_GZIP = 16 + zlib.MAX_WBITS
_COMPRESS_FROM_BYTES = 1024


def encode(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def encode_compressed(message: bytes) -> bytes:
    """As `encode`, with gzip where that can be worth it."""
    if len(message) < _COMPRESS_FROM_BYTES:
        return encode(message)
    packed = gzip.compress(message, compresslevel=1, mtime=0)
    return b"\1" + len(packed).to_bytes(4, "big") + packed


class MessageReader:
    """Cuts messages from the data of a call; keeps the bytes until someone takes the message.

    Args:
        max_bytes: the most one message may have, as sent and inflated.
        encoding: the call's `grpc-encoding`.
    """

    __slots__ = ("_buffer", "_max_bytes", "encoding")

    def __init__(self, max_bytes: int, encoding: bytes = b"identity") -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self.encoding = encoding

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add received bytes.

        Raises:
            ResourceExhausted: the message at hand is too large.
        """
        self._buffer += data
        if len(self._buffer) >= _PREFIX:
            self._length()

    def clear(self) -> None:
        """Forget what is kept."""
        self._buffer.clear()

    def complete(self) -> bool:
        """Whether a whole message is there."""
        buffer = self._buffer
        return len(buffer) >= _PREFIX and len(buffer) >= _PREFIX + self._length()

    def take(self) -> bytes | None:
        """The next message, or None when it is not complete.

        Raises:
            ResourceExhausted, Unimplemented, Internal: it is too large, in an unknown encoding or
                broken.
        """
        buffer = self._buffer
        if len(buffer) < _PREFIX:
            return None
        end = _PREFIX + self._length()
        if len(buffer) < end:
            return None
        compressed = buffer[0]
        message = bytes(memoryview(buffer)[_PREFIX:end])
        del buffer[:end]
        return self._inflate(message, compressed) if compressed else message

    def single(self, data: bytes) -> bytes | None:
        """`data` as exactly one plain message, if nothing was kept before: the usual unary call."""
        if self._buffer or len(data) < _PREFIX or data[0]:
            return None
        if int.from_bytes(data[1:_PREFIX], "big") != len(data) - _PREFIX:
            return None
        return data[_PREFIX:] if len(data) - _PREFIX <= self._max_bytes else None

    def _length(self) -> int:
        length = int.from_bytes(self._buffer[1:_PREFIX], "big")
        if length > self._max_bytes:
            raise ResourceExhausted(
                f"grpc: received message larger than max ({length} vs. {self._max_bytes})"
            )
        return length

    def _inflate(self, message: bytes, compressed: int) -> bytes:
        if compressed != 1:
            raise Internal("grpc: received unexpected payload format")
        if self.encoding == b"identity":
            raise Internal("grpc: compressed flag set with identity or empty encoding")
        if self.encoding != b"gzip":
            name = self.encoding.decode("latin-1")
            raise Unimplemented(f"grpc: Decompressor is not installed for grpc-encoding {name!r}")
        unpacker = zlib.decompressobj(_GZIP)
        try:
            plain = unpacker.decompress(message, self._max_bytes + 1)
        except zlib.error as error:
            raise Internal("grpc: failed to decompress the received message") from error
        if len(plain) > self._max_bytes:
            raise ResourceExhausted(
                f"grpc: received message after decompression larger than max {self._max_bytes}"
            )
        if not unpacker.eof:
            raise Internal("grpc: failed to decompress the received message")
        return plain
