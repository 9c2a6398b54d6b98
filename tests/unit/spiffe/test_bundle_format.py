from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.jwk import public_key_to_jwk
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.subject import DEFAULT_CA_SUBJECT
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.errors import InvalidArgument, SpireError
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.bundle_format import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_KEYS,
    InvalidBundle,
    bundle_from_json,
    bundle_from_pem,
    bundle_map_from_json,
    bundle_to_json,
    bundle_to_pem,
    jwks_for_workloads,
)
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import InvalidX509SVID, verify_chain
from tests.unit.spiffe.certificates import FOREIGN, HOME, HOUR, NOW, WORKLOAD, Issuer, bundle_of

EC_KEY = generate_key("ec-p256")
RSA_KEY = generate_key("rsa-2048")
ROOTS = tuple(
    self_signed_ca(key, "spiffe://example.org", DEFAULT_CA_SUBJECT, NOW, NOW + HOUR)
    for key in (EC_KEY, RSA_KEY, generate_key("ec-p384"))
)
FULL = Bundle(
    HOME,
    x509_authorities=tuple(X509Authority(root) for root in ROOTS),
    jwt_authorities=(
        JWTAuthority("one", public_key_der(EC_KEY)),
        JWTAuthority("two", public_key_der(RSA_KEY)),
    ),
    wit_authorities=(JWTAuthority("three", public_key_der(EC_KEY)),),
    refresh_hint=timedelta(minutes=5),
    sequence_number=2**64 - 1,
)


def x509_key(root: bytes = ROOTS[0], **changes: Any) -> dict[str, Any]:
    key = {
        "use": "x509-svid",
        **public_key_to_jwk(CertificateFacts(root).public_key_der),
        "x5c": [base64.b64encode(root).decode()],
        **changes,
    }
    return {name: value for name, value in key.items() if value is not ...}


def jwt_key(**changes: Any) -> dict[str, Any]:
    key = {
        "use": "jwt-svid",
        "kid": "one",
        **public_key_to_jwk(public_key_der(EC_KEY)),
        **changes,
    }
    return {name: value for name, value in key.items() if value is not ...}


def read(*keys: object, **top: Any) -> Bundle:
    return bundle_from_json(HOME, json.dumps({"keys": keys, **top}))


ONLY_GOOD = (X509Authority(ROOTS[1]),)
GOOD = x509_key(ROOTS[1])


@pytest.mark.spec(35, 49, 53, 54, 55, 61)
def test_what_is_written_is_read_again() -> None:
    assert bundle_from_json(HOME, bundle_to_json(FULL)) == FULL


@pytest.mark.spec(35, 49, 53, 55, 61)
def test_the_document_has_the_members_and_the_order_that_spire_prints() -> None:
    bundle = FULL.with_changes(x509_authorities=FULL.x509_authorities[:2], sequence_number=7)
    document = json.loads(bundle_to_json(bundle))
    assert list(document) == ["keys", "spiffe_sequence", "spiffe_refresh_hint"]
    assert document["spiffe_sequence"] == 7
    assert document["spiffe_refresh_hint"] == 300
    assert [list(key) for key in document["keys"]] == [
        ["use", "kty", "crv", "x", "y", "x5c"],
        ["use", "kty", "n", "e", "x5c"],
        ["use", "kty", "kid", "crv", "x", "y"],
        ["use", "kty", "kid", "n", "e"],
        ["use", "kty", "kid", "crv", "x", "y"],
    ]
    assert [key["use"] for key in document["keys"]] == [
        *["x509-svid"] * 2,
        *["jwt-svid"] * 2,
        "wit-svid",
    ]
    assert document["keys"][0]["x5c"] == [base64.b64encode(ROOTS[0]).decode()]
    assert document["keys"][2]["kid"] == "one"


@pytest.mark.spec(36)
def test_the_certificate_of_our_ca_is_self_signed() -> None:
    for root in ROOTS:
        facts = CertificateFacts(root)
        facts.certificate.verify_directly_issued_by(facts.certificate)


