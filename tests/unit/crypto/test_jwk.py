from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.jwk import (
    decode_base64url,
    encode_base64url,
    jwk_to_public_key,
    public_key_to_jwk,
)
from spire_py.crypto.keys import generate_key, load_public_key, public_key_der
from spire_py.errors import InvalidArgument, SpireError

KEYS = {
    "ec-p256": public_key_der(generate_key("ec-p256")),
    "ec-p384": public_key_der(generate_key("ec-p384")),
    "ec-p521": public_key_der(ec.generate_private_key(ec.SECP521R1())),
    "rsa": public_key_der(generate_key("rsa-2048")),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_is_written_as_another_library_reads_it(key: bytes) -> None:
    jwk = public_key_to_jwk(key)
    assert jwk_to_public_key(jwk) == key
    assert jwt.PyJWK(jwk, algorithm=None).key == load_public_key(key)


@pytest.mark.parametrize(
    ("jwk", "fault"),
    [
        pytest.param({}, "unknown kty None", id="no kty"),
        pytest.param({"kty": "oct", "k": "AA"}, "unknown kty 'oct'", id="symmetric"),
        pytest.param({"kty": "EC", "crv": "secp256k1"}, "unknown crv", id="curve"),
        pytest.param({"kty": "OKP", "crv": "X25519", "x": "AA"}, "unknown crv", id="okp curve"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": "AA"}, "has no y", id="no y"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "malformed", id="point"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": 1, "y": "AA"}, "has no x", id="number"),
        pytest.param({"kty": "RSA", "n": "AA", "e": "AQAB"}, "malformed|bits", id="n of 0"),
        pytest.param({"kty": "RSA", "n": "_" * 9999, "e": "AQAB"}, "too long|base64", id="long n"),
        pytest.param({"kty": "RSA", "n": "_w", "e": "_" * 32}, "too long", id="long e"),
    ],
)
def test_a_malformed_jwk_is_refused(jwk: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidArgument, match=fault):
        jwk_to_public_key(jwk)


@given(st.binary(max_size=40))
def test_base64url_is_read_as_written(content: bytes) -> None:
    assert decode_base64url(encode_base64url(content)) == content


@pytest.mark.parametrize("text", ["A", "A=", "AA==", "A+", "A/", "A A", "AAAA\n", "é", "AAAAA"])
def test_what_is_no_base64url_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="base64url"):
        decode_base64url(text)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e"]),
        st.sampled_from(["EC", "RSA", "OKP", "P-256", "Ed25519", "AQAB", "A" * 43])
        | st.text(max_size=50)
        | st.integers()
        | st.none(),
    )
)
def test_no_jwk_raises_anything_but_our_error(jwk: dict[str, Any]) -> None:
    try:
        key = jwk_to_public_key(jwk)
    except SpireError:
        return
    assert json.dumps(public_key_to_jwk(key))
