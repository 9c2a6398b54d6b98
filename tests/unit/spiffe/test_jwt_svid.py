from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.keys import PrivateKey, generate_key, public_key_der
from spire_py.errors import InvalidArgument, SpireError
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.jwt_svid import (
    LEEWAY,
    MAX_TOKEN_BYTES,
    InvalidJWTSVID,
    VerifiedClaims,
    parse_unverified,
    sign_claims,
    sign_jwt_svid,
    validate_jwt_svid,
)
from tests.unit.spiffe.certificates import FOREIGN, HOME, NOW, WORKLOAD, Issuer

EC_KEY = generate_key("ec-p256")
EC_384_KEY = generate_key("ec-p384")
EC_521_KEY = ec.generate_private_key(ec.SECP521R1())
RSA_KEY = generate_key("rsa-2048")
KEYS: Mapping[str, PrivateKey] = {
    "ec": EC_KEY,
    "ec384": EC_384_KEY,
    "ec521": EC_521_KEY,
    "rsa": RSA_KEY,
}
HOME_BUNDLE = Bundle(
    HOME,
    jwt_authorities=tuple(
        JWTAuthority(key_id, public_key_der(key)) for key_id, key in KEYS.items()
    ),
)
BUNDLES = {HOME: HOME_BUNDLE}
EXPIRY = NOW + timedelta(minutes=5)
SECOND = timedelta(seconds=1)
CLAIMS: Mapping[str, Any] = {
    "sub": WORKLOAD,
    "aud": ["db"],
    "exp": int(EXPIRY.timestamp()),
    "iat": int(NOW.timestamp()),
}


def sign(key_id: str = "ec", **changes: Any) -> str:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not ...}
    return sign_claims(KEYS[key_id], key_id, claims)


def encode(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def token_with_header(header: object, *, algorithm: str = "ES256", key: Any = EC_KEY) -> str:
    """A token whose signature is good, whatever its header says."""
    signed_part = f"{encode(header)}.{encode(dict(CLAIMS))}"
    signature = jwt.get_algorithm_by_name(algorithm).sign(signed_part.encode(), key)
    return f"{signed_part}.{encode(signature)}"


def validate(token: str) -> VerifiedClaims:
    return validate_jwt_svid(token, "db", BUNDLES, NOW)


@pytest.mark.spec(40, 45, 46, 47)
@pytest.mark.parametrize(
    ("key_id", "algorithm"),
    [("ec", "ES256"), ("ec384", "ES384"), ("rsa", "RS256")],
)
def test_a_token_we_sign_has_what_the_specification_asks(key_id: str, algorithm: str) -> None:
    token = sign_jwt_svid(
        KEYS[key_id],
        key_id,
        spiffe_id=SpiffeID.parse(WORKLOAD),
        audience=["db", "", "cache"],
        expires_at=EXPIRY + timedelta(milliseconds=700),
        issued_at=NOW + timedelta(milliseconds=700),
    )
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": key_id, "typ": "JWT"}
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims == {**CLAIMS, "aud": ["db", "cache"]}
    assert all(isinstance(claims[name], int) for name in ("exp", "iat"))
    verified = validate(token)
    assert verified.spiffe_id == SpiffeID.parse(WORKLOAD)
    assert verified.audience == ("db", "cache")
    assert verified.expires_at == EXPIRY
    assert verified.issued_at == NOW


@pytest.mark.spec(46)
def test_one_audience_is_written_as_a_list() -> None:
    token = sign_jwt_svid(
        EC_KEY, "ec", spiffe_id=WORKLOAD, audience=["db"], expires_at=EXPIRY, issued_at=NOW
    )
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == ["db"]


def test_issuer_and_jti_are_written_where_given() -> None:
    token = sign_jwt_svid(
        EC_KEY,
        "ec",
        spiffe_id=WORKLOAD,
        audience=["db"],
        expires_at=EXPIRY,
        issued_at=NOW,
        issuer="https://issuer.example.org",
        jti="abc",
    )
    claims = validate(token).claims
    assert claims["iss"] == "https://issuer.example.org"
    assert claims["jti"] == "abc"


@pytest.mark.spec(46)
def test_signing_without_audience_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="audience"):
        sign_jwt_svid(
            EC_KEY, "ec", spiffe_id=WORKLOAD, audience=[""], expires_at=EXPIRY, issued_at=NOW
        )


