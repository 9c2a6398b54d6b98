from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import PrivateKey, generate_key, public_key_der
from spire_py.crypto.subject import DEFAULT_CA_SUBJECT, Subject
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.errors import InvalidArgument, Unavailable
from spire_py.plugin_api.key_manager import KeyType
from spire_py.server.ca.ca import (
    CA,
    JWTSigningKey,
    SignedX509SVID,
    SVIDDefaults,
    X509Authority,
    X509SVIDParams,
)
from spire_py.spiffe.bundle import Bundle, JWTAuthority
from spire_py.spiffe.bundle import X509Authority as Trusted
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.jwt_svid import parse_unverified, validate_jwt_svid
from spire_py.spiffe.x509_svid import verify_chain
from tests.fakes.clock import FakeClock

TRUST_DOMAIN = TrustDomain("example.org")
WORKLOAD = SpiffeID(TRUST_DOMAIN, "/workload")
KEY = public_key_der(generate_key("ec-p256"))
CA_KEY = generate_key("ec-p256")
RSA_CA_KEY = generate_key("rsa-2048")
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

DEFAULTS = SVIDDefaults(x509_svid_ttl=2 * HOUR, jwt_svid_ttl=10 * MINUTE, agent_ttl=3 * HOUR)


def ca_certificate(clock: FakeClock, key: PrivateKey = CA_KEY) -> bytes:
    now = clock.now()
    return self_signed_ca(
        key,
        "spiffe://example.org",
        DEFAULT_CA_SUBJECT,
        now - timedelta(seconds=10),
        now + 24 * HOUR,
    )


@pytest.fixture
async def ca(clock: FakeClock) -> AsyncIterator[CA]:
    ca = CA(trust_domain=TRUST_DOMAIN, clock=clock, defaults=DEFAULTS, threads=3)
    ca.activate_x509_authority(X509Authority(certificate=ca_certificate(clock), key=CA_KEY))
    ca.activate_jwt_key(JWTSigningKey("key-1", CA_KEY, clock.now() + 24 * HOUR))
    yield ca
    await ca.aclose()


def leaf(svid: SignedX509SVID) -> CertificateFacts:
    return CertificateFacts(svid.chain[0])


@pytest.mark.parametrize(
    ("ttl", "lifetime"),
    [
        pytest.param(timedelta(), 2 * HOUR, id="default"),
        pytest.param(-HOUR, 2 * HOUR, id="below zero"),
        pytest.param(5 * MINUTE, 5 * MINUTE, id="asked for"),
        pytest.param(48 * HOUR, 24 * HOUR, id="capped by the CA"),
    ],
)
async def test_lifetime_of_an_x509_svid(
    ca: CA, clock: FakeClock, ttl: timedelta, lifetime: timedelta
) -> None:
    svid = await ca.sign_x509_svid(KEY, WORKLOAD, ttl=ttl)
    assert (svid.not_before, svid.expires_at) == (
        clock.now() - timedelta(seconds=10),
        clock.now() + lifetime,
    )
    assert (leaf(svid).not_before, leaf(svid).not_after) == (svid.not_before, svid.expires_at)


@pytest.mark.parametrize(
    ("ttl", "lifetime"),
    [
        pytest.param(timedelta(), 10 * MINUTE, id="default"),
        pytest.param(MINUTE, MINUTE, id="asked for"),
        pytest.param(48 * HOUR, 24 * HOUR, id="capped by the key"),
    ],
)
async def test_lifetime_of_a_jwt_svid(
    ca: CA, clock: FakeClock, ttl: timedelta, lifetime: timedelta
) -> None:
    svid = await ca.sign_jwt_svid(WORKLOAD, ["them"], ttl)
    claims = parse_unverified(svid.token)
    assert claims.issued_at == svid.issued_at == clock.now()
    assert claims.expires_at == svid.expires_at == clock.now() + lifetime


async def test_an_agents_svid_lives_as_long_as_configured(ca: CA, clock: FakeClock) -> None:
    agent = SpiffeID(TRUST_DOMAIN, "/spire/agent/join_token/x")
    svid = await ca.sign_agent_svid(KEY, agent)
    assert (svid.spiffe_id, svid.expires_at) == (agent, clock.now() + 3 * HOUR)


