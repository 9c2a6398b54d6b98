from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto import der
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.errors import InvalidArgument


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x04\x00"),
        (127, b"\x04\x7f"),
        (128, b"\x04\x81\x80"),
        (255, b"\x04\x81\xff"),
        (256, b"\x04\x82\x01\x00"),
        (65536, b"\x04\x83\x01\x00\x00"),
    ],
)
def test_lengths_take_as_few_octets_as_may_be(length: int, header: bytes) -> None:
    assert der.tlv(der.OCTET_STRING, bytes(length)) == header + bytes(length)


@pytest.mark.parametrize(
    ("number", "content"),
    [(0, b"\x00"), (127, b"\x7f"), (128, b"\x00\x80"), (256, b"\x01\x00"), (2**128 - 1, None)],
)
def test_integers_are_never_negative(number: int, content: bytes | None) -> None:
    expected = content or b"\x00" + b"\xff" * 16
    assert der.integer(number) == bytes((2, len(expected))) + expected


@pytest.mark.parametrize(
    "dotted", ["2.5.29.15", "1.2.840.10045.4.3.2", "1.2.840.113549.1.1.11", "2.999.3"]
)
def test_object_identifiers_are_those_of_the_library(dotted: str) -> None:
    subject = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(dotted), "a")])
    assert der.object_identifier(dotted) in subject.public_bytes()


@pytest.mark.parametrize(
    ("moment", "encoded"),
    [
        (datetime(1949, 12, 31, tzinfo=UTC), b"\x18\x0f19491231000000Z"),
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC), b"\x17\x0d260504030201Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(999, 1, 1, tzinfo=UTC), b"\x18\x0f09990101000000Z"),
    ],
)
def test_times_change_their_form_with_the_century(moment: datetime, encoded: bytes) -> None:
    assert der.time(int(moment.timestamp())) == encoded


@given(tag=st.integers(0, 255), content=st.binary(max_size=300), before=st.binary(max_size=5))
def test_what_is_written_is_read_again(tag: int, content: bytes, before: bytes) -> None:
    data = before + der.tlv(tag, content)
    assert der.read_header(data, len(before)) == (tag, len(data) - len(content), len(data))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30", b"\x30\x01", b"\x30\x80", b"\x30\x82\x01", b"\x30\x85\0\0\0\0\x01a"],
)
def test_what_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="DER"):
        der.read_header(data)


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
def test_the_bits_of_a_public_key_are_those_its_identifier_hashes(kind: str) -> None:
    key = generate_key(kind).public_key()
    bits = der.public_key_bits(public_key_der(key))
    if not isinstance(key, rsa.RSAPublicKey):
        assert bits[0] == 4  # an uncompressed point
        assert len(bits) == 1 + 2 * key.key_size // 8
    assert public_key_der(key).endswith(bits)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_our_error(data: bytes) -> None:
    for read in (der.public_key_bits, der.subject_and_issuer, der.check_signature_bits):
        try:
            read(data)
        except InvalidArgument:
            continue