def test_the_document_is_indented_by_four() -> None:
    text = bundle_to_json(Bundle(HOME, jwt_authorities=FULL.jwt_authorities[:1]))
    assert text.splitlines()[:4] == [
        "{",
        '    "keys": [',
        "        {",
        '            "use": "jwt-svid",',
    ]
    assert bundle_to_json(Bundle(HOME)) == '{\n    "keys": []\n}'


def test_workloads_get_jwt_keys_without_use() -> None:
    document = json.loads(jwks_for_workloads(FULL))
    assert list(document) == ["keys"]
    assert [list(key) for key in document["keys"]] == [
        ["kty", "kid", "crv", "x", "y"],
        ["kty", "kid", "n", "e"],
    ]


def test_pem_holds_the_roots_only() -> None:
    assert bundle_from_pem(HOME, bundle_to_pem(FULL)) == Bundle(
        HOME, x509_authorities=FULL.x509_authorities
    )


@pytest.mark.spec(37)
@pytest.mark.parametrize("chain", [..., [], None], ids=["missing", "empty", "null"])
def test_an_x509_key_without_certificate_is_ignored(chain: object) -> None:
    assert read(x509_key(x5c=chain), GOOD).x509_authorities == ONLY_GOOD


@pytest.mark.spec(38)
def test_the_first_certificate_counts() -> None:
    chain = [*GOOD["x5c"], "not even base64", *x509_key()["x5c"]]
    assert read({**GOOD, "x5c": chain}).x509_authorities == ONLY_GOOD


@pytest.mark.spec(52)
def test_unknown_members_are_tolerated() -> None:
    bundle = read({**GOOD, "alg": "ES256", "x": 1}, spiffe_new={"a": [1]}, other=None)
    assert bundle.x509_authorities == ONLY_GOOD


@pytest.mark.spec(53, 55)
def test_sequence_and_hint_may_be_missing() -> None:
    bundle = read(GOOD)
    assert bundle.sequence_number == 0
    assert bundle.refresh_hint == timedelta()


@pytest.mark.spec(54)
@pytest.mark.parametrize("number", [0, 2**31, 2**53 + 1, 2**63, 2**64 - 1])
def test_the_sequence_number_keeps_64_bits(number: int) -> None:
    assert read(spiffe_sequence=number).sequence_number == number


@pytest.mark.parametrize("number", [-1, 2**64, 1.5, 1.0, "1", True, [1]])
def test_a_sequence_number_of_another_kind_is_refused(number: object) -> None:
    with pytest.raises(InvalidBundle, match="spiffe_sequence must be a whole number"):
        read(spiffe_sequence=number)


@pytest.mark.spec(55)
def test_the_refresh_hint_is_whole_seconds() -> None:
    assert read(spiffe_refresh_hint=600).refresh_hint == timedelta(minutes=10)
    for bad in (-1, 1.5, "600", 10**12):
        with pytest.raises(InvalidBundle, match="spiffe_refresh_hint must be a whole number"):
            read(spiffe_refresh_hint=bad)


@pytest.mark.spec(56)
@pytest.mark.parametrize("text", ["{}", '{"keys": null}', '{"keys": {}}', '{"Keys": []}'])
def test_missing_keys_are_an_error(text: str) -> None:
    with pytest.raises(InvalidBundle, match="no authorities found"):
        bundle_from_json(HOME, text)


@pytest.mark.spec(56, 57)
def test_an_empty_list_of_keys_is_legal_and_trusts_nobody() -> None:
    bundle = read()
    assert bundle == Bundle(HOME)
    with pytest.raises(InvalidX509SVID, match="no X509 bundle"):
        verify_chain([Issuer("root").leaf(WORKLOAD)], {HOME: bundle}, NOW)


@pytest.mark.spec(57)
def test_a_bundle_without_usable_keys_makes_every_svid_invalid() -> None:
    root = Issuer("root")
    good = bundle_of(HOME, root.root())
    leaf = root.leaf(WORKLOAD)
    assert verify_chain([leaf], {HOME: good}, NOW)
    migrated = read(x509_key(root.root(), use="new-svid"))
    with pytest.raises(InvalidX509SVID, match="no X509 bundle"):
        verify_chain([leaf], {HOME: migrated}, NOW)


