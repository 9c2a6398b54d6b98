"""A command starts fast because it loads little: what it does not need is not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOT_FOR_COMMANDS = ("pydantic", "sqlalchemy", "structlog", "spire_py.transport.server")


@pytest.mark.parametrize(
    ("line", "also"),
    [
        pytest.param("server healthcheck", ("cryptography",), id="healthcheck"),
        pytest.param("entry show", ("cryptography",), id="entry show"),
        pytest.param("entry create -data x", ("cryptography",), id="entry create"),
        pytest.param("agent list", ("cryptography",), id="agent list"),
        pytest.param("token generate", ("cryptography",), id="token generate"),
        pytest.param("bundle show", (), id="bundle show"),
        pytest.param("api fetch x509", (), id="api fetch x509"),
        pytest.param("api fetch jwt -audience a", ("cryptography",), id="api fetch jwt"),
    ],
)
def test_a_command_loads_no_more_than_it_needs(
    tmp_path: Path, line: str, also: tuple[str, ...]
) -> None:
    script = f"""
import sys
from spire_py.cli.main import SPIRE_PY_COMMANDS, run
code = run("spire-py", SPIRE_PY_COMMANDS, {[*line.split(), "-socketPath", "none"]})
print(code, *sorted({{*{NOT_FOR_COMMANDS + also}}} & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == "1\n"
