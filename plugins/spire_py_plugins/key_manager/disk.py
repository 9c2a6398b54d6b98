"""KeyManager `disk`: keys in a JSON file that SPIRE reads and writes too (features K1, K7)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spire_py.crypto.keys import generate_key, pkcs8_to_private_key, private_key_to_pkcs8
from spire_py.errors import Internal, InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.key_manager import KeyManager, KeyType, ManagedKey
from spire_py.plugin_api.settings import Settings
from spire_py.runtime.files import write_private
from spire_py.telemetry.logs import get_logger

MAX_FILE_BYTES = 1024 * 1024

_AGENT_FILE = "keys.json"

log = get_logger("key_manager.disk")


class DiskKeyManager(KeyManager):
    """Keeps keys in one file, mode 0600, as `{"keys": {"<key id>": "<base64 of PKCS#8>"}}`.

    The file is read at first use and belongs to this process from then on. A file that cannot be
    understood is an error and is never overwritten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, ManagedKey] | None = None
        self._lock = asyncio.Lock()

    async def generate_key(self, key_id: str, key_type: KeyType) -> ManagedKey:
        if not key_id:
            raise InvalidArgument("key id is required")
        key = ManagedKey(key_id, await asyncio.to_thread(generate_key, key_type))
        async with self._lock:
            keys = {**await self._loaded(), key_id: key}
            await asyncio.to_thread(_store, self._path, keys)
            self._keys = keys
        return key

    async def get_keys(self) -> Mapping[str, ManagedKey]:
        async with self._lock:
            return dict(await self._loaded())

    async def _loaded(self) -> dict[str, ManagedKey]:
        if self._keys is None:
            self._keys = await asyncio.to_thread(_load, self._path)
        return self._keys


def configure_server(data: Mapping[str, Any], context: PluginContext) -> DiskKeyManager:
    """The server's plugin: `keys_path` names the file."""
    settings = Settings(data, context)
    path = settings.text("keys_path", required=True)
    settings.finish()
    return DiskKeyManager(Path(path))


def configure_agent(data: Mapping[str, Any], context: PluginContext) -> DiskKeyManager:
    """The agent's plugin: the file is `keys.json` in `directory`."""
    settings = Settings(data, context)
    directory = settings.text("directory")
    if not directory:
        settings.fault("directory must be configured")
    settings.finish()
    return DiskKeyManager(Path(directory) / _AGENT_FILE)


def _load(path: Path) -> dict[str, ManagedKey]:
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Internal(f"unable to read keys file {str(path)!r}: {error.strerror}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("keys_file_not_private", path=str(path), mode=f"{stat.S_IMODE(mode):04o}")
    if len(content) > MAX_FILE_BYTES:
        raise Internal(f"unable to decode keys JSON: {str(path)!r} is too long")
    return {
        key_id: ManagedKey(key_id, _parse_key(key_id, text))
        for key_id, text in _parse(path, content).items()
    }


def _parse(path: Path, content: bytes) -> dict[str, Any]:
    # What is quoted in an error must not come from the file: its text is secret.
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise Internal(f"unable to decode keys JSON: {str(path)!r} is no JSON") from None
    if not isinstance(document, dict):
        raise Internal(f"unable to decode keys JSON: {str(path)!r} holds no object")
    keys = document.get("keys")
    if keys is None:
        return {}
    if not isinstance(keys, dict):
        raise Internal(f'unable to decode keys JSON: "keys" in {str(path)!r} is no object')
    return keys


def _parse_key(key_id: str, text: object) -> Any:
    try:
        if not isinstance(text, str):
            raise InvalidArgument("it is no base64 text")
        return pkcs8_to_private_key(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise Internal(f'unable to parse key "{key_id}": it is no base64 text') from None
    except InvalidArgument as error:
        raise Internal(f'unable to parse key "{key_id}": {error.message}') from None


def _store(path: Path, keys: Mapping[str, ManagedKey]) -> None:
    document = {
        "keys": {
            key_id: base64.b64encode(private_key_to_pkcs8(key.private_key)).decode()
            for key_id, key in keys.items()
        }
    }
    content = json.dumps(document, indent="\t", sort_keys=True).encode()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, content)
    except OSError as error:
        raise Internal(f"unable to write entries: {error.strerror} ({str(path)!r})") from error
