from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.keys import generate_key, private_key_to_pkcs8, public_key_der
from spire_py.crypto.subject import DEFAULT_CA_SUBJECT
from spire_py.crypto.x509_signer import X509Signer, self_signed_ca
from spire_py.errors import SpireError
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID
from spire_py.spiffe.x509_svid import (
    MAX_CHAIN_LENGTH,
    InvalidX509SVID,
    check_leaf,
    parse_x509_svid,
    verify_chain,
    verify_peer_chain,
)
from tests.unit.spiffe.certificates import (
    CA,
    FOREIGN,
    HOME,
    HOUR,
    LEAF,
    NOW,
    UNKNOWN,
    WORKLOAD,
    Extensions,
    Issuer,
    bundle_of,
    key_usage,
    uris,
)

CERT_SIGN = (*LEAF[:1], (key_usage("digital_signature", "key_cert_sign"), True))
CRL_SIGN = (*LEAF[:1], (key_usage("digital_signature", "crl_sign"), True))
SMALL_CHANGE = timedelta(minutes=1)

ROOT = Issuer("root")
ROOT_DER = ROOT.root()
MIDDLE = Issuer("middle")
HOME_BUNDLES = {HOME: bundle_of(HOME, ROOT_DER)}


def other_names() -> tuple[x509.ExtensionType, bool]:
    names = [
        x509.DNSName("db.example.org"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.1")),
        x509.RFC822Name("a@example.org"),
        x509.UniformResourceIdentifier(WORKLOAD),
    ]
    return x509.SubjectAlternativeName(names), False


@pytest.mark.spec(20, 34)
@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        pytest.param((), "no URI SAN", id="none"),
        pytest.param((WORKLOAD, WORKLOAD), "more than one URI SAN", id="two"),
        pytest.param((WORKLOAD, "https://example.org"), "more than one URI SAN", id="one other"),
        pytest.param(("https://example.org/x",), "scheme is missing or invalid", id="scheme"),
        pytest.param(("spiffe://example.org",), "no path", id="no path"),
        pytest.param(("spiffe://example.org/",), "trailing slash", id="root path"),
    ],
)
def test_a_leaf_without_exactly_one_workload_id_is_refused(
    ids: tuple[str, ...], fault: str
) -> None:
    with pytest.raises(InvalidX509SVID, match=fault):
        verify_chain([ROOT.leaf(*ids)], HOME_BUNDLES, NOW)


@pytest.mark.spec(21)
def test_other_names_beside_the_id_are_accepted() -> None:
    leaf = ROOT.leaf(extensions=(*LEAF, other_names()))
    assert str(verify_chain([leaf], HOME_BUNDLES, NOW)) == WORKLOAD


@pytest.mark.spec(15)
def test_upper_case_in_the_trust_domain_of_a_leaf_is_read_as_lower_case() -> None:
    leaf = ROOT.leaf("spiffe://Example.ORG/workload")
    assert str(verify_chain([leaf], HOME_BUNDLES, NOW)) == WORKLOAD


@pytest.mark.spec(12)
def test_an_id_of_2048_bytes_is_verified() -> None:
    spiffe_id = f"spiffe://example.org/{'a' * 2027}"
    assert str(verify_chain([ROOT.leaf(spiffe_id)], HOME_BUNDLES, NOW)) == spiffe_id


@pytest.mark.parametrize(
    ("extensions", "fault"),
    [
        pytest.param(CA, "CA flag", id="ca", marks=pytest.mark.spec(26, 31)),
        pytest.param(CERT_SIGN, "KeyCertSign", id="keyCertSign", marks=pytest.mark.spec(27)),
        pytest.param(CRL_SIGN, "KeyCrlSign", id="cRLSign", marks=pytest.mark.spec(27)),
    ],
)
def test_a_signing_certificate_is_no_ones_identity(extensions: Extensions, fault: str) -> None:
    leaf = ROOT.leaf(WORKLOAD, extensions=extensions)
    with pytest.raises(InvalidX509SVID, match=fault):
        verify_chain([leaf], HOME_BUNDLES, NOW)
    with pytest.raises(InvalidX509SVID, match=fault):
        check_leaf(leaf)


