from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.keys import PrivateKey, generate_key, private_key_to_pkcs8, public_key_der
from spire_py.crypto.pem import (
    MAX_PEM_BYTES,
    certificates_to_pem,
    pem_to_certificates,
    pem_to_private_key,
    private_key_to_pem,
)
from spire_py.errors import InvalidArgument, SpireError
from tests.unit.spiffe.certificates import Issuer

ROOTS = [Issuer("one").root(), Issuer("two").root()]
PEM = certificates_to_pem(ROOTS)


def test_certificates_are_written_as_others_write_them() -> None:
    lines = PEM.splitlines()
    assert lines[0] == "-----BEGIN CERTIFICATE-----"
    assert lines[-1] == "-----END CERTIFICATE-----"
    assert len(lines[1]) == 64
    assert PEM.endswith("-----END CERTIFICATE-----\n")
    read = x509.load_pem_x509_certificates(PEM.encode())
    assert read == [x509.load_der_x509_certificate(root) for root in ROOTS]
    assert certificates_to_pem([]) == ""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(PEM, id="text"),
        pytest.param(PEM.encode(), id="bytes"),
        pytest.param(PEM.replace("\n", "\r\n"), id="carriage returns"),
        pytest.param("# Subject: é\n\n" + PEM + "\ntrailer", id="text around it"),
        pytest.param(PEM.rstrip("\n"), id="no line feed at the end"),
    ],
)
def test_certificates_are_read(text: str | bytes) -> None:
    assert pem_to_certificates(text) == ROOTS


KEY_PEM = private_key_to_pem(private_key_to_pkcs8(generate_key("ec-p256")))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("", "no PEM blocks", id="empty"),
        pytest.param("hello", "no PEM blocks", id="no block"),
        pytest.param(
            PEM + KEY_PEM,
            'expected block type "CERTIFICATE"; got "PRIVATE KEY"',
            id="a key among them",
        ),
        pytest.param(PEM[:-30], "malformed", id="cut off"),
        pytest.param(PEM.replace("MII", "M-I", 1), "malformed", id="bad character"),
        pytest.param(PEM.replace("MII", "M!I", 1), "malformed", id="worse character"),
        pytest.param(PEM.replace("MII", "AAA", 1), "certificate is malformed", id="no DER"),
        pytest.param("a" * (MAX_PEM_BYTES + 1), "too long", id="too long"),
    ],
)
def test_a_text_that_is_no_list_of_certificates_is_refused(text: str, fault: str) -> None:
    with pytest.raises(InvalidArgument, match=fault):
        pem_to_certificates(text)


def test_a_private_key_is_written() -> None:
    key = generate_key("ec-p256")
    text = private_key_to_pem(private_key_to_pkcs8(key))
    assert text.startswith("-----BEGIN PRIVATE KEY-----\n")
    assert load_pem_private_key(text.encode(), None).public_key() == key.public_key()


@given(st.text() | st.binary() | st.text("-BEGIN CRTFA\nM=", max_size=80))
def test_no_text_raises_anything_but_our_error(text: str | bytes) -> None:
    with pytest.raises(SpireError):
        pem_to_certificates(text)
    with pytest.raises(SpireError):
        pem_to_private_key(text if isinstance(text, bytes) else text.encode())


EC_KEY = ec.generate_private_key(ec.SECP521R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


def pem_of(key: PrivateKey, form: PrivateFormat) -> bytes:
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["EC", "RSA"])
@pytest.mark.parametrize(
    "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS8", "older"]
)
def test_a_private_key_is_read(key: PrivateKey, form: PrivateFormat) -> None:
    read = pem_to_private_key(b"the key:\n" + pem_of(key, form))
    assert public_key_der(read) == public_key_der(key)


ENCRYPTED = EC_KEY.private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
)
ENCRYPTED_OLDER = EC_KEY.private_bytes(
    Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
)
ED25519 = ed25519.Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
EXPECTED = r'expected block type \["PRIVATE KEY" "RSA PRIVATE KEY" "EC PRIVATE KEY"\]; got '


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param(b"", "no PEM blocks", id="empty"),
        pytest.param(PEM.encode(), f'{EXPECTED}"CERTIFICATE"', id="a certificate"),
        pytest.param(KEY_PEM.encode() * 2, "expected 1 PEM blocks; got 2", id="two keys"),
        pytest.param(ENCRYPTED, f'{EXPECTED}"ENCRYPTED PRIVATE KEY"', id="encrypted"),
        pytest.param(ENCRYPTED_OLDER, "no PEM blocks|malformed or encrypted", id="encrypted once"),
        pytest.param(ED25519, "must be EC or RSA", id="of another kind"),
        pytest.param(
            KEY_PEM.encode().replace(b"MIG", b"MIH"), "malformed or encrypted", id="garbled"
        ),
        pytest.param(b"a" * (MAX_PEM_BYTES + 1), "too long", id="too long"),
    ],
)
def test_a_text_that_is_no_private_key_is_refused(text: bytes, fault: str) -> None:
    with pytest.raises(InvalidArgument, match=fault) as refused:
        pem_to_private_key(text)
    assert "MIG" not in str(refused.value)
