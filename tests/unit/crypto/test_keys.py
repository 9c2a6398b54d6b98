from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.keys import (
    MAX_KEY_BYTES,
    generate_key,
    load_public_key,
    pkcs8_to_private_key,
    private_key_to_pkcs8,
    public_key_der,
    subject_key_id,
)
from spire_py.errors import InvalidArgument, SpireError

KINDS = ("ec-p256", "ec-p384", "rsa-2048", "rsa-4096")


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_each_kind_is_made_stored_and_read(kind: str) -> None:
    key = generate_key(kind)
    family, _, size = kind.partition("-")
    assert key.key_size == int(size.lstrip("p"))
    assert isinstance(key, rsa.RSAPrivateKey) == (family == "rsa")
    again = pkcs8_to_private_key(private_key_to_pkcs8(key))
    assert again.private_numbers() == key.private_numbers()
    assert load_public_key(public_key_der(key)) == key.public_key()


@pytest.mark.parametrize("kind", ["", "ec-p521", "rsa-1024", "EC-P256"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(InvalidArgument, match="is unknown"):
        generate_key(kind)


def pkcs8(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def spki(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        pytest.param(rsa.generate_private_key(65537, 1024), "has 1024 bits", id="rsa 1024"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), "curve secp256k1", id="curve"),
        pytest.param(dsa.generate_private_key(1024), "must be EC", id="dsa"),
    ],
)
def test_weak_and_unusual_keys_are_refused(key: object, fault: str) -> None:
    with pytest.raises(InvalidArgument, match=fault):
        pkcs8_to_private_key(pkcs8(key))
    with pytest.raises(InvalidArgument, match=fault):
        load_public_key(spki(key))


def test_ed25519_is_a_workloads_key_only() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert load_public_key(spki(key)) == key.public_key()
    with pytest.raises(InvalidArgument, match="must be EC or RSA"):
        pkcs8_to_private_key(pkcs8(key))


def test_a_malformed_key_is_refused_without_being_shown() -> None:
    content = private_key_to_pkcs8(generate_key("ec-p256"))
    for bad in (content[:-1], b"", content[1:], bytes(MAX_KEY_BYTES + 1)):
        with pytest.raises(InvalidArgument) as caught:
            pkcs8_to_private_key(bad)
        assert caught.value.__cause__ is None


def test_an_encrypted_key_is_refused() -> None:
    encrypted = generate_key("ec-p256").private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(InvalidArgument, match="malformed"):
        pkcs8_to_private_key(encrypted)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_key_identifier_is_that_of_rfc_5280(kind: str) -> None:
    key = generate_key(kind).public_key()
    expected = x509.SubjectKeyIdentifier.from_public_key(key).digest
    assert subject_key_id(public_key_der(key)) == expected


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_error(data: bytes) -> None:
    for read in (load_public_key, pkcs8_to_private_key):
        with pytest.raises(SpireError):
            read(data)