@pytest.mark.spec(31)
def test_the_bundles_own_ca_is_no_ones_identity() -> None:
    root = ROOT.root((*CA, uris("spiffe://example.org")))
    with pytest.raises(InvalidX509SVID, match="CA flag"):
        verify_chain([root], {HOME: bundle_of(HOME, root)}, NOW)


@pytest.mark.spec(32)
def test_a_leaf_of_the_root_is_valid() -> None:
    assert verify_chain([ROOT.leaf(WORKLOAD)], HOME_BUNDLES, NOW) == SpiffeID.parse(WORKLOAD)


@pytest.mark.spec(32)
@pytest.mark.parametrize("more", [(), (ROOT_DER,)], ids=["without anchor", "with anchor"])
def test_a_leaf_below_an_intermediate_is_valid(more: tuple[bytes, ...]) -> None:
    chain = [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE), *more]
    assert str(verify_chain(chain, HOME_BUNDLES, NOW)) == WORKLOAD
    assert str(verify_peer_chain(chain, HOME_BUNDLES, NOW)) == WORKLOAD


@pytest.mark.spec(32)
def test_an_anchor_need_not_be_self_signed() -> None:
    bundles = {HOME: bundle_of(HOME, ROOT.intermediate(MIDDLE))}
    assert str(verify_chain([MIDDLE.leaf(WORKLOAD)], bundles, NOW)) == WORKLOAD


@pytest.mark.spec(32)
@pytest.mark.parametrize(
    "usages",
    [
        pytest.param([ExtendedKeyUsageOID.SERVER_AUTH], id="server only"),
        pytest.param([ExtendedKeyUsageOID.CLIENT_AUTH], id="client only"),
    ],
)
def test_a_leaf_for_one_end_only_is_valid(usages: list[x509.ObjectIdentifier]) -> None:
    leaf = ROOT.leaf(WORKLOAD, extensions=(*LEAF, (x509.ExtendedKeyUsage(usages), False)))
    assert str(verify_chain([leaf], HOME_BUNDLES, NOW)) == WORKLOAD


PAST = {"not_after": NOW - SMALL_CHANGE}
FUTURE = {"not_before": NOW + SMALL_CHANGE}
NO_CERT_SIGN = (*CA[:1], (key_usage("digital_signature"), True))
PATH_LENGTH_0 = ((x509.BasicConstraints(ca=True, path_length=0), True), CA[1])
ELSEWHERE = x509.NameConstraints([x509.DNSName("other.test")], None)


@pytest.mark.spec(32)
@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([ROOT.leaf(WORKLOAD, **PAST)], id="leaf expired"),
        pytest.param([ROOT.leaf(WORKLOAD, **FUTURE)], id="leaf of the future"),
        pytest.param([Issuer("root").leaf(WORKLOAD)], id="other key, same name"),
        pytest.param([Issuer("other", ROOT.key).leaf(WORKLOAD)], id="same key, other name"),
        pytest.param([MIDDLE.leaf(WORKLOAD)], id="intermediate missing"),
        pytest.param(
            [ROOT.leaf(WORKLOAD, extensions=(*LEAF, (UNKNOWN, True)))], id="unknown critical"
        ),
        pytest.param(
            [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE, **PAST)], id="intermediate expired"
        ),
        pytest.param(
            [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE, (*CA, (UNKNOWN, True)))],
            id="unknown critical in intermediate",
        ),
        pytest.param(
            [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE, NO_CERT_SIGN)],
            id="intermediate may not sign",
        ),
        pytest.param(
            [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE, LEAF)], id="intermediate is no CA"
        ),
        pytest.param(
            [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE, CA[1:])],
            id="intermediate without basic constraints",
        ),
        pytest.param([MIDDLE.leaf(WORKLOAD), MIDDLE.root()], id="own root sent along"),
        pytest.param(
            [
                MIDDLE.leaf(extensions=(*LEAF, other_names())),
                ROOT.intermediate(MIDDLE, (*CA, (ELSEWHERE, True))),
            ],
            id="name constraint",
        ),
        pytest.param(
            [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE), b"junk"], id="junk in the chain"
        ),
    ],
)
def test_a_chain_that_breaks_rfc_5280_is_refused(chain: list[bytes]) -> None:
    with pytest.raises(InvalidX509SVID):
        verify_chain(chain, HOME_BUNDLES, NOW)
    with pytest.raises(InvalidX509SVID):
        verify_peer_chain([*chain, ROOT_DER], HOME_BUNDLES, NOW)