@pytest.mark.spec(58)
@pytest.mark.parametrize("kind", ["oct", "LMS", "ec", 1, None, ...])
def test_an_unknown_key_type_is_ignored(kind: object) -> None:
    bundle = read(x509_key(kty=kind), jwt_key(kty=kind), GOOD)
    assert bundle == Bundle(HOME, x509_authorities=ONLY_GOOD)


@pytest.mark.spec(58)
@pytest.mark.parametrize("curve", ["secp256k1", "X448"])
def test_an_unknown_curve_is_ignored(curve: str) -> None:
    assert read(jwt_key(crv=curve), jwt_key(kty="OKP", crv=curve), GOOD).jwt_authorities == ()


@pytest.mark.spec(59, 60)
@pytest.mark.parametrize("use", ["sig", "X509-SVID", "x509-svid ", "", None, 1, ...])
def test_an_unknown_use_is_ignored(use: object) -> None:
    bundle = read(x509_key(use=use), jwt_key(use=use), GOOD)
    assert bundle == Bundle(HOME, x509_authorities=ONLY_GOOD)


@pytest.mark.spec(50)
def test_an_x509_key_never_becomes_a_jwt_authority() -> None:
    assert read(x509_key(kid="one")).jwt_authorities == ()


@pytest.mark.spec(49)
@pytest.mark.parametrize("kid", [..., "", None, 1])
def test_a_jwt_key_without_kid_is_ignored(kid: object) -> None:
    assert read(jwt_key(kid=kid), jwt_key(kid="two")).jwt_authorities == (
        JWTAuthority("two", public_key_der(EC_KEY)),
    )


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(x509_key(x5c=["junk"]), id="certificate is no base64"),
        pytest.param(x509_key(x5c=["AAAA"]), id="certificate is no DER"),
        pytest.param(x509_key(x5c=[1]), id="certificate is no text"),
        pytest.param(x509_key(x5c=GOOD["x5c"]), id="certificate of another key"),
        pytest.param(x509_key(x=...), id="x509 without x"),
        pytest.param(jwt_key(x="AA"), id="not on the curve"),
        pytest.param(jwt_key(y="!"), id="no base64url"),
        pytest.param(jwt_key(kty="RSA"), id="rsa without n"),
        pytest.param(jwt_key(kty="RSA", n="AQ", e="AQAB"), id="rsa too short"),
        pytest.param(jwt_key(kty="RSA", n="A" * 9999, e="AQAB"), id="rsa too long"),
        pytest.param(jwt_key(kty="OKP", crv="Ed25519"), id="ed25519 too long", marks=[]),
        pytest.param([], id="no object"),
    ],
)
def test_a_malformed_key_of_a_known_kind_makes_the_document_invalid(key: object) -> None:
    if isinstance(key, dict) and key.get("crv") == "Ed25519":
        key["x"] = "AAAA"
    with pytest.raises(InvalidBundle, match="unable to parse bundle"):
        read(GOOD, key)


def test_the_same_key_twice_counts_once() -> None:
    assert read(GOOD, GOOD, jwt_key(), jwt_key()) == Bundle(
        HOME,
        x509_authorities=ONLY_GOOD,
        jwt_authorities=(JWTAuthority("one", public_key_der(EC_KEY)),),
    )


def test_two_keys_with_one_kid_are_refused() -> None:
    other = {**jwt_key(), **public_key_to_jwk(public_key_der(generate_key("ec-p256")))}
    with pytest.raises(InvalidBundle, match="two keys have the kid 'one'"):
        read(jwt_key(), other)


def test_padding_and_line_breaks_of_other_producers_are_read() -> None:
    padded = jwt_key(x=jwt_key()["x"] + "=")
    broken = {**GOOD, "x5c": [GOOD["x5c"][0][:64] + "\n" + GOOD["x5c"][0][64:]]}
    assert read(padded, broken) == read(jwt_key(), GOOD)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param('{"keys": [], "keys": []}', id="name twice"),
        pytest.param('{"keys": [], "a": NaN}', id="nan"),
        pytest.param('{"keys": []} x', id="more after it"),
        pytest.param(b'{"keys": [], "a": "\xff"}', id="not utf-8"),
        pytest.param('{"keys": [], "a": "\\ud800"}', id="half a surrogate pair"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param(" " * (MAX_BUNDLE_BYTES + 1), id="too long"),
        pytest.param(json.dumps({"keys": [{}] * (MAX_BUNDLE_KEYS + 1)}), id="too many keys"),
    ],
)
def test_a_text_that_is_no_bundle_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidBundle):
        bundle_from_json(HOME, text)


