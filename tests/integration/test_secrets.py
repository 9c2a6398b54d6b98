"""What must not leak: keys and tokens into logs, workloads' keys onto the disk (SECURITY.md)."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

from tests.integration.daemons import Stack, new_stack


def answer(stack: Stack, *words: str) -> Any:
    result = stack.try_agent("api", *words, "-output", "json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def managed_keys(path: Path) -> list[str]:
    """The keys in a file of the key manager, less what all keys begin with."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return [text[60:] for text in json.loads(path.read_text())["keys"].values()]


def test_no_secret_is_logged_and_no_key_of_a_workload_is_on_disk() -> None:
    with new_stack(log_level="TRACE") as stack:
        server = stack.start_server()
        unused_token = stack.join_token()
        agent = stack.start_agent()
        stack.create_entry("workload")
        stack.wait_for_svids(1)
        key = base64.b64decode(answer(stack, "fetch", "x509")["svids"][0]["x509_svid_key"])
        jwt_svid = answer(stack, "fetch", "jwt", "-audience", "here")[0]["svids"][0]["svid"]
        refused = stack.try_agent(
            *("api", "validate", "jwt", "-audience", "elsewhere", "-svid", jwt_svid)
        )
        assert refused.returncode == 1
        assert jwt_svid not in refused.stderr
        secrets = [
            unused_token,
            jwt_svid.rpartition(".")[2],
            base64.b64encode(key).decode()[60:],
            key.hex()[120:],
            "PRIVATE KEY",
            *managed_keys(stack.folder / "server-data" / "keys.json"),
            *managed_keys(stack.folder / "agent-data" / "keys.json"),
        ]
        assert (agent.stop(), server.stop()) == (0, 0)
        logged = server.output + agent.output
        assert "Failed to validate JWT" in logged
        assert [secret for secret in secrets if secret in logged] == []
        files = [path.read_bytes() for path in stack.folder.rglob("*") if path.is_file()]
        forms = (key, base64.b64encode(key)[60:], key.hex()[120:].encode())
        assert not any(form in content for form in forms for content in files)