@pytest.mark.spec(32)
@pytest.mark.parametrize(
    "root",
    [
        pytest.param(ROOT.root(**PAST), id="expired"),
        pytest.param(ROOT.root(LEAF), id="no CA"),
        pytest.param(ROOT.root(PATH_LENGTH_0), id="path length"),
        pytest.param(ROOT.root(NO_CERT_SIGN), id="may not sign"),
    ],
)
def test_an_anchor_that_may_not_sign_the_chain_is_refused(root: bytes) -> None:
    chain = [MIDDLE.leaf(WORKLOAD), ROOT.intermediate(MIDDLE)]
    with pytest.raises(InvalidX509SVID, match="could not verify leaf certificate"):
        verify_chain(chain, {HOME: bundle_of(HOME, root)}, NOW)


@pytest.mark.spec(32)
def test_a_leaf_that_stands_in_the_bundle_is_not_its_own_anchor() -> None:
    leaf = ROOT.leaf(WORKLOAD)
    with pytest.raises(InvalidX509SVID, match="not signed by an authority"):
        verify_chain([leaf], {HOME: bundle_of(HOME, leaf)}, NOW)


@pytest.mark.spec(33)
def test_a_leaf_of_ours_that_a_foreign_authority_signed_is_refused() -> None:
    foreign = Issuer("foreign")
    bundles = {**HOME_BUNDLES, FOREIGN: bundle_of(FOREIGN, foreign.root())}
    forged = [foreign.leaf(WORKLOAD), foreign.root()]
    assert verify_chain([foreign.leaf("spiffe://foreign.test/x")], bundles, NOW)
    with pytest.raises(InvalidX509SVID, match="could not verify leaf certificate"):
        verify_chain(forged, bundles, NOW)
    with pytest.raises(InvalidX509SVID, match="could not verify leaf certificate"):
        verify_peer_chain(forged, bundles, NOW)


@pytest.mark.spec(33)
def test_a_leaf_of_a_foreign_domain_that_our_authority_signed_is_refused() -> None:
    foreign = Issuer("foreign")
    bundles = {**HOME_BUNDLES, FOREIGN: bundle_of(FOREIGN, foreign.root())}
    with pytest.raises(InvalidX509SVID, match="could not verify leaf certificate"):
        verify_chain([ROOT.leaf("spiffe://foreign.test/x")], bundles, NOW)


@pytest.mark.spec(32, 57)
@pytest.mark.parametrize("bundles", [{}, {HOME: Bundle(HOME)}], ids=["none", "empty"])
def test_without_authorities_of_the_domain_nothing_is_valid(
    bundles: dict[object, Bundle],
) -> None:
    with pytest.raises(InvalidX509SVID, match=r'no X509 bundle for trust domain "example.org"'):
        verify_chain([ROOT.leaf(WORKLOAD)], bundles, NOW)  # type: ignore[arg-type]