async def test_an_agents_svid_has_the_default_where_nothing_is_configured(clock: FakeClock) -> None:
    ca = CA(trust_domain=TRUST_DOMAIN, clock=clock)
    ca.activate_x509_authority(X509Authority(certificate=ca_certificate(clock), key=CA_KEY))
    svid = await ca.sign_agent_svid(KEY, SpiffeID(TRUST_DOMAIN, "/spire/agent/join_token/x"))
    assert svid.expires_at == clock.now() + HOUR
    await ca.aclose()


async def test_the_servers_svid_has_its_id(ca: CA, clock: FakeClock) -> None:
    svid = await ca.sign_server_svid(KEY)
    assert leaf(svid).uris == ("spiffe://example.org/spire/server",)
    assert svid.expires_at == clock.now() + 2 * HOUR


async def test_what_is_told_of_an_svid_is_what_it_is(ca: CA, clock: FakeClock) -> None:
    svid = await ca.sign_x509_svid(KEY, WORKLOAD, ["a.example.org", "b.example.org"])
    facts = leaf(svid)
    assert facts.serial_number == svid.serial_number
    assert facts.uris == (str(svid.spiffe_id),)
    assert facts.dns_names == ("a.example.org", "b.example.org")
    assert facts.subject == Subject(
        country=("US",), organization=("SPIRE",), common_name="a.example.org"
    )
    assert ca.x509_authority is not None
    assert svid.authority_id == ca.x509_authority.authority_id
    assert len(svid.chain) == 1


async def test_a_subject_of_its_own_replaces_the_default(ca: CA) -> None:
    subject = Subject(country=("DE",), common_name="mine")
    plain = await ca.sign_x509_svid(KEY, WORKLOAD, subject=subject)
    assert leaf(plain).subject == subject
    named = await ca.sign_x509_svid(KEY, WORKLOAD, ["a.example.org"], subject=subject)
    assert leaf(named).subject == Subject(country=("DE",), common_name="a.example.org")
    empty = await ca.sign_x509_svid(KEY, WORKLOAD, subject=Subject())
    assert leaf(empty).subject == Subject(country=("US",), organization=("SPIRE",))


async def test_an_rsa_ca_signs(ca: CA, clock: FakeClock) -> None:
    root = ca_certificate(clock, RSA_CA_KEY)
    ca.activate_x509_authority(X509Authority(certificate=root, key=RSA_CA_KEY))
    ca.activate_jwt_key(JWTSigningKey("key-2", RSA_CA_KEY, clock.now() + HOUR))
    key = JWTAuthority("key-2", public_key_der(RSA_CA_KEY))
    bundles = {TRUST_DOMAIN: Bundle(TRUST_DOMAIN, (Trusted(root),), (key,))}
    svid = await ca.sign_x509_svid(KEY, WORKLOAD)
    assert verify_chain(svid.chain, bundles, clock.now()) == WORKLOAD
    token = (await ca.sign_jwt_svid(WORKLOAD, ["them"])).token
    assert validate_jwt_svid(token, "them", bundles, clock.now()).spiffe_id == WORKLOAD


async def test_the_chain_leads_to_the_upstream_root(ca: CA, clock: FakeClock) -> None:
    intermediate = ca_certificate(clock)
    ca.activate_x509_authority(
        X509Authority(certificate=intermediate, key=CA_KEY, upstream_chain=(intermediate, b"up"))
    )
    svid = await ca.sign_x509_svid(KEY, WORKLOAD)
    assert svid.chain[1:] == (intermediate, b"up")


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
async def test_a_batch_comes_back_in_its_order(ca: CA, clock: FakeClock, count: int) -> None:
    ids = [SpiffeID(TRUST_DOMAIN, f"/workload/{number}") for number in range(count)]
    results = await ca.sign_x509_svids([X509SVIDParams(each, KEY, ttl=HOUR) for each in ids])
    svids = [result for result in results if isinstance(result, SignedX509SVID)]
    assert [svid.spiffe_id for svid in svids] == ids
    assert [leaf(svid).uris[0] for svid in svids] == [str(each) for each in ids]
    assert len({svid.serial_number for svid in svids}) == count


