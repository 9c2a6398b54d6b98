from __future__ import annotations

import base64
import contextlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spire_py_plugins.key_manager import disk

from spire_py.crypto.keys import generate_key, private_key_to_pkcs8
from spire_py.errors import Internal, InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.key_manager import KeyManager, KeyType
from spire_py.spiffe.id import TrustDomain
from tests.contracts.key_manager import LastingKeyManagerContract


@pytest.fixture
def context() -> PluginContext:
    return PluginContext(TrustDomain("example.org"))


class TestServerDiskKeyManager(LastingKeyManagerContract):
    @pytest.fixture
    def key_manager(self, tmp_path: Path, context: PluginContext) -> KeyManager:
        return disk.configure_server({"keys_path": str(tmp_path / "keys.json")}, context)

    @pytest.fixture
    def reopened(self, tmp_path: Path, context: PluginContext) -> KeyManager:
        return disk.configure_server({"keys_path": str(tmp_path / "keys.json")}, context)


class TestAgentDiskKeyManager(LastingKeyManagerContract):
    @pytest.fixture
    def key_manager(self, tmp_path: Path, context: PluginContext) -> KeyManager:
        return disk.configure_agent({"directory": str(tmp_path / "new" / "data")}, context)

    @pytest.fixture
    def reopened(self, tmp_path: Path, context: PluginContext) -> KeyManager:
        return disk.configure_agent({"directory": str(tmp_path / "new" / "data")}, context)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def manager(path: Path) -> KeyManager:
    return disk.DiskKeyManager(path)


def file_of(**keys: str) -> str:
    return json.dumps({"keys": keys})


async def test_the_file_is_as_spire_writes_it(path: Path) -> None:
    key = await manager(path).generate_key("x509-CA-A", KeyType.EC_P256)
    encoded = base64.b64encode(private_key_to_pkcs8(key.private_key)).decode()
    assert path.read_text() == f'{{\n\t"keys": {{\n\t\t"x509-CA-A": "{encoded}"\n\t}}\n}}'
    assert path.stat().st_mode & 0o777 == 0o600


async def test_only_the_file_is_left_in_the_directory(path: Path) -> None:
    path.with_name("keys.json.tmp").write_text("left by a crash")
    await manager(path).generate_key("x509-CA-A", KeyType.EC_P256)
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


async def test_keys_we_have_no_use_for_are_kept(path: Path) -> None:
    wit = base64.b64encode(private_key_to_pkcs8(generate_key(KeyType.EC_P256))).decode()
    path.write_text(file_of(**{"WIT-Signer-A": wit}))
    await manager(path).generate_key("x509-CA-A", KeyType.EC_P256)
    assert json.loads(path.read_text())["keys"]["WIT-Signer-A"] == wit


@pytest.mark.parametrize("text", ["{}", '{"keys": null}', '{"keys": {}}'])
async def test_a_file_without_keys_is_read(path: Path, text: str) -> None:
    path.write_text(text)
    assert await manager(path).get_keys() == {}


_ED25519 = base64.b64encode(
    private_key_to_pkcs8(ed25519.Ed25519PrivateKey.generate())  # type: ignore[arg-type]
).decode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "unable to decode keys JSON", id="empty"),
        pytest.param('{"keys": {"a": "c2Vj', "unable to decode keys JSON", id="cut off"),
        pytest.param("[]", "unable to decode keys JSON", id="list"),
        pytest.param('{"keys": []}', "unable to decode keys JSON", id="list of keys"),
        pytest.param("[" * 100_000, "unable to decode keys JSON", id="deeply nested"),
        pytest.param(" " * (disk.MAX_FILE_BYTES + 1), "too long", id="too long"),
        pytest.param(file_of(a="c2VjcmV0!"), 'unable to parse key "a"', id="no base64"),
        pytest.param(file_of(a="c2VjcmV0"), 'unable to parse key "a"', id="no PKCS#8"),
        pytest.param('{"keys": {"a": 7}}', 'unable to parse key "a"', id="number"),
        pytest.param(file_of(a=_ED25519), 'unable to parse key "a"', id="other kind of key"),
    ],
)
async def test_a_corrupted_file_is_told_of_and_never_overwritten(
    path: Path, text: str, message: str
) -> None:
    path.write_text(text)
    keys = manager(path)
    with pytest.raises(Internal, match=message) as reading:
        await keys.get_keys()
    with pytest.raises(Internal, match=message):
        await keys.generate_key("x509-CA-A", KeyType.EC_P256)
    assert path.read_text() == text
    assert "c2Vj" not in str(reading.value)


async def test_a_key_that_cannot_be_kept_leaves_the_former_one(path: Path) -> None:
    keys = manager(path)
    former = await keys.generate_key("x509-CA-A", KeyType.EC_P256)
    before = path.read_bytes()
    path.with_name("keys.json.tmp").mkdir()
    with pytest.raises(Internal, match="unable to write entries"):
        await keys.generate_key("x509-CA-A", KeyType.EC_P256)
    assert dict(await keys.get_keys()) == {"x509-CA-A": former}
    assert path.read_bytes() == before


async def test_an_unreadable_file_is_told_of(path: Path) -> None:
    path.mkdir()
    with pytest.raises(Internal, match="unable to read keys file"):
        await manager(path).get_keys()


def test_the_server_needs_a_path(context: PluginContext) -> None:
    with pytest.raises(InvalidArgument, match="keys_path is required"):
        disk.configure_server({}, context)


def test_the_agent_needs_a_directory(context: PluginContext) -> None:
    with pytest.raises(InvalidArgument, match="directory must be configured"):
        disk.configure_agent({}, context)


def test_an_unknown_setting_is_warned_of_with_the_nearest_name(context: PluginContext) -> None:
    disk.configure_server({"keys_path": "x", "key_path": "y"}, context)
    assert context.warnings == ['unknown setting "key_path" encountered; did you mean "keys_path"?']


def test_configuring_opens_nothing(tmp_path: Path, context: PluginContext) -> None:
    disk.configure_agent({"directory": str(tmp_path / "data")}, context)
    assert not (tmp_path / "data").exists()


@given(content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
async def test_any_file_is_read_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(Internal):
        await manager(path).get_keys()
