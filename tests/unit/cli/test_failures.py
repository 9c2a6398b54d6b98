"""What commands say when they fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from spire_py.cli.output import go_json


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spire_py.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "start"),
    [
        pytest.param(("bundle", "show"), "Error: rpc error: code =", id="server"),
        pytest.param(("api", "fetch"), "rpc error: code =", id="agent"),
    ],
)
def test_only_server_commands_put_error_before_a_refusal(
    tmp_path: Path, words: tuple[str, ...], start: str
) -> None:
    done = command(*words, "-socketPath", str(tmp_path / "none.sock"))
    assert done.returncode == 1
    assert done.stderr.startswith(start + " Unavailable")


def test_a_reader_that_goes_away_is_no_noise() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _BROKEN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 141


_BROKEN = """
import sys
from spire_py.cli.command import Command
from spire_py.cli.main import run
def talk(flags):
    for _ in range(10_000):
        print("x" * 100)
    return 0
TALK = Command("talk", "", (), talk)
sys.exit(run("spire-py", {"talk": "__main__:TALK"}, ["talk"]))
"""


def test_whole_numbers_of_a_token_have_no_dot() -> None:
    assert go_json({"exp": 1795421000.0, "list": [1.0, 1.5]}) == '{"exp":1795421000,"list":[1,1.5]}'
