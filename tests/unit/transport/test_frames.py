from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.transport import frames
from spire_py.transport.frames import ConnectionFault, ErrorCode


@given(
    kind=st.integers(0, 255),
    flags=st.integers(0, 255),
    stream=st.integers(0, 2**31 - 1),
    payload=st.binary(max_size=300),
)
def test_a_frame_has_its_length_type_flags_and_stream(
    kind: int, flags: int, stream: int, payload: bytes
) -> None:
    encoded = frames.frame(kind, flags, stream, payload)
    assert int.from_bytes(encoded[:3]) == len(payload)
    assert struct.unpack(">BBI", encoded[3:9]) == (kind, flags, stream)
    assert encoded[9:] == payload


@given(size=st.integers(0, 70_000), flags=st.sampled_from([0, frames.END_STREAM]))
def test_a_long_header_block_goes_on_in_continuations(size: int, flags: int) -> None:
    block = bytes(index % 251 for index in range(size))
    encoded = frames.header_frames(7, block, flags)
    found: list[tuple[int, int, bytes]] = []
    while encoded:
        length = int.from_bytes(encoded[:3])
        assert length <= frames.MIN_FRAME_SIZE
        assert struct.unpack(">I", encoded[5:9]) == (7,)
        found.append((encoded[3], encoded[4], encoded[9 : 9 + length]))
        encoded = encoded[9 + length :]
    assert found[0][0] == frames.HEADERS
    assert all(kind == frames.CONTINUATION for kind, _, _ in found[1:])
    assert [each[1] & frames.END_HEADERS for each in found] == [0] * (len(found) - 1) + [4]
    assert found[0][1] & frames.END_STREAM == flags
    assert b"".join(each[2] for each in found) == block


@given(st.lists(st.tuples(st.integers(7, 2**16 - 1), st.integers(0, 2**32 - 1)), max_size=20))
def test_settings_come_back_as_they_were_sent(pairs: list[tuple[int, int]]) -> None:
    encoded = frames.settings(pairs)
    assert list(frames.parse_settings(encoded[9:])) == pairs


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"\0" * 5, ErrorCode.FRAME_SIZE_ERROR, id="length"),
        pytest.param(struct.pack(">HI", 4, 2**31), ErrorCode.FLOW_CONTROL_ERROR, id="window"),
        pytest.param(struct.pack(">HI", 5, 16_383), ErrorCode.PROTOCOL_ERROR, id="small frames"),
        pytest.param(struct.pack(">HI", 5, 2**24), ErrorCode.PROTOCOL_ERROR, id="large frames"),
        pytest.param(struct.pack(">HI", 2, 2), ErrorCode.PROTOCOL_ERROR, id="push"),
    ],
)
def test_settings_out_of_range_are_refused(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(ConnectionFault) as caught:
        list(frames.parse_settings(payload))
    assert caught.value.code is code


@given(data=st.binary(max_size=100), padding=st.integers(0, 255))
def test_padding_is_taken_off(data: bytes, padding: int) -> None:
    assert frames.unpad(bytes((padding,)) + data + bytes(padding)) == data


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x05abcd"])
def test_padding_beyond_the_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(ConnectionFault):
        frames.unpad(payload)


def test_the_reason_of_a_goaway_is_cut() -> None:
    encoded = frames.goaway(5, ErrorCode.ENHANCE_YOUR_CALM, "x" * 1000)
    assert len(encoded) == 9 + 8 + 64
    assert struct.unpack(">II", encoded[9:17]) == (5, 11)
