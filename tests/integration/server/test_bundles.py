"""Federated bundles at the API, and admins of other trust domains."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import bundle_pb2, entry_pb2
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.subject import Subject
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.errors import NotFound, SpireError
from spire_py.plugin_api.key_manager import KeyType
from spire_py.runtime.clock import SystemClock
from spire_py.server.ca.ca import CA, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain

from .conftest import BUNDLE, ENTRY, Identity, RunningServer, running_server

OTHER = TrustDomain("other.org")


class ForeignCA:
    """The CA of another trust domain."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        key = generate_key(KeyType.EC_P256)
        self.root = self_signed_ca(
            key,
            str(OTHER.id),
            Subject(country=("US",)),
            now - timedelta(seconds=10),
            now + timedelta(days=1),
        )
        self._ca = CA(trust_domain=OTHER, clock=SystemClock())
        self._ca.activate_x509_authority(X509Authority(certificate=self.root, key=key))

    async def identity(self, path: str) -> Identity:
        key = generate_key(KeyType.EC_P256)
        signed = await self._ca.sign_x509_svid(public_key_der(key), OTHER.member(path))
        return Identity(str(signed.spiffe_id), signed.chain, key)


@pytest.fixture
def foreign() -> ForeignCA:
    return ForeignCA()


def bundle(foreign: ForeignCA, **fields: object) -> types_pb2.Bundle:
    return types_pb2.Bundle(
        trust_domain=OTHER.name,
        x509_authorities=[types_pb2.X509Certificate(asn1=foreign.root)],
        **fields,  # type: ignore[arg-type]
    )


async def set_bundle(server: RunningServer, message: types_pb2.Bundle) -> types_pb2.Status:
    response = await server.call(
        BUNDLE + "BatchSetFederatedBundle",
        bundle_pb2.BatchSetFederatedBundleRequest(bundle=[message]),
        bundle_pb2.BatchSetFederatedBundleResponse,
    )
    return response.results[0].status


async def get(server: RunningServer) -> types_pb2.Bundle:
    request = bundle_pb2.GetFederatedBundleRequest(trust_domain=OTHER.name)
    return await server.call(BUNDLE + "GetFederatedBundle", request, types_pb2.Bundle)


async def delete(
    server: RunningServer, mode: bundle_pb2.BatchDeleteFederatedBundleRequest.Mode, name: str
) -> tuple[int, str]:
    response = await server.call(
        BUNDLE + "BatchDeleteFederatedBundle",
        bundle_pb2.BatchDeleteFederatedBundleRequest(trust_domains=[name], mode=mode),
        bundle_pb2.BatchDeleteFederatedBundleResponse,
    )
    status = response.results[0].status
    return status.code, status.message


Mode = bundle_pb2.BatchDeleteFederatedBundleRequest


async def test_a_federated_bundle_is_set_shown_listed_and_deleted(
    server: RunningServer, foreign: ForeignCA
) -> None:
    assert (await set_bundle(server, bundle(foreign, refresh_hint=60))).code == 0
    assert (await get(server)).refresh_hint == 60
    listed = await server.call(
        BUNDLE + "ListFederatedBundles",
        bundle_pb2.ListFederatedBundlesRequest(),
        bundle_pb2.ListFederatedBundlesResponse,
    )
    assert [each.trust_domain for each in listed.bundles] == ["other.org"]
    assert await delete(server, Mode.RESTRICT, "other.org") == (0, "OK")
    with pytest.raises(NotFound, match="bundle not found"):
        await get(server)
    assert await delete(server, Mode.RESTRICT, "other.org") == (5, "bundle not found")


async def test_a_bundle_in_use_is_not_deleted_unless_entries_are_loosened_from_it(
    server: RunningServer, foreign: ForeignCA
) -> None:
    await set_bundle(server, bundle(foreign))
    entry_id = await server.create_entry("/parent", "/workload", federates_with=["other.org"])
    assert await delete(server, Mode.RESTRICT, "other.org") == (
        9,
        (
            "failed to delete federated bundle: datastore-sql: cannot delete bundle; "
            "federated with 1 registration entries"
        ),
    )
    assert await delete(server, Mode.DISSOCIATE, "other.org") == (0, "OK")
    entry = server.endpoints.entries.entry(entry_id)
    assert entry is not None
    assert entry.federates_with == ()


@pytest.mark.parametrize(
    ("message", "refusal"),
    [
        pytest.param(
            types_pb2.Bundle(trust_domain="example.org"),
            "setting a federated bundle for the server's own trust domain is not allowed",
            id="own",
        ),
        pytest.param(
            types_pb2.Bundle(trust_domain="UPPER"),
            (
                "trust domain argument is not valid: trust domain characters are limited to "
                "lowercase letters, numbers, dots, dashes, and underscores"
            ),
            id="bad name",
        ),
    ],
)
async def test_a_bad_bundle_is_refused(
    server: RunningServer, message: types_pb2.Bundle, refusal: str
) -> None:
    status = await set_bundle(server, message)
    assert (status.code, status.message) == (3, refusal)


async def test_garbage_for_a_certificate_is_refused_and_nothing_is_stored(
    server: RunningServer,
) -> None:
    status = await set_bundle(
        server,
        types_pb2.Bundle(
            trust_domain="other.org", x509_authorities=[types_pb2.X509Certificate(asn1=b"x")]
        ),
    )
    assert status.code == 3
    assert status.message.startswith("failed to convert bundle: unable to parse X.509 authority: ")
    with pytest.raises(NotFound):
        await get(server)


async def test_our_own_bundle_is_not_deleted(server: RunningServer) -> None:
    assert await delete(server, Mode.DELETE, "example.org") == (
        3,
        "removing the bundle for the server trust domain is not allowed",
    )


async def count(server: RunningServer, identity: Identity) -> int:
    response = await server.call(
        ENTRY + "CountEntries",
        entry_pb2.CountEntriesRequest(),
        entry_pb2.CountEntriesResponse,
        server.port(identity),
    )
    return response.count


async def test_an_admin_of_another_trust_domain_may_come_while_its_bundle_is_there(
    short_path: Path, foreign: ForeignCA
) -> None:
    boss = SpiffeID(OTHER, "/boss")
    async with running_server(short_path, admin_ids=(boss,)) as server:
        with pytest.raises(SpireError):
            await count(server, await foreign.identity("/boss"))
        await set_bundle(server, bundle(foreign))
        assert await count(server, await foreign.identity("/boss")) == 0
        with pytest.raises(SpireError):
            await count(server, await foreign.identity("/someone"))
        await delete(server, Mode.RESTRICT, "other.org")
        with pytest.raises(SpireError):
            await count(server, await foreign.identity("/boss"))


async def test_members_of_other_trust_domains_may_not_come(
    server: RunningServer, foreign: ForeignCA
) -> None:
    await set_bundle(server, bundle(foreign))
    with pytest.raises(SpireError):
        await count(server, await foreign.identity("/boss"))
