"""The README works as printed: its shell blocks run in one shell, in a folder of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.daemons import free_port, stack_folder

ROOT = Path(__file__).parents[2]
FOLDER_IN_README = "/tmp/spire-py"
CONFIGS_IN_README = "deploy/quickstart"
PORT_IN_README = "18081"
ACTIVATION = ". .venv/bin/activate\n"
SECONDS = 90


def shell_blocks() -> list[str]:
    return re.findall(
        r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Stands for the README's folder, and holds copies of its configurations."""
    with stack_folder() as folder:
        port = str(free_port())
        for source in (ROOT / CONFIGS_IN_README).iterdir():
            text = source.read_text()
            assert FOLDER_IN_README in text
            assert PORT_IN_README in text
            text = text.replace(FOLDER_IN_README, str(folder)).replace(PORT_IN_README, port)
            (folder / source.name).write_text(text)
        yield folder


def run_script(script: str, folder: Path) -> tuple[int, str]:
    environment = {key: os.environ[key] for key in ("HOME", "LANG", "TZ") if key in os.environ}
    environment["PATH"] = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = shell.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
        pytest.fail(f"the README's commands hang; the logs:\n{logs}")
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        else:
            shell.communicate()
    return shell.returncode, output


def test_the_commands_of_the_readme_work_as_printed(folder: Path) -> None:
    script = "".join(shell_blocks())
    assert script.startswith(ACTIVATION)
    script = script.removeprefix(ACTIVATION)
    script = script.replace(CONFIGS_IN_README, str(folder)).replace(FOLDER_IN_README, str(folder))
    code, output = run_script(script + "jobs\n", folder)
    assert code == 0, output
    for text in (
        "Server is healthy.\n",
        "Agent is healthy.\n",
        "SPIFFE ID               : spiffe://example.org/me\n",
        "Received 1 svid after ",
        "SPIFFE ID:\t\tspiffe://example.org/me\n",
        "token(spiffe://example.org/me):\n",
        "bundle(spiffe://example.org):\n",
    ):
        assert text in output
    assert "Running" not in output.rpartition("bundle(")[2], "both daemons have ended"
    assert "Server stopped gracefully" in (folder / "server.log").read_text()
    assert "Agent stopped gracefully" in (folder / "agent.log").read_text()


def test_the_targets_of_make_that_the_readme_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert set(named) >= {"demo", "test"}
    assert set(named) <= targets
