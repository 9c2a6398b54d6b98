from __future__ import annotations

import pytest
from spire_py_plugins.key_manager import memory

from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.key_manager import KeyManager
from spire_py.spiffe.id import TrustDomain
from tests.contracts.key_manager import KeyManagerContract


@pytest.fixture
def context() -> PluginContext:
    return PluginContext(TrustDomain("example.org"))


class TestMemoryKeyManager(KeyManagerContract):
    @pytest.fixture
    def key_manager(self, context: PluginContext) -> KeyManager:
        return memory.configure({}, context)


def test_a_setting_is_warned_of(context: PluginContext) -> None:
    memory.configure({"keys_path": "keys.json"}, context)
    assert context.warnings == ['unknown setting "keys_path" encountered']
