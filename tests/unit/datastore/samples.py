"""Values that the tests of the datastore store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.model.selector import Selector
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain

TD = TrustDomain("example.org")
OTHER = TrustDomain("other.org")
THIRD = TrustDomain("third.org")
AGENT_ID = TD.member("/spire/agent/test/one")
LATER = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def selectors(*texts: str) -> tuple[Selector, ...]:
    return tuple(sorted(Selector.parse(text) for text in texts))


def entry(path: str = "/workload", *texts: str, **fields: Any) -> Entry:
    made = Entry(TD.member(path), AGENT_ID, selectors(*texts or ("unix:uid:1000",)))
    return replace(made, **fields)


FULL_ENTRY = Entry(
    id="my.own_ID-1",
    spiffe_id=TD.member("/full"),
    parent_id=AGENT_ID,
    selectors=selectors("unix:gid:7", "unix:uid:1000"),
    x509_svid_ttl=timedelta(hours=1),
    jwt_svid_ttl=timedelta(minutes=5),
    federates_with=(OTHER,),
    admin=True,
    downstream=True,
    store_svid=False,
    expires_at=LATER,
    dns_names=("z.example.org", "a.example.org"),
    hint="hint",
    disable_x509_svid_prefetch=True,
    jwt_svid_include_jti=True,
)


def agent(name: str = "one", *texts: str, **fields: Any) -> Agent:
    made = Agent(
        id=TD.member(f"/spire/agent/test/{name}"),
        attestation_type="test",
        serial_number="1234567890",
        expires_at=LATER,
        selectors=selectors(*texts),
    )
    return replace(made, **fields)


def x509_authority(ca: bytes, *, tainted: bool = False) -> X509Authority:
    return X509Authority(ca, tainted)


def jwt_authority(key_id: str, **fields: Any) -> JWTAuthority:
    return replace(JWTAuthority(key_id, b"public " + key_id.encode(), LATER), **fields)


def bundle(trust_domain: TrustDomain = TD, **fields: Any) -> Bundle:
    return replace(
        Bundle(trust_domain, (X509Authority(b"\x30\x01a"),), (jwt_authority("one"),)), **fields
    )