async def test_one_fault_spoils_no_batch(ca: CA) -> None:
    foreign = SpiffeID(TrustDomain("other.org"), "/workload")
    results = await ca.sign_x509_svids(
        [
            X509SVIDParams(WORKLOAD, KEY),
            X509SVIDParams(foreign, KEY),
            X509SVIDParams(WORKLOAD, b"no key"),
            X509SVIDParams(WORKLOAD, KEY),
        ]
    )
    assert [type(result) for result in results][::3] == [SignedX509SVID] * 2
    assert isinstance(results[1], InvalidArgument)
    assert isinstance(results[2], InvalidArgument)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "spiffe://other.org/workload",
            '"spiffe://other.org/workload" is not a member of trust domain "example.org"',
            id="other domain",
        ),
        pytest.param(
            "spiffe://example.org",
            '"spiffe://example.org" is not a member of trust domain "example.org"; path is empty',
            id="no path",
        ),
    ],
)
async def test_only_members_of_the_trust_domain_get_svids(ca: CA, text: str, reason: str) -> None:
    spiffe_id = SpiffeID.parse(text)
    with pytest.raises(InvalidArgument) as x509:
        await ca.sign_x509_svid(KEY, spiffe_id)
    assert str(x509.value) == f"invalid X509-SVID ID: {reason}"
    with pytest.raises(InvalidArgument) as jwt:
        await ca.sign_jwt_svid(spiffe_id, ["them"])
    assert str(jwt.value) == f"invalid JWT-SVID ID: {reason}"


@pytest.mark.parametrize("audience", [[], [""], ["", ""]])
async def test_a_jwt_svid_needs_an_audience(ca: CA, audience: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="invalid JWT-SVID audience: cannot be empty"):
        await ca.sign_jwt_svid(WORKLOAD, audience)


async def test_a_token_has_an_id_of_its_own_when_asked_for(ca: CA) -> None:
    without = parse_unverified((await ca.sign_jwt_svid(WORKLOAD, ["them"])).token)
    assert "jti" not in without.claims
    ids = set()
    for _ in range(3):
        svid = await ca.sign_jwt_svid(WORKLOAD, ["them"], include_jti=True)
        ids.add(parse_unverified(svid.token).claims["jti"])
    assert sorted(map(len, ids)) == [22, 22, 22]


async def test_a_token_is_not_shown(ca: CA) -> None:
    svid = await ca.sign_jwt_svid(WORKLOAD, ["them"])
    assert svid.token not in repr(svid)


async def test_nothing_is_signed_before_there_is_an_authority(clock: FakeClock) -> None:
    ca = CA(trust_domain=TRUST_DOMAIN, clock=clock)
    with pytest.raises(Unavailable, match="X509 CA is not available for signing"):
        await ca.sign_x509_svid(KEY, WORKLOAD)
    with pytest.raises(Unavailable, match="X509 CA is not available for signing"):
        await ca.sign_x509_svids([X509SVIDParams(WORKLOAD, KEY)])
    with pytest.raises(Unavailable, match="JWT key is not available for signing"):
        await ca.sign_jwt_svid(WORKLOAD, ["them"])
    with pytest.raises(Unavailable):
        await ca.check_health()
    await ca.aclose()


async def test_nothing_is_signed_by_an_expired_authority(ca: CA, clock: FakeClock) -> None:
    await clock.advance(24 * HOUR)
    with pytest.raises(Unavailable, match="expired"):
        await ca.sign_x509_svid(KEY, WORKLOAD)
    with pytest.raises(Unavailable, match="expired"):
        await ca.sign_jwt_svid(WORKLOAD, ["them"])


async def test_nothing_is_signed_by_an_authority_from_the_future(ca: CA, clock: FakeClock) -> None:
    clock.jump(-HOUR)
    with pytest.raises(Unavailable, match="not valid yet"):
        await ca.sign_x509_svid(KEY, WORKLOAD)


async def test_the_health_check_signs(ca: CA) -> None:
    await ca.check_health()


@pytest.mark.parametrize("key_type", list(KeyType)[:2])
async def test_keys_of_callers_may_be_of_any_type(
    ca: CA, clock: FakeClock, key_type: KeyType
) -> None:
    public_key = public_key_der(generate_key(key_type))
    svid = await ca.sign_x509_svid(public_key, WORKLOAD)
    assert leaf(svid).public_key_der == public_key