def chain_of(length: int) -> list[bytes]:
    issuer, chain = ROOT, []
    for number in range(length - 2):
        below = Issuer(f"middle {number}")
        chain.insert(0, issuer.intermediate(below))
        issuer = below
    return [issuer.leaf(WORKLOAD), *chain]


def test_a_chain_may_be_ten_long_with_its_anchor() -> None:
    chain = chain_of(MAX_CHAIN_LENGTH)
    assert verify_chain(chain, HOME_BUNDLES, NOW)
    assert verify_peer_chain([*chain, ROOT_DER], HOME_BUNDLES, NOW)


def test_a_longer_chain_is_refused() -> None:
    chain = chain_of(MAX_CHAIN_LENGTH + 1)
    with pytest.raises(InvalidX509SVID, match="max depth"):
        verify_chain(chain, HOME_BUNDLES, NOW)
    with pytest.raises(InvalidX509SVID, match="chain is longer than 10 certificates"):
        verify_chain([*chain, ROOT_DER], HOME_BUNDLES, NOW)


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(InvalidX509SVID, match="empty certificates chain"):
        verify_chain([], HOME_BUNDLES, NOW)


def test_many_ways_through_the_intermediates_end_soon() -> None:
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
    loops = [Issuer("loop", key).sign("loop", other, CA) for key in keys[:2] for other in keys]
    chain = [Issuer("loop", keys[0]).leaf(WORKLOAD), *loops]
    with pytest.raises(InvalidX509SVID, match="could not verify"):
        verify_chain(chain, HOME_BUNDLES, NOW)


def test_the_refusal_does_not_repeat_what_the_peer_wrote() -> None:
    leaf = ROOT.sign("SECRET NAME", ROOT.key, (*LEAF, uris(WORKLOAD)), **PAST)
    with pytest.raises(InvalidX509SVID) as caught:
        verify_chain([leaf], HOME_BUNDLES, NOW)
    assert "SECRET NAME" not in caught.value.message


def test_an_svid_is_read_with_its_key() -> None:
    ca_key, key = generate_key("ec-p256"), generate_key("ec-p384")
    ca = self_signed_ca(ca_key, "spiffe://example.org", DEFAULT_CA_SUBJECT, NOW - HOUR, NOW + HOUR)
    signed = X509Signer(ca, ca_key).sign_svid(
        public_key_der(key), WORKLOAD, not_before=NOW, not_after=NOW + HOUR / 2
    )
    pkcs8 = private_key_to_pkcs8(key)
    svid = parse_x509_svid([signed.der], pkcs8, hint="internal")
    assert str(svid.spiffe_id) == WORKLOAD
    assert svid.chain == (signed.der,)
    assert svid.expires_at == NOW + HOUR / 2
    assert svid.private_key == pkcs8
    assert svid.hint == "internal"
    assert "private_key" not in repr(svid)


def test_an_svid_with_anothers_key_is_refused() -> None:
    pkcs8 = private_key_to_pkcs8(generate_key("ec-p256"))
    with pytest.raises(InvalidX509SVID, match="private key does not match"):
        parse_x509_svid([ROOT.leaf(WORKLOAD)], pkcs8)


@given(position=st.integers(0, 2000), change=st.integers(1, 255))
def test_a_leaf_with_a_byte_changed_is_refused(position: int, change: int) -> None:
    leaf = bytearray(GOOD_LEAF)
    leaf[position % len(leaf)] ^= change
    try:
        verify_chain([bytes(leaf)], HOME_BUNDLES, NOW)
    except SpireError:
        return
    pytest.fail("a changed certificate was accepted")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_error(data: bytes) -> None:
    with pytest.raises(SpireError):
        verify_chain([data], HOME_BUNDLES, NOW)
    with pytest.raises(SpireError):
        verify_chain([GOOD_LEAF, data], {HOME: bundle_of(HOME, Issuer("x").root())}, NOW)


GOOD_LEAF = ROOT.leaf(WORKLOAD)