def test_writing_a_malformed_authority_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidArgument):
        bundle_to_json(Bundle(HOME, x509_authorities=(X509Authority(b"junk"),)))


@pytest.mark.spec(62)
def test_a_bundle_map_is_read() -> None:
    text = json.dumps(
        {
            "trust_domains": {"example.org": {"keys": [GOOD]}, "foreign.test": {"keys": []}},
            "more": 1,
        }
    )
    assert bundle_map_from_json(text).bundles == {
        HOME: Bundle(HOME, x509_authorities=ONLY_GOOD),
        FOREIGN: Bundle(FOREIGN),
    }


@pytest.mark.spec(62)
def test_an_empty_bundle_map_is_legal() -> None:
    assert bundle_map_from_json('{"trust_domains": {}}').bundles == {}


@pytest.mark.spec(62)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{}", id="no trust_domains"),
        pytest.param('{"trust_domains": []}', id="list"),
        pytest.param('{"trust_domains": {"a": {"keys": []}, "a": {"keys": []}}}', id="twice"),
        pytest.param('{"trust_domains": {"A": {"keys": []}}}', id="upper case"),
        pytest.param('{"trust_domains": {"spiffe://a": {"keys": []}}}', id="id"),
        pytest.param('{"trust_domains": {"a": {"keys": []}, "b": {}}}', id="one is broken"),
        pytest.param('{"trust_domains": {"a": []}}', id="no object"),
    ],
)
def test_a_bundle_map_is_refused(text: str) -> None:
    with pytest.raises(InvalidBundle, match="unable to parse bundle map"):
        bundle_map_from_json(text)


@pytest.mark.spec(63)
def test_the_hint_of_a_bundle_does_not_become_the_maps() -> None:
    inner = {"keys": [], "spiffe_refresh_hint": 1}
    bundle_map = bundle_map_from_json(json.dumps({"trust_domains": {"example.org": inner}}))
    assert bundle_map.refresh_hint == timedelta()
    outer = {"trust_domains": {"example.org": inner}, "spiffe_refresh_hint": 60}
    assert bundle_map_from_json(json.dumps(outer)).refresh_hint == timedelta(minutes=1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
known_values = st.sampled_from(
    [
        "x509-svid",
        "jwt-svid",
        "wit-svid",
        "EC",
        "RSA",
        "OKP",
        "P-256",
        "Ed25519",
        "AQAB",
        GOOD["n"],
        GOOD["x5c"],
    ]
)
members = st.sampled_from(["use", "kty", "kid", "crv", "x", "y", "n", "e", "x5c"])


@given(
    keys=st.lists(st.dictionaries(members, known_values | json_values), max_size=3),
    top=st.dictionaries(
        st.sampled_from(["spiffe_sequence", "spiffe_refresh_hint", "other"]), json_values
    ),
)
def test_no_document_raises_anything_but_our_error(keys: list[Any], top: dict[str, Any]) -> None:
    try:
        bundle = read(*keys, **top)
    except SpireError as error:
        error.message.encode("utf-8")
        return
    assert bundle_from_json(HOME, bundle_to_json(bundle)) == bundle


@given(st.text() | st.binary())
def test_no_text_raises_anything_but_our_error(text: str | bytes) -> None:
    for parse in (bundle_map_from_json, lambda data: bundle_from_json(TrustDomain("a"), data)):
        with pytest.raises(SpireError):
            parse(text)


def test_an_ed25519_jwt_key_is_kept() -> None:
    jwk = {"use": "jwt-svid", "kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": "A" * 43}
    document = json.loads(bundle_to_json(read(jwk)))
    assert document["keys"][0]["crv"] == "Ed25519"


def test_a_p521_key_is_written_with_its_full_length() -> None:
    key = public_key_der(ec.generate_private_key(ec.SECP521R1()))
    assert len(public_key_to_jwk(key)["x"]) == 88