@pytest.mark.spec(44)
def test_signing_without_key_id_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="key ID"):
        sign_jwt_svid(
            EC_KEY, "", spiffe_id=WORKLOAD, audience=["db"], expires_at=EXPIRY, issued_at=NOW
        )


@pytest.mark.spec(39)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda token: json.dumps(
                dict(zip(("protected", "payload", "signature"), token.split("."), strict=True))
            ),
            id="JSON serialization",
        ),
        pytest.param(lambda token: token + ".", id="four parts"),
        pytest.param(lambda token: token.rpartition(".")[0], id="two parts"),
        pytest.param(lambda token: token + "=", id="padding"),
        pytest.param(lambda token: token + "\n", id="newline"),
        pytest.param(lambda token: " " + token, id="space"),
        pytest.param(lambda token: "é" + token, id="not ASCII"),
        pytest.param(lambda token: "", id="empty"),
        pytest.param(lambda token: "..", id="empty parts"),
        pytest.param(lambda token: token + "A" * MAX_TOKEN_BYTES, id="too long"),
    ],
)
def test_only_the_compact_form_is_read(change: Any) -> None:
    with pytest.raises(InvalidJWTSVID, match="unable to parse JWT token"):
        validate(change(sign()))


@pytest.mark.spec(41)
@pytest.mark.parametrize(
    ("algorithm", "key_id"),
    [
        *((name, "rsa") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ES256", "ec"),
        ("ES384", "ec384"),
        ("ES512", "ec521"),
    ],
)
def test_each_algorithm_of_the_list_is_accepted(algorithm: str, key_id: str) -> None:
    header = {"alg": algorithm, "kid": key_id}
    assert validate(token_with_header(header, algorithm=algorithm, key=KEYS[key_id]))


@pytest.mark.spec(41)
@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "EdDSA", "ES256K", ""])
def test_another_algorithm_is_refused_before_anything_else_is_looked_at(algorithm: str) -> None:
    token = f"{encode({'alg': algorithm, 'typ': 'bad'})}.junk!.junk!"
    with pytest.raises(InvalidJWTSVID, match="unexpected alg"):
        validate(token)


@pytest.mark.spec(41)
@pytest.mark.parametrize("header", [{}, {"alg": None}, {"alg": ["ES256"]}, {"alg": {}}])
def test_a_header_without_algorithm_is_refused(header: object) -> None:
    with pytest.raises(InvalidJWTSVID, match="unexpected alg"):
        validate(token_with_header(header))


@pytest.mark.spec(41)
def test_a_public_key_is_no_hmac_secret() -> None:
    secret = RSA_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed_part = f"{encode({'alg': 'HS256', 'kid': 'rsa'})}.{encode(dict(CLAIMS))}"
    signature = hmac.new(secret, signed_part.encode(), hashlib.sha256).digest()
    with pytest.raises(InvalidJWTSVID, match="unexpected alg"):
        validate(f"{signed_part}.{encode(signature)}")


@pytest.mark.spec(42)
@pytest.mark.parametrize(
    ("algorithm", "key_id"),
    [("RS256", "ec"), ("ES256", "rsa"), ("ES256", "ec384"), ("ES384", "ec"), ("PS256", "ec")],
)
def test_an_algorithm_that_does_not_fit_the_key_is_refused(algorithm: str, key_id: str) -> None:
    signer = RSA_KEY if algorithm[1] == "S" and algorithm[0] != "E" else EC_KEY
    signer = EC_384_KEY if algorithm == "ES384" else signer
    header = {"alg": algorithm, "kid": key_id}
    with pytest.raises(InvalidJWTSVID, match="does not fit"):
        validate(token_with_header(header, algorithm=algorithm, key=signer))


