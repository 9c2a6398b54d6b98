from __future__ import annotations

import os
from pathlib import Path

import pytest

from spire_py.runtime.files import write_private


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_only_the_owner_may_read(path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(path, b"one")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"one"


def test_a_file_that_others_could_read_is_replaced(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == b"new"


def test_a_link_in_the_way_is_not_followed(path: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "secret.tmp").symlink_to(victim)
    write_private(path, b"new")
    assert victim.read_bytes() == b"mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["secret", "victim"]


def test_a_failure_leaves_the_old_file(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(OSError, match="secret"):
        write_private(path, b"new")
    assert (path / "kept").exists()
    assert not (tmp_path / "secret.tmp").exists()


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_private(tmp_path / "missing" / "secret", b"new")
