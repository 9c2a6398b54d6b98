"""The rule for lacking peers, seen from outside: a small run of pytest in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NAMES_LACK = """
import pytest
from tests.peers import find
find.BIN = find.Path("/nonexistent")
@pytest.mark.peer({peer!r})
def test_with_peer(require_peer): require_peer({peer!r})
def test_without(): pass
"""


def run(folder: Path, *, peer: str, ci: str, workers: int = 0) -> tuple[int, str]:
    (folder / "test_it.py").write_text(NAMES_LACK.format(peer=peer))
    (folder / "conftest.py").write_text('pytest_plugins = ["tests.peers.plugin"]\n')
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = peer(name): x\n")
    spare = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "SPIRE_"))
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-n",
            str(workers),
            str(folder),
        ],
        cwd=folder,
        env={**spare, "CI": ci, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_a_test_whose_peer_lacks_is_left_out_and_listed(tmp_path: Path, workers: int) -> None:
    code, output = run(tmp_path, peer="h2spec", ci="", workers=workers)
    assert code == 0, output
    assert "1 passed" in output
    assert "h2spec: 1 test(s) not run" in output


def test_in_ci_a_lacking_peer_is_a_failure(tmp_path: Path) -> None:
    code, output = run(tmp_path, peer="h2spec", ci="1")
    assert code == 1, output
    assert "lacks h2spec" in output


def test_in_ci_spire_itself_may_lack_and_is_listed(tmp_path: Path) -> None:
    code, output = run(tmp_path, peer="spire-server", ci="1")
    assert code == 0, output
    assert "spire-server: 1 test(s) not run" in output


def test_an_unknown_peer_is_a_mistake(tmp_path: Path) -> None:
    code, output = run(tmp_path, peer="no-such", ci="")
    assert code != 0, output
    assert "no peer is named" in output
