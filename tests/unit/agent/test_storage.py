from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spire_py.agent.storage import AgentStorage
from spire_py.crypto.pem import certificates_to_pem
from spire_py.errors import Internal
from tests.unit.agent.builders import Authority


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    first, second = Authority().certificate, Authority().certificate
    AgentStorage.open(tmp_path).store(svid=(first, second), bundle=(second,), reattestable=True)
    data = AgentStorage.open(tmp_path).data
    assert (data.svid, data.bundle, data.reattestable) == ((first, second), (second,), True)


def test_the_file_is_spires(tmp_path: Path) -> None:
    certificate = Authority().certificate
    AgentStorage.open(tmp_path).store(svid=(certificate,), bundle=(certificate,))
    item = base64.b64encode(certificates_to_pem([certificate]).encode()).decode()
    path = tmp_path / "agent-data.json"
    assert json.loads(path.read_text()) == {
        "svid": [item],
        "bundle": [item],
        "reattestable": False,
        "bootstrap_use": 0,
        "bootstrap_start_time": "0001-01-01T00:00:00Z",
        "connection_attempts": 0,
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_of_spire_is_read(tmp_path: Path) -> None:
    document = {
        "svid": None,
        "bundle": None,
        "reattestable": True,
        "bootstrap_use": 1,
        "bootstrap_start_time": "2026-11-22T18:03:52.620583753+01:00",
        "connection_attempts": 3,
    }
    (tmp_path / "agent-data.json").write_text(json.dumps(document))
    data = AgentStorage.open(tmp_path).data
    assert data.svid == ()
    assert data.bootstrap_start_time == datetime(2026, 11, 22, 17, 3, 52, 620583, UTC)
    assert (data.bootstrap_use, data.connection_attempts) == (1, 3)


def test_deleting_the_svid_keeps_the_bundle(tmp_path: Path) -> None:
    certificate = Authority().certificate
    storage = AgentStorage.open(tmp_path)
    storage.store(svid=(certificate,), bundle=(certificate,), reattestable=True)
    storage.delete_svid()
    data = AgentStorage.open(tmp_path).data
    assert (data.svid, data.bundle, data.reattestable) == ((), (certificate,), False)


def test_a_missing_directory_is_made(tmp_path: Path) -> None:
    AgentStorage.open(tmp_path / "a" / "b").store(connection_attempts=1)
    assert (tmp_path / "a" / "b" / "agent-data.json").exists()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut off"),
        pytest.param("[]", id="a list"),
        pytest.param('{"svid": ["%%"]}', id="no base64"),
        pytest.param('{"svid": ["AAAA"]}', id="no PEM"),
    ],
)
def test_a_malformed_file_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / "agent-data.json").write_text(text)
    with pytest.raises(Internal, match="failed to open storage"):
        AgentStorage.open(tmp_path)


def test_a_failed_write_changes_nothing(tmp_path: Path) -> None:
    storage = AgentStorage.open(tmp_path / "data")
    (tmp_path / "data").rmdir()
    with pytest.raises(Internal, match="failed to write data file"):
        storage.store(connection_attempts=1)
    assert storage.data.connection_attempts == 0