@pytest.mark.spec(43)
@pytest.mark.parametrize("extra", [{}, {"typ": "JWT"}, {"typ": "JOSE"}])
def test_a_fitting_type_is_accepted(extra: dict[str, str]) -> None:
    assert validate(token_with_header({"alg": "ES256", "kid": "ec", **extra}))


@pytest.mark.spec(43)
@pytest.mark.parametrize("typ", ["jwt", "wit+jwt", "", None, 1, ["JWT"]])
def test_another_type_is_refused(typ: object) -> None:
    with pytest.raises(InvalidJWTSVID, match="token header type not equal to either JWT or JOSE"):
        validate(token_with_header({"alg": "ES256", "kid": "ec", "typ": typ}))


@pytest.mark.parametrize(
    "extra", [{"crit": ["exp"]}, {"b64": False}, {"kid": 1}], ids=["crit", "b64", "kid"]
)
def test_a_header_we_cannot_honour_is_refused(extra: dict[str, object]) -> None:
    with pytest.raises(InvalidJWTSVID, match="token header has"):
        validate(token_with_header({"alg": "ES256", "kid": "ec", **extra}))


@pytest.mark.spec(44)
@pytest.mark.parametrize("key_id", list(KEYS))
def test_a_token_without_kid_is_valid_under_any_key_that_fits(key_id: str) -> None:
    algorithm = {"ec": "ES256", "ec384": "ES384", "ec521": "ES512", "rsa": "RS256"}[key_id]
    token = token_with_header({"alg": algorithm}, algorithm=algorithm, key=KEYS[key_id])
    assert validate(token)


@pytest.mark.spec(44)
def test_a_token_without_kid_that_no_key_signed_is_refused() -> None:
    with pytest.raises(InvalidJWTSVID, match="signature is invalid"):
        validate(token_with_header({"alg": "ES256"}, key=generate_key("ec-p256")))


@pytest.mark.spec(45)
@pytest.mark.parametrize(
    ("subject", "fault"),
    [
        pytest.param(..., "missing subject", id="absent"),
        pytest.param("", "missing subject", id="empty"),
        pytest.param("alice", "invalid subject claim: scheme", id="name"),
        pytest.param("https://example.org/x", "invalid subject claim: scheme", id="url"),
        pytest.param("spiffe://example.org//", "invalid subject claim: path", id="bad path"),
    ],
)
def test_a_subject_that_is_no_spiffe_id_is_refused(subject: object, fault: str) -> None:
    # The signer would refuse to sign a number as subject: that case is in the property test.
    with pytest.raises(InvalidJWTSVID, match=fault):
        validate(sign(sub=subject))


@pytest.mark.spec(46)
@pytest.mark.parametrize("audience", ["db", ["db"], ["cache", "db"]])
def test_both_forms_of_audience_are_read(audience: object) -> None:
    assert validate(sign(aud=audience))


@pytest.mark.spec(46)
@pytest.mark.parametrize("audience", [..., [], None, 1, ["db", 1], {"db": 1}], ids=repr)
def test_a_missing_or_malformed_audience_is_refused(audience: object) -> None:
    with pytest.raises(InvalidJWTSVID, match="aud claim"):
        validate(sign(aud=audience))


@pytest.mark.spec(46)
def test_a_token_for_someone_else_is_refused_in_spires_words() -> None:
    with pytest.raises(InvalidJWTSVID) as caught:
        validate(sign(aud=["cache", "web"]))
    assert caught.value.message == 'expected audience in ["db"] (audience=["cache" "web"])'


@pytest.mark.spec(46)
def test_any_of_our_names_suffices() -> None:
    assert validate_jwt_svid(sign(), ["cache", "db"], BUNDLES, NOW)
    with pytest.raises(InvalidJWTSVID, match="expected audience"):
        validate_jwt_svid(sign(), [], BUNDLES, NOW)


