from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto import der
from spire_py.crypto.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateFacts,
    InvalidCertificate,
)
from spire_py.crypto.keys import public_key_der
from spire_py.crypto.signature import signature_scheme, signed
from spire_py.crypto.subject import DEFAULT_CA_SUBJECT, EMPTY_SUBJECT
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.errors import SpireError
from tests.unit.spiffe.certificates import CA, HOUR, NOW, WORKLOAD, Issuer

ISSUER = Issuer("root")
ROOT = self_signed_ca(ISSUER.key, "spiffe://example.org", DEFAULT_CA_SUBJECT, NOW, NOW + HOUR)


def test_the_facts_of_a_ca() -> None:
    facts = CertificateFacts(ROOT)
    parsed = x509.load_der_x509_certificate(ROOT)
    assert facts.der == ROOT
    assert facts.certificate == parsed
    assert facts.serial_number == parsed.serial_number
    assert (facts.not_before, facts.not_after) == (NOW, NOW + HOUR)
    assert facts.is_ca
    assert facts.uris == ("spiffe://example.org",)
    assert facts.dns_names == ()
    assert facts.public_key_der == public_key_der(ISSUER.key)
    assert facts.authority_key_id is None
    assert facts.authority_id == facts.subject_key_id.hex()
    assert len(facts.authority_id) == 40
    assert facts.subject_der == facts.issuer_der == parsed.subject.public_bytes()


def test_a_certificate_without_extensions_is_read() -> None:
    facts = CertificateFacts(ISSUER.root(()))
    assert not facts.is_ca
    assert facts.uris == facts.dns_names == ()
    assert facts.key_usage is None
    # The authority ID of a root made by others is computed as SPIRE does.
    assert facts.subject_key_id == CertificateFacts(ROOT).subject_key_id


def test_dns_names_and_uris_are_told_apart() -> None:
    names = x509.SubjectAlternativeName(
        [x509.DNSName("a.test"), x509.UniformResourceIdentifier(WORKLOAD)]
    )
    facts = CertificateFacts(ISSUER.leaf(extensions=[(names, False)]))
    assert facts.uris == (WORKLOAD,)
    assert facts.dns_names == ("a.test",)


def test_a_subject_beyond_the_bounds_of_x520_is_read_where_it_does_not_matter() -> None:
    subject = b"\x30\x11\x31\x0f\x30\x0d\x06\x03\x55\x04\x06\x13\x06France"
    assert CertificateFacts(certificate(subject=subject)).subject_der == subject


def certificate(
    *,
    serial: bytes = der.integer(1),
    version: int = 2,
    extensions: bytes = b"",
    subject: bytes = EMPTY_SUBJECT,
) -> bytes:
    """A certificate the library's builder would refuse to make."""
    scheme = signature_scheme(ISSUER.key)
    seconds = int(NOW.timestamp())
    content = der.sequence(
        der.tlv(0xA0, der.integer(version)),
        serial,
        scheme.algorithm,
        EMPTY_SUBJECT,
        der.sequence(der.time(seconds), der.time(seconds + 3600)),
        subject,
        public_key_der(ISSUER.key),
        der.tlv(0xA3, der.sequence(extensions)) if extensions else b"",
    )
    return signed(scheme, content)


def test_the_odd_certificates_below_are_odd_in_one_thing_only() -> None:
    assert CertificateFacts(certificate()).serial_number == 1


def with_unused_bits(signed_value: bytes) -> bytes:
    """The same, but two bits of the last octet of the signature are said to be unused."""
    content, algorithm, signature = parts(signed_value)
    body = signature[1:-1] + bytes((signature[-1] & 0xFC,))
    return der.sequence(content, algorithm, der.tlv(der.BIT_STRING, b"\x02", body))


def parts(signed_value: bytes) -> list[bytes]:
    found = []
    _, position, whole = der.read_header(signed_value)
    while position < whole:
        _, start, end = der.read_header(signed_value, position)
        found.append(signed_value[position:end] if len(found) < 2 else signed_value[start:end])
        position = end
    return found


BASIC = der.extension("2.5.29.19", der.sequence())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"junk", id="junk"),
        pytest.param(ROOT[:-1], id="cut off"),
        pytest.param(ROOT + b"\0", id="more after it"),
        pytest.param(bytes(MAX_CERTIFICATE_BYTES + 1), id="too long"),
        pytest.param(with_unused_bits(ROOT), id="unused bits in the signature"),
        pytest.param(certificate(serial=der.integer(0)), id="serial 0"),
        pytest.param(certificate(serial=b"\x02\x01\xff"), id="negative serial"),
        pytest.param(certificate(version=3), id="version 4"),
        pytest.param(certificate(extensions=BASIC + BASIC), id="extension twice"),
        pytest.param(
            certificate(extensions=der.extension("2.5.29.19", b"junk")), id="bad extension"
        ),
        pytest.param(
            certificate(extensions=der.extension("2.5.29.17", der.sequence(b"\x86\x01\xe9"))),
            id="name is not ASCII",
        ),
        pytest.param(
            certificate(extensions=der.extension("2.5.29.17", der.sequence(b"\xa3\x02\x30\x00"))),
            id="name of a strange kind",
        ),
    ],
)
def test_a_malformed_certificate_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidCertificate):
        CertificateFacts(content)


@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_no_change_of_a_byte_raises_anything_but_our_error(position: int, change: int) -> None:
    changed = bytearray(RICH)
    changed[position % len(changed)] ^= change
    try:
        facts = CertificateFacts(bytes(changed))
        _ = facts.subject, facts.subject_der, facts.uris, facts.dns_names, facts.is_ca
        _ = facts.key_usage, facts.authority_key_id, facts.serial_number
        _ = facts.subject_key_id, facts.public_key_der
    except SpireError as error:
        error.message.encode("utf-8")


RICH = ISSUER.leaf(WORKLOAD, extensions=CA)
