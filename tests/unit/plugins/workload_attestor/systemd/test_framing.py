from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import DBusAddress, HeaderFields, Message, new_error, new_method_return, new_signal
from jeepney.low_level import Endianness
from jeepney.wrappers import new_method_call
from spire_py_plugins.workload_attestor.systemd.framing import Answer, BadAnswer, Framer

from spire_py.errors import Unavailable

ADDRESS = DBusAddress("/x", "a.b", "a.b")
CALL = new_method_call(ADDRESS, "C")
CALL.header.fields[HeaderFields.sender] = ":1.1"
CALL.header.serial = 42


def answer(body: str = "", endianness: Endianness = Endianness.little) -> bytes:
    message = new_method_return(CALL, "v", (("s", body),))
    message.header.endianness = endianness
    return serialised(message)


def serialised(message: Message) -> bytes:
    raw: bytes = message.serialise(1)
    return raw


def signal(body: str = "") -> bytes:
    return serialised(new_signal(ADDRESS, "C", "s", (body,)))


def feed(pieces: Sequence[bytes]) -> list[Answer]:
    framer = Framer()
    return [answer for piece in pieces for answer in framer.feed(piece)]


@given(
    st.lists(
        st.sampled_from([answer("a"), answer("b" * 70_000), signal("c"), signal("d" * 70_000)]),
        max_size=5,
    ),
    st.lists(st.integers(0, 200_000), max_size=8),
)
def test_however_the_bytes_are_cut_the_answers_are_the_same(
    messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(messages)
    places = sorted({0, *cuts, len(stream)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    expected = [each for message in messages for each in feed([message])]
    assert feed(pieces) == expected
    assert len(expected) == sum(message[1] == 2 for message in messages)


@given(st.binary(max_size=300))
def test_nonsense_is_refused_or_waited_on(data: bytes) -> None:
    readable = answer("x")
    for raw in (data, readable[:1] + data, readable[:16] + data, readable[:4] + data):
        try:
            feed([raw])
        except Unavailable:
            """The connection ends."""


@given(st.binary(max_size=40), st.integers(16, len(answer("x"))))
def test_a_damaged_answer_is_a_bad_answer(damage: bytes, place: int) -> None:
    raw = answer("x")
    damaged = raw[:place] + damage + raw[place + len(damage) :]
    try:
        for each in feed([damaged]):
            for read in (each.string_variant, each.object_path):
                try:
                    assert isinstance(read(), str)
                except BadAnswer:
                    """Its caller is told."""
    except Unavailable:
        """The connection ends."""


@pytest.mark.parametrize("endianness", list(Endianness))
def test_both_byte_orders_are_read(endianness: Endianness) -> None:
    (read,) = feed([answer("x", endianness)])
    assert (read.serial, read.string_variant()) == (42, "x")


@pytest.mark.parametrize(
    ("signature", "body", "shown"),
    [
        ("s", ("No\nsuch\x1b[31m unit",), "No such [31m unit"),
        ("s", ("x" * 1000,), "x" * 300),
        ("s", ("",), "a.b.Failed"),
        ("", (), "a.b.Failed"),
        ("u", (7,), "a.b.Failed"),
    ],
)
def test_an_error_is_shown_in_one_line(
    signature: str, body: tuple[object, ...], shown: str
) -> None:
    (read,) = feed([serialised(new_error(CALL, "a.b.Failed", signature or None, body))])
    with pytest.raises(BadAnswer) as refused:
        read.object_path()
    assert str(refused.value) == shown


def test_what_is_longer_than_any_message_may_be_is_refused() -> None:
    with pytest.raises(Unavailable, match="longer than any may be"):
        feed([struct.pack("<BBBBIII", ord("l"), 2, 0, 1, 2**27, 1, 0)])


def test_what_is_no_answer_is_never_held() -> None:
    framer = Framer()
    start = signal("x" * 2**20)[:1000]
    assert list(framer.feed(start)) == []
    for _ in range(100):
        assert list(framer.feed(b"x" * 10_000)) == []
    assert len(framer._buffer) < 100_000
