"""`validate` takes every configuration that guides print, in HCL and in JSON, and names exactly the
keys in it that SPIRE would not know, each once and with its line.

`helm-*.json` is what the chart `spire` 0.30.0 makes of a guide's values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from spire_py.cli.main import AGENT_COMMANDS, SERVER_COMMANDS, run
from tests.unit.config import printed

COMMANDS = {"server": SERVER_COMMANDS, "agent": AGENT_COMMANDS}

Key = tuple[str, int, int]
"""A key, which of its occurrences in the file is meant, and its line in the HCL."""

UNKNOWN: dict[str, list[Key]] = {
    "istio-server": [
        ("default_svid_ttl", 1, 11),
        ("k8s", 1, 32),
        ("verify_node_resolver", 1, 39),
        ("docker", 1, 43),
        ("bind_address", 3, 97),
        ("bind_port", 3, 98),
    ],
    "istio-agent": [
        ("kube_config_file", 1, 28),
        ("bind_address", 2, 58),
        ("bind_port", 2, 59),
    ],
    "deep-dive-server": [],
    "deep-dive-agent": [("svc_account_key_file", 1, 8)],
}

NAMES = [pytest.param(name, id=name) for name in UNKNOWN]
OF_UNKNOWN_KEY = re.compile(
    r'warning: .*?"(\w+)"(?: in \w+)? (?:is an older name|is ignored|encountered).*\(line (\d+)\)'
)


def validate(name: str, path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings about a file that is valid."""
    daemon = name.rpartition("-")[2]
    code = run(f"spire-{daemon}", COMMANDS[daemon], ["validate", "-config", str(path)])
    output = capsys.readouterr()
    assert code == 0, output.err
    assert output.out == f"SPIRE {daemon} configuration file is valid.\n"
    return output.err.splitlines()


def keys_of(warnings: list[str]) -> list[tuple[str, int]]:
    """The keys that SPIRE would not know, and their lines."""
    found = [OF_UNKNOWN_KEY.fullmatch(warning) for warning in warnings]
    return sorted((match[1], int(match[2])) for match in found if match)


def line_of(text: str, key: str, occurrence: int) -> int:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if f'"{key}":' in line]
    return lines[occurrence - 1]


@pytest.mark.parametrize("name", NAMES)
def test_hcl_is_valid_and_each_unknown_key_is_named_once(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    warnings = validate(name, printed.CONFIGS / f"{name}.conf", capsys)
    assert keys_of(warnings) == sorted((key, line) for key, _, line in UNKNOWN[name])


@pytest.mark.parametrize("form", [printed.as_json, printed.as_chart_json])
@pytest.mark.parametrize("name", NAMES)
def test_json_is_valid_and_each_unknown_key_is_named_once(
    name: str, form: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = form(name)
    path = tmp_path / "daemon.conf"
    path.write_text(text)
    assert keys_of(validate(name, path, capsys)) == sorted(
        (key, line_of(text, key, occurrence)) for key, occurrence, _ in UNKNOWN[name]
    )


@pytest.mark.parametrize("name", ["helm-server", "helm-agent"])
def test_what_the_helm_chart_writes_is_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(name, printed.CONFIGS / f"{name}.json", capsys) == []


@pytest.mark.parametrize("path", sorted(printed.CONFIGS.iterdir()), ids=lambda path: path.name)
def test_no_printed_file_is_forgotten(path: Path) -> None:
    assert path.stem in UNKNOWN or path.stem.startswith("helm-")


def test_a_bundle_that_is_not_mounted_here_is_no_fault_of_the_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = printed.CONFIGS / "deep-dive-agent.conf"
    [warning] = [
        each
        for each in validate("deep-dive-agent", path, capsys)
        if "no trust bundle is configured" in each
    ]
    assert "/run/spire/bundle/bundle.crt" in warning
    assert warning.endswith("(line 1)")
