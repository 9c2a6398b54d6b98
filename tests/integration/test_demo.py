"""`spire-py demo` shows what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.integration.daemons import OURS, Process, stack_folder


def demo(*words: str, folder: Path) -> Process:
    return Process([*OURS, "demo", *words], environment={"TMPDIR": str(folder)})


def test_the_demo_shows_two_workloads_that_trust_each_other() -> None:
    with stack_folder() as folder:
        process = demo(folder=folder)
        try:
            assert process.wait_for_end(100) == 0, process.output
        finally:
            process.kill()
        client, server = (f"spiffe://example.org/demo/{name}" for name in ("client", "server"))
        for line in (
            rf"  entry      unix:uid:{os.getuid()} is now also {client}",
            rf"  entry      unix:uid:{os.getuid()} is now also {server}",
            rf"  X.509-SVID {client}: chain checked against the bundle",
            rf"  X.509-SVID {server}: chain checked against the bundle",
            r"  JWT-SVID   spiffe://example.org/demo/(client|server): signature checked",
            rf"  mTLS       {client} called {server}: each proved who it is",
            r"Done in \d+\.\d s\.",
        ):
            assert re.search(f"^{line}$", process.output, re.MULTILINE), process.output
        assert list(folder.iterdir()) == []


def test_the_demo_keeps_its_folder_where_it_is_asked_to() -> None:
    with stack_folder() as folder:
        process = demo("-keep", folder=folder)
        try:
            assert process.wait_for_end(100) == 0, process.output
        finally:
            process.kill()
        (kept,) = folder.iterdir()
        assert f"Configurations and logs are kept in {kept}." in process.output
        names = {path.name for path in kept.iterdir()}
        assert {"server.conf", "agent.conf", "server.log", "agent.log"} <= names
        assert "server.sock" not in names
