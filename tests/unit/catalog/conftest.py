from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

InstallPlugins = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InstallPlugins]:
    """Installs packages of plugins, each with entry points and the code of its module."""
    modules: list[str] = []

    def install(package: str, entry_points: str, code: str) -> None:
        site = tmp_path / package
        information = site / f"{package}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1")
        (information / "entry_points.txt").write_text(entry_points)
        (site / f"{package}.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))
        modules.append(package)

    yield install
    for module in modules:
        sys.modules.pop(module, None)
