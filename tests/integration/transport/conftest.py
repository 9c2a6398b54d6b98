"""A directory short enough for sockets, and certificates."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .certificates import Authority


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def socket_path(directory: Path) -> Path:
    return directory / "a.sock"


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("spiffe://example.org")


@pytest.fixture(scope="session")
def foreign_authority() -> Authority:
    return Authority("spiffe://other.test")
