from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.find import peer_binary


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_our_own_program_on_the_path_is_not_taken_for_spires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SPIRE_SERVER_BIN", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = program(tmp_path / "spire-server", "#!/bin/sh\n")
    assert peer_binary("spire-server") == found
    program(found, "#!/usr/bin/python\nfrom spire_py.cli.main import spire_server\n")
    assert peer_binary("spire-server") is None
    monkeypatch.setenv("SPIRE_SERVER_BIN", str(found))
    assert peer_binary("spire-server") is None
