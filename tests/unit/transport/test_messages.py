from __future__ import annotations

import gzip
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.errors import Internal, ResourceExhausted, Unimplemented
from spire_py.transport.messages import MessageReader, encode, encode_compressed

bodies = st.lists(st.binary(max_size=3000), max_size=8)


def feed_in_pieces(reader: MessageReader, data: bytes, cuts: list[int]) -> list[bytes]:
    taken: list[bytes] = []
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        reader.feed(data[start:end])
        while (message := reader.take()) is not None:
            taken.append(message)
    return taken


@given(bodies=bodies, cuts=st.lists(st.integers(0, 20_000), max_size=10))
def test_messages_come_back_however_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(encode(body) for body in bodies)
    reader = MessageReader(10_000)
    assert feed_in_pieces(reader, data, cuts) == bodies
    assert (reader.size, reader.complete(), reader.take()) == (0, False, None)


@given(bodies=bodies, cuts=st.lists(st.integers(0, 20_000), max_size=10))
def test_compressed_messages_come_back(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(encode_compressed(body) for body in bodies)
    assert feed_in_pieces(MessageReader(10_000, b"gzip"), data, cuts) == bodies


@given(st.binary(max_size=2000))
def test_a_single_plain_message_is_cut_off_without_a_copy_of_the_rest(body: bytes) -> None:
    assert MessageReader(10_000).single(encode(body)) == body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\0\0\0", id="half a prefix"),
        pytest.param(b"\0\0\0\0\2a", id="half a message"),
        pytest.param(b"\0\0\0\0\1ab", id="more than a message"),
        pytest.param(b"\1\0\0\0\1a", id="compressed"),
        pytest.param(encode(b"x" * 101), id="too large"),
    ],
)
def test_anything_else_is_no_single_message(data: bytes) -> None:
    assert MessageReader(100).single(data) is None


def test_a_message_that_is_too_large_is_refused_by_its_prefix() -> None:
    reader = MessageReader(100)
    reader.feed(encode(b"x" * 100))
    assert reader.take() == b"x" * 100
    with pytest.raises(ResourceExhausted, match=r"larger than max \(101 vs. 100\)"):
        reader.feed(b"\0\0\0\0\x65")


def compressed(body: bytes, flag: int = 1) -> bytes:
    return bytes((flag,)) + len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("encoding", "data", "error"),
    [
        pytest.param(b"identity", compressed(gzip.compress(b"x")), Internal, id="no encoding"),
        pytest.param(b"br", compressed(b"x"), Unimplemented, id="unknown encoding"),
        pytest.param(b"gzip", compressed(b"junk"), Internal, id="no gzip"),
        pytest.param(b"gzip", compressed(zlib.compress(b"x")), Internal, id="zlib"),
        pytest.param(b"gzip", compressed(gzip.compress(b"xyz")[:-3]), Internal, id="cut short"),
        pytest.param(b"gzip", compressed(b""), Internal, id="empty"),
        pytest.param(b"gzip", compressed(b"x", flag=2), Internal, id="unknown flag"),
        pytest.param(
            b"gzip", compressed(gzip.compress(bytes(1 << 20))), ResourceExhausted, id="bomb"
        ),
    ],
)
def test_bad_compressed_messages_are_refused(
    encoding: bytes, data: bytes, error: type[Exception]
) -> None:
    reader = MessageReader(10_000, encoding)
    reader.feed(data)
    with pytest.raises(error):
        reader.take()


def test_small_messages_are_not_compressed() -> None:
    assert encode_compressed(b"x" * 100) == encode(b"x" * 100)
    assert len(encode_compressed(b"x" * 10_000)) < 200
