"""HPACK (RFC 7541), bounded: the tables are the `hpack` library's, the loop is ours for speed.

The encoder is stateless: it writes literals and the static table's indexes only, so a block can be
kept and sent again, and nothing a peer sends makes us hold memory for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from hpack.huffman_table import (
    HUFFMAN_COMPLETE,
    HUFFMAN_EMIT_SYMBOL,
    HUFFMAN_FAIL,
    HUFFMAN_TABLE,
)
from hpack.table import HeaderTable

from .frames import ConnectionFault, ErrorCode

Header = tuple[bytes, bytes]

_STATIC: tuple[Header, ...] = tuple((bytes(n), bytes(v)) for n, v in HeaderTable.STATIC_TABLE)
_STATIC_COUNT = len(_STATIC)
_ENTRY_OVERHEAD = 32  # RFC 7541 section 4.1
_TABLE_SIZE = 4096
_MAX_REPEATED_BYTES = 1024
_MAX_INTEGER_SHIFT = 28
_MAX_SIZE_UPDATES = 2  # RFC 7541 section 4.2 has at most two at the start of a block


def _broken(reason: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.COMPRESSION_ERROR, reason)


def decode_huffman(data: bytes) -> bytes:
    """Decode the static Huffman code (RFC 7541 section 5.2)."""
    state = flags = 0
    out = bytearray()
    table = HUFFMAN_TABLE
    for byte in data:
        state, flags, symbol = table[(state << 4) + (byte >> 4)]
        if flags & HUFFMAN_EMIT_SYMBOL:
            out.append(symbol)
        elif flags & HUFFMAN_FAIL:
            raise _broken("huffman code")
        state, flags, symbol = table[(state << 4) + (byte & 0xF)]
        if flags & HUFFMAN_EMIT_SYMBOL:
            out.append(symbol)
        elif flags & HUFFMAN_FAIL:
            raise _broken("huffman code")
    if data and not flags & HUFFMAN_COMPLETE:
        raise _broken("huffman padding")
    return bytes(out)


class HeaderDecoder:
    """Reads header blocks of one connection, in order.

    Args:
        max_list_bytes: the most one block may come to, counted as RFC 9113 section 6.5.2 does.
    """

    __slots__ = ("_last", "_last_block", "_max_list_bytes", "_max_size", "_size", "_table")

    def __init__(self, max_list_bytes: int) -> None:
        self._table: deque[Header] = deque()
        self._size = 0
        self._max_size = _TABLE_SIZE
        self._max_list_bytes = max_list_bytes
        self._last_block: bytes | None = None
        self._last: Sequence[Header] = ()

    def decode(self, block: bytes) -> Sequence[Header]:
        """The headers of a whole block.

        Clients repeat themselves: a block that equals the one before, while the table is as it
        was, gives the very same object again.

        Raises:
            ConnectionFault: the block is malformed or larger than allowed. The connection's
                compression state is lost then, so it cannot go on.
        """
        if block == self._last_block:
            return self._last
        self._last_block = block if len(block) <= _MAX_REPEATED_BYTES else None
        try:
            self._last = self._decode(block)
        except IndexError as error:
            raise _broken("truncated header block") from error
        return self._last

    def _decode(self, block: bytes) -> list[Header]:
        headers: list[Header] = []
        position = total = size_updates = 0
        end = len(block)
        while position < end:
            first = block[position]
            if first >= 0x80:  # indexed field
                index, position = _integer(block, position, 0x7F)
                header = self._get(index)
            elif 0x20 <= first < 0x40:  # table size update
                size_updates += 1
                if headers or size_updates > _MAX_SIZE_UPDATES:
                    raise _broken("table size update")
                size, position = _integer(block, position, 0x1F)
                self._resize(size)
                continue
            else:
                mask = 0x3F if first >= 0x40 else 0x0F
                index, position = _integer(block, position, mask)
                if index:
                    name = self._get(index)[0]
                else:
                    name, position = _string(block, position)
                value, position = _string(block, position)
                header = (name, value)
                if mask == 0x3F:
                    self._insert(header)
            total += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
            if total > self._max_list_bytes:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header list too large")
            headers.append(header)
        return headers

    def _get(self, index: int) -> Header:
        if 0 < index <= _STATIC_COUNT:
            return _STATIC[index - 1]
        if index == 0:
            raise _broken("index 0")
        return self._table[index - _STATIC_COUNT - 1]

    def _insert(self, header: Header) -> None:
        self._last_block = None
        self._table.appendleft(header)
        self._size += len(header[0]) + len(header[1]) + _ENTRY_OVERHEAD
        self._evict()

    def _resize(self, size: int) -> None:
        if size > _TABLE_SIZE:
            raise _broken("table size")
        self._last_block = None
        self._max_size = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._max_size:
            name, value = self._table.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    value = block[position] & mask
    position += 1
    if value < mask:
        return value, position
    shift = 0
    while True:
        byte = block[position]
        position += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > _MAX_INTEGER_SHIFT:
            raise _broken("integer too large")


def _string(block: bytes, position: int) -> tuple[bytes, int]:
    coded = block[position] & 0x80
    length, position = _integer(block, position, 0x7F)
    end = position + length
    value = block[position:end]
    if len(value) != length:
        raise _broken("truncated string")
    return (decode_huffman(value) if coded else value), end


def encode_headers(headers: Iterable[Header]) -> bytes:
    """A header block of literals without indexing, or of the static table where that has it."""
    return b"".join(encode_header(name, value) for name, value in headers)


def encode_header(name: bytes, value: bytes) -> bytes:
    index = _STATIC_FIELDS.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))
    name_index = _STATIC_NAMES.get(name)
    if name_index is None:
        return b"\x00" + _encode_string(name) + _encode_string(value)
    return _encode_integer(name_index, 0x0F, 0) + _encode_string(value)


def _encode_string(text: bytes) -> bytes:
    return _encode_integer(len(text), 0x7F, 0) + text


def _encode_integer(value: int, mask: int, high_bits: int) -> bytes:
    if value < mask:
        return bytes((high_bits | value,))
    out = bytearray((high_bits | mask,))
    value -= mask
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_STATIC_FIELDS = {
    field: index for index, field in reversed(list(enumerate(_STATIC, 1))) if field[1]
}
_STATIC_NAMES = {field[0]: index for index, field in reversed(list(enumerate(_STATIC, 1)))}
