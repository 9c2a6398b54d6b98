"""A CA manager over a real datastore and a key file, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.key_manager.disk import DiskKeyManager

from spire_py.errors import Unavailable
from spire_py.plugin_api.key_manager import KeyManager, KeyType, ManagedKey
from spire_py.plugin_api.upstream_authority import UpstreamAuthority
from spire_py.server.ca.ca import CA, SVIDDefaults
from spire_py.server.ca.manager import CAManager, CASettings
from spire_py.server.ca.upstream import UpstreamClient
from spire_py.server.datastore.store import Datastore
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from tests.fakes.clock import FakeClock

TRUST_DOMAIN = TrustDomain("example.org")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Faults:
    """What goes wrong, and how far a process gets before it is killed."""

    database_away: bool = False
    keys_away: bool = False
    journal_full: bool = False
    steps_left: int | None = None
    steps: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        """A change that is about to be made; `steps_left` says how many more are."""
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise Killed
            self.steps_left -= 1
        self.steps.append(name)


_CHANGES = {"append_bundle", "set_ca_journal"}


class FaultyStore:
    """The datastore, which a test can take away."""

    def __init__(self, store: Datastore, faults: Faults) -> None:
        self._store = store
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if self._faults.database_away:
                raise Unavailable("the database is away")
            if self._faults.journal_full and name == "set_ca_journal":
                raise Unavailable("the journal cannot be written")
            if name in _CHANGES:
                self._faults.step(name)
            return await method(*arguments, **named)

        return call


class FaultyKeyManager(KeyManager):
    """The key manager, which a test can take away."""

    def __init__(self, keys: KeyManager, faults: Faults) -> None:
        self._keys = keys
        self._faults = faults

    async def generate_key(self, key_id: str, key_type: KeyType) -> ManagedKey:
        if self._faults.keys_away:
            raise Unavailable("the key manager is away")
        self._faults.step("generate_key")
        return await self._keys.generate_key(key_id, key_type)

    async def get_keys(self) -> Any:
        return await self._keys.get_keys()


@dataclass
class Server:
    """One server process: its CA and the manager of it."""

    ca: CA
    manager: CAManager


class World:
    """A database, and servers that start and end on it. Each has a key file of its own."""

    def __init__(self, store: Datastore, directory: Path, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.faults = Faults()
        self._directory = directory
        self._cas: list[CA] = []

    def key_manager(self, name: str = "first") -> DiskKeyManager:
        return DiskKeyManager(self._directory / f"{name}.json")

    def lose_keys(self, name: str = "first") -> None:
        """The key file is gone."""
        (self._directory / f"{name}.json").unlink()

    async def start(
        self,
        name: str = "first",
        *,
        settings: CASettings | None = None,
        defaults: SVIDDefaults | None = None,
        upstream: UpstreamAuthority | None = None,
    ) -> Server:
        """Start the server of this name; it finds what an earlier process of it left."""
        settings = settings or CASettings()
        ca = CA(
            trust_domain=TRUST_DOMAIN,
            clock=self.clock,
            defaults=defaults or SVIDDefaults(),
            threads=2,
        )
        self._cas.append(ca)
        store: Any = FaultyStore(self.store, self.faults)
        manager = await CAManager.load(
            ca=ca,
            key_manager=FaultyKeyManager(self.key_manager(name), self.faults),
            store=store,
            clock=self.clock,
            settings=settings,
            upstream=UpstreamClient(
                upstream,
                "disk",
                trust_domain=TRUST_DOMAIN,
                subject=settings.ca_subject,
                ttl=settings.ca_ttl,
            )
            if upstream
            else None,
        )
        return Server(ca, manager)

    async def bundle(self) -> Bundle:
        bundle = await self.store.get_bundle(TRUST_DOMAIN)
        assert bundle is not None
        return bundle

    async def aclose(self) -> None:
        for ca in self._cas:
            await ca.aclose()


@pytest.fixture
async def world(datastore: Datastore, tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    world = World(datastore, tmp_path, clock)
    yield world
    await world.aclose()
