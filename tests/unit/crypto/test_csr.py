from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.csr import (
    MAX_CSR_BYTES,
    InvalidCSRSignature,
    MalformedCSR,
    make_csr,
    parse_csr,
)
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.subject import EMPTY_SUBJECT, Subject
from spire_py.errors import InvalidArgument, SpireError

KEY = generate_key("ec-p256")
WORKLOAD = "spiffe://example.org/workload"
REQUEST = make_csr(KEY, uri=WORKLOAD, dns=["a.test"])


def csr_of(key: object, *extensions: x509.ExtensionType, algorithm: object = None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "name")])
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    request = builder.sign(key, algorithm)  # type: ignore[arg-type]
    return request.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("kind", ["ec-p256", "ec-p384", "rsa-2048"])
def test_a_request_we_make_is_read_again(kind: str) -> None:
    key = generate_key(kind)
    subject = Subject(country=("US",), organization=("SPIRE",))
    parsed = parse_csr(make_csr(key, uri=WORKLOAD, dns=["a.test", "b"], subject=bytes(subject)))
    assert parsed.public_key_der == public_key_der(key)
    assert parsed.uris == (WORKLOAD,)
    assert parsed.dns_names == ("a.test", "b")
    assert parsed.subject == subject
    assert parsed.subject_der == bytes(subject)


def test_a_request_may_ask_for_nothing() -> None:
    parsed = parse_csr(make_csr(KEY))
    assert (parsed.uris, parsed.dns_names, parsed.subject_der) == ((), (), EMPTY_SUBJECT)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        pytest.param(generate_key("ec-p384"), hashes.SHA384(), id="p384"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()), hashes.SHA512(), id="p521"),
        pytest.param(generate_key("rsa-2048"), hashes.SHA512(), id="rsa"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), None, id="ed25519"),
    ],
)
def test_requests_of_other_makers_are_read(key: object, algorithm: object) -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("x:y")] * 2)
    parsed = parse_csr(csr_of(key, names, algorithm=algorithm))
    assert parsed.uris == ("x:y", "x:y")
    assert parsed.subject.common_name == "name"


@pytest.mark.parametrize(
    "request_der",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"junk", id="junk"),
        pytest.param(REQUEST[:-1], id="cut off"),
        pytest.param(REQUEST + b"\0", id="more after it"),
        pytest.param(REQUEST + b"\0" * MAX_CSR_BYTES, id="too long"),
        pytest.param(REQUEST.replace(b"spiffe", b"spiff\xe9"), id="name is not ASCII"),
        pytest.param(
            csr_of(ec.generate_private_key(ec.SECP256K1()), algorithm=hashes.SHA256()),
            id="curve not used",
        ),
        pytest.param(
            csr_of(rsa.generate_private_key(65537, 1024), algorithm=hashes.SHA256()),
            id="rsa too short",
        ),
    ],
)
def test_a_malformed_request_is_refused(request_der: bytes) -> None:
    with pytest.raises(MalformedCSR, match=r"^malformed CSR: .") as caught:
        parse_csr(request_der)
    assert caught.value.message == f"malformed CSR: {caught.value.reason}"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((b"workload", b"workloaf"), id="content"),
        pytest.param((REQUEST[-8:], bytes(8)), id="signature"),
    ],
)
def test_a_request_with_a_bad_signature_is_refused(change: tuple[bytes, bytes]) -> None:
    with pytest.raises(InvalidCSRSignature, match=r"^invalid CSR signature: .") as caught:
        parse_csr(REQUEST.replace(*change))
    assert isinstance(caught.value, InvalidArgument)
    assert caught.value.reason


def test_a_request_signed_by_another_key_is_refused() -> None:
    other = public_key_der(generate_key("ec-p256"))
    with pytest.raises(InvalidCSRSignature):
        parse_csr(REQUEST.replace(public_key_der(KEY), other))


@pytest.mark.parametrize("name", ["é", ""])
def test_a_name_that_is_not_ascii_is_not_asked_for(name: str) -> None:
    with pytest.raises(InvalidArgument, match="ASCII"):
        make_csr(KEY, uri=name)


@given(position=st.integers(min_value=0), change=st.integers(1, 255))
def test_a_request_with_a_byte_changed_is_refused(position: int, change: int) -> None:
    changed = bytearray(REQUEST)
    changed[position % len(changed)] ^= change
    with pytest.raises(SpireError):
        parse_csr(bytes(changed))


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_our_error(data: bytes) -> None:
    with pytest.raises(SpireError):
        parse_csr(data)
