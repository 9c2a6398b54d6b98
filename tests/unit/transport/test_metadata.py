from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.errors import Internal, InvalidArgument
from spire_py.transport import Metadata
from spire_py.transport.metadata import (
    decode_binary,
    decode_message,
    encode_binary,
    encode_message,
    encode_pair,
    format_timeout,
    parse_timeout,
)


@given(st.text(max_size=300))
def test_messages_of_errors_come_back(message: str) -> None:
    message = message.encode("utf-8", "replace").decode()
    raw = encode_message(message)
    assert all(0x20 <= byte < 0x7F for byte in raw)
    assert decode_message(raw) == message


@given(st.text(alphabet="aä€😀%", min_size=1, max_size=20))
def test_a_long_message_is_cut_between_escapes(part: str) -> None:
    message = part * 6000
    raw = encode_message(message)
    assert len(raw) <= 6000
    decoded = decode_message(raw)
    assert message.startswith(decoded.rstrip("\ufffd"))


@pytest.mark.parametrize("raw", [b"%", b"%4", b"%zz", b"\xff"])
def test_a_broken_message_is_shown_as_far_as_it_goes(raw: bytes) -> None:
    assert isinstance(decode_message(raw), str)


@given(st.binary(max_size=200))
def test_binary_values_come_back(value: bytes) -> None:
    encoded = encode_binary(value)
    assert not encoded.endswith(b"=")
    assert decode_binary(encoded) == value
    assert decode_binary(encoded + b"=" * (-len(encoded) % 4)) == value


@pytest.mark.parametrize("value", [b"*", b"a", b"ab=c", b"\xff"])
def test_what_is_no_base64_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidArgument):
        decode_binary(value)


@given(st.floats(0, 10**7))
def test_a_timeout_comes_back_never_shorter_and_hardly_longer(seconds: float) -> None:
    read = parse_timeout(format_timeout(seconds))
    assert seconds * 0.999999 <= read <= seconds * 1.0001 + 1e-6


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9)],
)
def test_each_unit_of_a_timeout(text: bytes, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", [b"", b"1", b"S", b"-1S", b"1.5S", b"123456789S", b"1x", b" 1S", "１S".encode()]
)
def test_a_malformed_timeout_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parse_timeout(text)


def test_an_endless_timeout_is_as_long_as_can_be_said() -> None:
    assert format_timeout(1e30) == b"99999999H"


def test_metadata_is_read_by_name() -> None:
    metadata = Metadata([(b":path", b"/x"), (b"a", b"1"), (b"a", b"2"), (b"b-bin", b"AAE,Ag")])
    assert metadata.get("a") == "1"
    assert metadata.get_all("a") == ["1", "2"]
    assert metadata.get("c") is None
    assert metadata.get_binary("b-bin") == [b"\0\1", b"\2"]
    assert (":path", "/x") not in metadata.pairs()
    assert Metadata().get("a") is None


def test_pairs_are_encoded_by_their_names() -> None:
    assert encode_pair("X-Note", "hi") == (b"x-note", b"hi")
    assert encode_pair("x-bin", b"\0\1") == (b"x-bin", b"AAE")
    for name, value in (("x\n", "a"), ("x", "a\r"), ("x", b"a"), ("x-bin", "a"), ("grpc-x", "a")):
        with pytest.raises(Internal):
            encode_pair(name, value)
