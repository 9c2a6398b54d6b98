"""KeyManager: where private keys live and sign (features K1, K2, K7)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from spire_py.crypto.keys import PrivateKey
from spire_py.plugin_api.plugin import Plugin


class KeyType(StrEnum):
    """The kinds of key, as the config spells them."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"
    RSA_4096 = "rsa-4096"


@dataclass(frozen=True, slots=True)
class ManagedKey:
    """A key and the ID it is kept under, such as `x509-CA-A`."""

    key_id: str
    private_key: PrivateKey


class KeyManager(Plugin, ABC):
    """Makes keys, keeps them over a restart where it can, and hands them out for signing."""

    @abstractmethod
    async def generate_key(self, key_id: str, key_type: KeyType) -> ManagedKey:
        """Make a new key under `key_id`; a key that had this ID before is gone.

        Raises:
            Internal: the key could not be kept; the former one then still stands.
        """

    @abstractmethod
    async def get_keys(self) -> Mapping[str, ManagedKey]:
        """All keys, by key ID."""