@pytest.mark.spec(47)
@pytest.mark.parametrize(
    ("expiry", "fault"),
    [
        pytest.param(..., "missing exp", id="absent"),
        pytest.param(None, "missing exp", id="null"),
        pytest.param("1", "malformed exp", id="text"),
        pytest.param(True, "malformed exp", id="bool"),
        pytest.param(10**30, "malformed exp", id="huge"),
        pytest.param(-(10**12), "malformed exp", id="before all years"),
        pytest.param(1, "token has expired", id="1970"),
        pytest.param((NOW - LEEWAY - SECOND).timestamp(), "token has expired", id="just past"),
    ],
)
def test_a_missing_or_past_expiry_is_refused(expiry: object, fault: str) -> None:
    with pytest.raises(InvalidJWTSVID, match=fault):
        validate(sign(exp=expiry))


@pytest.mark.spec(47)
def test_clocks_may_differ_by_a_minute() -> None:
    assert validate(sign(exp=int((NOW - LEEWAY).timestamp())))
    assert validate(sign(nbf=int((NOW + LEEWAY).timestamp())))
    assert validate(sign(iat=int((NOW + LEEWAY).timestamp())))


@pytest.mark.spec(47)
@pytest.mark.parametrize(("name", "fault"), [("nbf", "not valid yet"), ("iat", "in the future")])
def test_a_token_of_the_future_is_refused(name: str, fault: str) -> None:
    late = int((NOW + LEEWAY + SECOND).timestamp())
    with pytest.raises(InvalidJWTSVID, match=fault):
        validate(sign(**{name: late}))


@pytest.mark.spec(50)
def test_an_x509_key_of_the_same_domain_signs_no_token() -> None:
    root = Issuer("root")
    bundle = Bundle(HOME, x509_authorities=(X509Authority(root.root()),))
    token = sign_claims(root.key, "ec", CLAIMS)
    with pytest.raises(InvalidJWTSVID, match=r'no keys found for trust domain "example.org"'):
        validate_jwt_svid(token, "db", {HOME: bundle}, NOW)


@pytest.mark.spec(50)
def test_a_wit_key_signs_no_token() -> None:
    bundle = Bundle(HOME, wit_authorities=HOME_BUNDLE.jwt_authorities)
    with pytest.raises(InvalidJWTSVID, match="no keys found"):
        validate_jwt_svid(sign(), "db", {HOME: bundle}, NOW)


@pytest.mark.spec(51)
def test_a_key_of_another_domain_with_the_same_kid_is_not_taken() -> None:
    stranger = generate_key("ec-p256")
    foreign = Bundle(FOREIGN, jwt_authorities=(JWTAuthority("ec", public_key_der(stranger)),))
    bundles = {**BUNDLES, FOREIGN: foreign}
    forged = sign_claims(stranger, "ec", CLAIMS)
    own = sign_claims(stranger, "ec", {**CLAIMS, "sub": "spiffe://foreign.test/x"})
    assert validate_jwt_svid(own, "db", bundles, NOW).spiffe_id.trust_domain == FOREIGN
    with pytest.raises(InvalidJWTSVID, match="signature is invalid"):
        validate_jwt_svid(forged, "db", bundles, NOW)


@pytest.mark.spec(51, 57)
@pytest.mark.parametrize("bundles", [{}, {HOME: Bundle(HOME)}], ids=["none", "empty"])
def test_without_a_bundle_nothing_is_valid(bundles: dict[TrustDomain, Bundle]) -> None:
    with pytest.raises(InvalidJWTSVID, match=r'no keys found for trust domain "example.org"'):
        validate_jwt_svid(sign(), "db", bundles, NOW)


@pytest.mark.spec(51)
def test_an_unknown_kid_is_refused_in_spires_words() -> None:
    with pytest.raises(InvalidJWTSVID) as caught:
        validate(sign_claims(EC_KEY, "lost", CLAIMS))
    assert caught.value.message == 'public key "lost" not found in trust domain "example.org"'


