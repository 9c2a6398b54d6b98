"""The pytest side of foreign peers.

A test that needs one is marked `@pytest.mark.peer("h2spec")` and gets its path from the fixture
`require_peer`. Where the peer is lacking the test is not run and is listed at the end of the run;
in CI it runs and fails, because no check may go missing there. Only SPIRE's own programs may lack
in CI, and then the list says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.peers.find import must_be_there, peer_binary

_WHENCE = "run `make peers`, or see tests/peers/README.md for where it comes from"
_LACKED = pytest.StashKey[dict[str, int]]()


def _peers_of(item: pytest.Item) -> list[str]:
    return [str(name) for mark in item.iter_markers("peer") for name in mark.args]


def _lacking(names: Iterable[str]) -> list[str]:
    return [name for name in names if peer_binary(name) is None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LACKED] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out: list[pytest.Item] = []
    for item in items:
        lacking = [name for name in _lacking(_peers_of(item)) if not must_be_there(name)]
        if lacking:
            left_out.append(item)
            count(config.stash[_LACKED], dict.fromkeys(lacking, 1))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(left_out)
        items[:] = [item for item in items if item not in gone]


def pytest_runtest_setup(item: pytest.Item) -> None:
    lacking = _lacking(_peers_of(item))
    if lacking:
        pytest.fail(f"lacks {', '.join(lacking)}: {_WHENCE}", pytrace=False)


def count(total: dict[str, int], more: dict[str, int]) -> None:
    """Add up tests by the peer they lacked."""
    for name, number in more.items():
        total[name] = total.get(name, 0) + number


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["lacked_peers"] = session.config.stash[_LACKED]


class _Gatherer:
    """Takes the list from the workers of pytest-xdist; each of them collected the same tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        lacked: dict[str, int] = getattr(node, "workeroutput", {}).get("lacked_peers", {})
        self._config.stash[_LACKED] = lacked or self._config.stash[_LACKED]


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Gatherer(session.config), "spire-py-peers")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    lacked = config.stash[_LACKED]
    if not lacked:
        return
    terminalreporter.section("lacked peers (tests/peers/README.md)")
    for name, number in sorted(lacked.items()):
        terminalreporter.line(f"{name}: {number} test(s) not run")


@pytest.fixture
def require_peer() -> Callable[[str], Path]:
    """Gives the path of a peer; the test must carry its `peer` mark too."""

    return peer_for_module


def peer_for_module(name: str) -> Path:
    """As `require_peer`, for fixtures that live longer than a test."""
    path = peer_binary(name)
    if path is None:
        pytest.fail(f"lacks {name}: mark the test with peer({name!r})", pytrace=False)
    return path
