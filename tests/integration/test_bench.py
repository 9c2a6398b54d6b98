"""The bench measures and prints. What it finds is no test's business."""

from __future__ import annotations

import sys

import pytest

from tests.integration.daemons import run
from tests.peers.find import ROOT


def test_the_bench_prints_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = run(sys.executable, "-m", "bench", "--only", "start", "--runs", "1")
    assert done.returncode == 0, done.stderr
    [server, agent] = [line for line in done.stdout.splitlines() if "start to healthy" in line]
    assert server.startswith("| start to healthy, server |")
    assert agent.startswith("| start to healthy, agent  |")


def test_the_bench_knows_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = run(sys.executable, "-m", "bench", "--only", "weather")
    assert done.returncode == 2
    assert "mint-x509" in done.stderr