def test_a_repeated_name_in_the_claims_is_refused() -> None:
    claims = json.dumps(dict(CLAIMS))[:-1] + ', "sub": "spiffe://example.org/admin"}'
    signed_part = f"{encode({'alg': 'ES256', 'kid': 'ec'})}.{encode(claims.encode())}"
    signature = jwt.get_algorithm_by_name("ES256").sign(signed_part.encode(), EC_KEY)
    with pytest.raises(InvalidJWTSVID, match="a name twice"):
        validate(f"{signed_part}.{encode(signature)}")


def test_a_refusal_is_always_utf_8_and_never_holds_the_token() -> None:
    token = token_with_header({"alg": "ES256", "kid": "\x00\n\"'"})
    with pytest.raises(InvalidJWTSVID) as caught:
        validate(token)
    assert "\n" not in caught.value.message
    assert token.rpartition(".")[2] not in caught.value.message
    with pytest.raises(InvalidJWTSVID, match="JSON is malformed"):
        validate(token_with_header({"alg": "ES256", "kid": "\ud800"}))


@pytest.mark.spec(12)
def test_an_id_of_2048_bytes_is_signed_and_read() -> None:
    spiffe_id = f"spiffe://example.org/{'a' * 2027}"
    assert str(validate(sign(sub=spiffe_id)).spiffe_id) == spiffe_id


def test_unverified_claims_are_read_without_any_key() -> None:
    claims = parse_unverified(sign_claims(RSA_KEY, "whatever", CLAIMS))
    assert str(claims.spiffe_id) == WORKLOAD
    assert claims.expires_at == EXPIRY
    assert claims.issued_at == NOW


@given(position=st.integers(min_value=0), change=st.characters(codec="ascii"))
def test_a_token_with_a_character_changed_is_refused(position: int, change: str) -> None:
    position %= len(GOOD)
    changed = GOOD[:position] + change + GOOD[position + 1 :]
    if decoded(changed) == decoded(GOOD):
        return
    with pytest.raises(InvalidJWTSVID):
        validate(changed)


GOOD = sign()


def decoded(token: str) -> list[object]:
    """The bytes the parts stand for: the last character of a part has bits that do not count."""
    head, body, signature = token.split(".") if token.count(".") == 2 else (token, "", "")
    try:
        return [head, body, base64.b64decode(signature + "==", b"-_", validate=True)]
    except ValueError:
        return [token]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(
    header=st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit"]),
        st.sampled_from(["ES256", "RS256", "JWT", "ec"]) | json_values,
    ),
    claims=st.dictionaries(
        st.sampled_from(["sub", "aud", "exp", "nbf", "iat", "iss"]),
        st.sampled_from([WORKLOAD, "db", 1777900000]) | json_values,
    ),
    signature=st.binary(max_size=80),
)
def test_no_token_raises_anything_but_our_error(
    header: object, claims: object, signature: bytes
) -> None:
    token = f"{encode(header)}.{encode(claims)}.{encode(signature)}"
    with pytest.raises(SpireError):
        validate(token)
    try:
        parse_unverified(token)
    except SpireError as error:
        error.message.encode("utf-8")


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_our_error(text: str) -> None:
    with pytest.raises(SpireError):
        validate(text)


def test_deep_nesting_is_refused() -> None:
    header = encode(b'{"alg":' + b"[" * 9000 + b"]" * 2000)
    with pytest.raises(InvalidJWTSVID):
        validate(f"{header}.e30.AA")


def test_a_key_on_a_curve_of_no_algorithm_signs_nothing() -> None:
    with pytest.raises(InvalidArgument, match="signs no JWT-SVID"):
        sign_claims(ec.generate_private_key(ec.SECP256K1()), "k", CLAIMS)


def test_an_rsa_key_of_too_few_bits_verifies_nothing() -> None:
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    bundle = Bundle(HOME, jwt_authorities=(JWTAuthority("small", public_key_der(small)),))
    token = token_with_header({"alg": "RS256", "kid": "small"}, algorithm="RS256", key=small)
    with pytest.raises(InvalidJWTSVID, match="JWT authority is not usable"):
        validate_jwt_svid(token, "db", {HOME: bundle}, NOW)
