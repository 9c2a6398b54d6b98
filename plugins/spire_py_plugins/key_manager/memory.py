"""KeyManager `memory`: keys that are gone when the process ends (features K2, K7)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from spire_py.crypto.keys import generate_key
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.key_manager import KeyManager, KeyType, ManagedKey
from spire_py.plugin_api.settings import Settings


class MemoryKeyManager(KeyManager):
    """Keeps keys for the life of the process."""

    def __init__(self) -> None:
        self._keys: dict[str, ManagedKey] = {}

    async def generate_key(self, key_id: str, key_type: KeyType) -> ManagedKey:
        if not key_id:
            raise InvalidArgument("key id is required")
        key = ManagedKey(key_id, await asyncio.to_thread(generate_key, key_type))
        self._keys[key_id] = key
        return key

    async def get_keys(self) -> Mapping[str, ManagedKey]:
        return dict(self._keys)


def configure(data: Mapping[str, Any], context: PluginContext) -> MemoryKeyManager:
    """The plugin; it has no settings."""
    Settings(data, context).finish()
    return MemoryKeyManager()
