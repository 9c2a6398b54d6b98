from __future__ import annotations

import re

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from spire_py.transport.frames import ConnectionFault, ErrorCode
from spire_py.transport.headers import HeaderDecoder, decode_huffman, encode_headers

MANY = 1 << 20
names = st.one_of(
    st.sampled_from([b":path", b":method", b"content-type", b"grpc-timeout", b"x-a"]),
    st.binary(min_size=1, max_size=40),
)
header_lists = st.lists(st.tuples(names, st.binary(max_size=200)), max_size=20)


@given(st.lists(header_lists, max_size=6), st.booleans())
def test_blocks_of_the_librarys_encoder_are_read(
    blocks: list[list[tuple[bytes, bytes]]], huffman: bool
) -> None:
    """Several blocks through one connection: the dynamic tables must stay in step."""
    encoder = Encoder()
    decoder = HeaderDecoder(MANY)
    for headers in blocks:
        encoded = encoder.encode(headers, huffman=huffman)
        assert list(decoder.decode(encoded)) == headers


@given(st.lists(st.tuples(header_lists, st.integers(0, 4096)), max_size=6))
def test_the_table_may_change_its_size_between_blocks(
    blocks: list[tuple[list[tuple[bytes, bytes]], int]],
) -> None:
    encoder = Encoder()
    decoder = HeaderDecoder(MANY)
    for headers, size in blocks:
        encoder.header_table_size = size
        assert list(decoder.decode(encoder.encode(headers))) == headers


@given(header_lists)
def test_the_librarys_decoder_reads_our_blocks(headers: list[tuple[bytes, bytes]]) -> None:
    decoder = Decoder(max_header_list_size=MANY)
    read = decoder.decode(encode_headers(headers), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in read] == headers


@given(header_lists)
def test_our_blocks_leave_no_trace_in_the_table(headers: list[tuple[bytes, bytes]]) -> None:
    decoder = HeaderDecoder(MANY)
    block = encode_headers(headers)
    for _ in range(3):
        assert list(decoder.decode(block)) == headers


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(block: bytes) -> None:
    try:
        headers = HeaderDecoder(16_384).decode(block)
    except ConnectionFault:
        return
    assert sum(len(name) + len(value) + 32 for name, value in headers) <= 16_384


@given(st.binary(max_size=300))
def test_any_bytes_are_read_as_the_library_reads_them(block: bytes) -> None:
    try:
        expected = Decoder(max_header_list_size=MANY).decode(block, raw=True)
    except Exception:
        return  # where ours is laxer is a question for the cases below
    if re.match(rb"[\x20-\x3f]{3}", block):
        return  # we stop at two sizes, as RFC 7541 section 4.2 tells encoders to
    headers = HeaderDecoder(MANY).decode(block)
    assert list(headers) == [(bytes(name), bytes(value)) for name, value in expected]


def test_a_repeated_block_is_read_once_unless_the_table_moved() -> None:
    decoder = HeaderDecoder(MANY)
    block = encode_headers([(b":method", b"POST"), (b"x", b"y")])
    first = decoder.decode(block)
    assert decoder.decode(block) is first
    indexed = Encoder().encode([(b"a", b"b")])
    inserted = decoder.decode(indexed)
    assert list(inserted) == [(b"a", b"b")]
    # The same bytes insert again, so they must be worked through again.
    decoder.decode(indexed)
    assert list(decoder.decode(b"\xbe\xbf")) == [(b"a", b"b")] * 2


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff\xff", id="end of string"),
        pytest.param(b"\x00", id="padding of zeros"),
        pytest.param(b"\x1f\xff\xff", id="padding of more than 7 bits"),
    ],
)
def test_broken_huffman_codes_are_refused(data: bytes) -> None:
    with pytest.raises(ConnectionFault):
        decode_huffman(data)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="index 0"),
        pytest.param(b"\xbe", id="empty table"),
        pytest.param(b"\x82\x20", id="table size after a field"),
        pytest.param(b"\x20\x20\x20\x82", id="three table sizes"),
        pytest.param(b"\x3f\xe2\x1f", id="table size of 4097"),
        pytest.param(b"\x7f\x80\x80\x80\x80\x80\x80\x01", id="long integer"),
        pytest.param(b"\x40", id="no name"),
        pytest.param(b"\x40\x01", id="no name's bytes"),
        pytest.param(b"\x40\x01a", id="no value"),
        pytest.param(b"\x40\x01a\x05b", id="short value"),
        pytest.param(b"\xff", id="half an integer"),
    ],
)
def test_broken_blocks_are_refused(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        HeaderDecoder(MANY).decode(block)
    assert caught.value.code is ErrorCode.COMPRESSION_ERROR


def test_a_list_that_is_too_large_is_refused_early() -> None:
    decoder = HeaderDecoder(1000)
    decoder.decode(encode_headers([(b"x", b"y" * 900)]))
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(encode_headers([(b"x", b"y" * 968)]))
    assert caught.value.code is ErrorCode.ENHANCE_YOUR_CALM
