"""Which socket a command dials: flag, instance, environment, default, and one more place."""

from __future__ import annotations

from pathlib import Path

import pytest

from spire_py.cli.command import CommandFailed
from spire_py.cli.flags import parse
from spire_py.cli.sockets import AGENT_SOCKET, SERVER_SOCKET, SocketChoice


@pytest.fixture
def choice(tmp_path: Path) -> SocketChoice:
    return SocketChoice(f"{tmp_path}/default", "SOCKET", f"{tmp_path}/fallback")


@pytest.mark.parametrize(
    ("words", "environment", "files", "expected"),
    [
        pytest.param([], {}, [], "default", id="default"),
        pytest.param([], {}, ["fallback"], "fallback", id="only the other place"),
        pytest.param([], {}, ["default", "fallback"], "default", id="the default wins"),
        pytest.param([], {"SOCKET": "env"}, ["default", "fallback"], "env", id="environment"),
        pytest.param([], {"SOCKET": ""}, [], "default", id="empty environment"),
        pytest.param(["-socketPath", "flag"], {"SOCKET": "env"}, [], "flag", id="flag"),
        pytest.param(
            ["-instance", "a"], {"SOCKET_TEMPLATE": "x-%i-y", "SOCKET": "env"}, [], "x-a-y", id="%i"
        ),
        pytest.param(
            ["-instance", "a", "-socketPath", "flag"],
            {"SOCKET_TEMPLATE": "%i"},
            [],
            "flag",
            id="flag and instance",
        ),
        pytest.param([], {"SOCKET_TEMPLATE": "%i"}, [], "default", id="template alone"),
    ],
)
def test_the_socket_is_found(
    choice: SocketChoice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    environment: dict[str, str],
    files: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SOCKET", "SOCKET_TEMPLATE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in files:
        (tmp_path / name).touch()
    flags, _ = parse(choice.flags(), words)
    found = choice.resolve(flags)
    assert found.name == expected


def test_a_default_that_is_asked_for_is_not_replaced(choice: SocketChoice, tmp_path: Path) -> None:
    (tmp_path / "fallback").touch()
    flags, _ = parse(choice.flags(), ["-socketPath", choice.default])
    assert choice.resolve(flags) == Path(choice.default)


def test_an_instance_needs_a_template(
    choice: SocketChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, _ = parse(choice.flags(), ["-instance", "a"])
    monkeypatch.delenv("SOCKET_TEMPLATE", raising=False)
    with pytest.raises(CommandFailed, match="you must define SOCKET_TEMPLATE to use the instance"):
        choice.resolve(flags)
    monkeypatch.setenv("SOCKET_TEMPLATE", "/x")
    with pytest.raises(CommandFailed, match="failed to find %i in SOCKET_TEMPLATE"):
        choice.resolve(flags)


def test_spires_defaults() -> None:
    assert SERVER_SOCKET.default == "/tmp/spire-server/private/api.sock"
    assert SERVER_SOCKET.environment == "SPIRE_SERVER_PRIVATE_SOCKET"
    assert SERVER_SOCKET.fallback == "/run/spire/sockets/api.sock"
    assert AGENT_SOCKET.default == "/tmp/spire-agent/public/api.sock"
    assert AGENT_SOCKET.environment == "SPIRE_AGENT_PUBLIC_SOCKET"
