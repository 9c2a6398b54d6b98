"""Bundles that were made to shut our own agents out."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import bundle_pb2, entry_pb2
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.subject import Subject
from spire_py.crypto.x509_signer import X509Signer, self_signed_ca
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain
from tests.integration.attacks.authorities import double_of, unreadable_name
from tests.integration.server.conftest import (
    BUNDLE,
    DOMAIN,
    ENTRY,
    Identity,
    RunningServer,
    running_server,
)

EVIL = TrustDomain("evil.test")
BOSS = SpiffeID.parse("spiffe://evil.test/boss")


async def sync(server: RunningServer, agent: Identity) -> None:
    """What every agent does, over a new connection."""
    channel = server.port(agent)
    await server.call(
        ENTRY + "GetAuthorizedEntries",
        entry_pb2.GetAuthorizedEntriesRequest(),
        entry_pb2.GetAuthorizedEntriesResponse,
        channel,
    )


@pytest.mark.parametrize("with_key_id", [True, False], ids=["our key id", "no key id"])
@pytest.mark.parametrize("other_case", [True, False], ids=["name in other case", "our name"])
async def test_a_foreign_authority_with_our_authoritys_name_locks_no_agent_out(
    short_path: Path, with_key_id: bool, other_case: bool
) -> None:
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        agent = await server.attest()
        fake = double_of(server.root, with_key_id=with_key_id, other_case=other_case)
        server.endpoints.bundles.put(Bundle(EVIL, x509_authorities=(X509Authority(fake),)))
        await sync(server, agent)


async def test_a_foreign_copy_of_our_authority_changes_nothing(short_path: Path) -> None:
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        agent = await server.attest()
        copy = Bundle(EVIL, x509_authorities=(X509Authority(server.root),))
        server.endpoints.bundles.put(copy)
        await sync(server, agent)


async def test_a_foreign_admin_whose_authority_has_our_name_and_its_own_key_may_come(
    short_path: Path,
) -> None:
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        admin = foreign_identity(server, BOSS)
        channel = server.port(admin)
        count = entry_pb2.CountEntriesRequest()
        await server.call(ENTRY + "CountEntries", count, entry_pb2.CountEntriesResponse, channel)


def foreign_identity(server: RunningServer, spiffe_id: SpiffeID) -> Identity:
    """Somebody of a federated trust domain, whose authority is called as ours is."""
    ca_key, key = generate_key(KeyType.EC_P256), generate_key(KeyType.EC_P256)
    since, until = datetime.now(UTC) - timedelta(minutes=1), datetime.now(UTC) + timedelta(hours=1)
    root = self_signed_ca(ca_key, str(EVIL.id), Subject(country=("US",)), since, until)
    server.endpoints.bundles.put(Bundle(EVIL, x509_authorities=(X509Authority(root),)))
    signed = X509Signer(root, ca_key).sign_svid(
        public_key_der(key), str(spiffe_id), not_before=since, not_after=until
    )
    return Identity(str(spiffe_id), (signed.der,), key)


async def test_an_authority_that_openssl_cannot_read_takes_no_trust_away(
    server: RunningServer,
) -> None:
    agent = await server.attest()
    bad = X509Authority(unreadable_name(server.root))
    # Past the API: as another server may have written it into the database.
    await server.datastore.append_bundle(Bundle(DOMAIN, x509_authorities=(bad,)))
    await server.endpoints.bundles.refresh()
    await sync(server, agent)
    await server.attest()


async def test_the_api_takes_no_authority_that_openssl_cannot_read(server: RunningServer) -> None:
    bad = types_pb2.X509Certificate(asn1=unreadable_name(server.root))
    with pytest.raises(InvalidArgument, match="malformed certificate"):
        await server.call(
            BUNDLE + "AppendBundle",
            bundle_pb2.AppendBundleRequest(x509_authorities=[bad]),
            types_pb2.Bundle,
        )


@pytest.mark.parametrize("position", range(6, 40, 3))
async def test_a_certificate_with_a_changed_byte_is_refused_or_harmless(
    server: RunningServer, position: int
) -> None:
    changed = bytearray(server.root)
    changed[position] ^= 0xFF
    request = bundle_pb2.AppendBundleRequest(
        x509_authorities=[types_pb2.X509Certificate(asn1=bytes(changed))]
    )
    with suppress(InvalidArgument):
        await server.call(BUNDLE + "AppendBundle", request, types_pb2.Bundle)
    await sync(server, await server.attest())
