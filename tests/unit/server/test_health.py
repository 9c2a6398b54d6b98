"""What the server says of its health."""

from __future__ import annotations

import pytest

from spire_py.errors import SpireError, Unavailable
from spire_py.server.health import ServerHealthChecks
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from tests.fakes.agents import DOMAIN


class Parts:
    """Bundles, CA and database, each of which may be broken."""

    def __init__(self) -> None:
        self.bundle: Bundle | None = Bundle(DOMAIN)
        self.error: SpireError | None = None

    def get(self, trust_domain: TrustDomain) -> Bundle | None:
        return self.bundle

    async def check_health(self) -> None:
        if self.error is not None:
            raise self.error

    async def count_bundles(self) -> int:
        if self.error is not None:
            raise self.error
        return 1


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def checks(parts: Parts) -> ServerHealthChecks:
    return ServerHealthChecks(trust_domain=DOMAIN, bundles=parts, ca=parts, store=parts)


async def test_all_is_well(checks: ServerHealthChecks) -> None:
    states = [await checks.server(), await checks.ca(), await checks.datastore()]
    assert all(state.live and state.ready and state.ready_details == {} for state in states)
    assert await checks.unhealthy_reason() == ""


async def test_without_a_bundle_it_is_not_ready(checks: ServerHealthChecks, parts: Parts) -> None:
    parts.bundle = None
    state = await checks.server()
    assert (state.ready, state.ready_details) == (False, {"get_bundle_err": "bundle is missing"})


async def test_a_ca_that_cannot_sign_is_not_ready(checks: ServerHealthChecks, parts: Parts) -> None:
    parts.error = Unavailable("X509 CA is not available for signing")
    state = await checks.ca()
    assert not state.ready
    assert state.ready_details == {"sign_x509_svid_err": "X509 CA is not available for signing"}


async def test_a_server_without_its_database_stays_in_service_and_tells(
    checks: ServerHealthChecks, parts: Parts
) -> None:
    parts.error = Unavailable("the database is away")
    state = await checks.datastore()
    assert (state.live, state.ready) == (True, True)
    assert state.ready_details == {"list_bundle_err": "the database is away"}
