"""h2spec, the conformance tests of HTTP/2, against our server."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

# Cases that do not apply, each with its reason. There are none: what is no gRPC request is
# answered like any HTTP request, with a body that flow control applies to.
NOT_APPLICABLE: dict[str, str] = {}

_CASES = 145


@pytest.mark.peer("h2spec")
@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_every_case_of_h2spec_passes(
    require_peer: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    report = tmp_path / "report.xml"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.transport.h2spec_server", kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip()
        subprocess.run(
            [
                str(require_peer("h2spec")),
                *("-h", "127.0.0.1", "-p", port, "--timeout", "10", "--junit-report", str(report)),
                *(["--tls", "--insecure"] if kind == "tls" else []),
            ],
            check=False,
            capture_output=True,
            timeout=110,
        )
    finally:
        server.communicate(timeout=20)
    cases = ElementTree.parse(report).findall(".//testcase")
    assert len(cases) >= _CASES
    failed = {
        f"{case.get('package')}: {case.get('classname')}"
        for case in cases
        if case.find("failure") is not None or case.find("skipped") is not None
    }
    assert failed == set(NOT_APPLICABLE)
