"""Finds the foreign programs that tests talk to.

`build.py` puts them below `.peers/` at the top of the work tree. Others are never built here: they
are taken from the environment, as `SPIRE_SERVER_BIN`, or from the `PATH`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".peers"
BIN = PEERS / "bin"

BUILT = {
    "workload": "go-spiffe: sources, watches, mTLS, tokens",
    "grpcecho-client": "grpc-go as a client",
    "grpcecho-server": "grpc-go as a server",
    "load": "load generator on grpc-go",
    "h2spec": "conformance of HTTP/2 servers",
    "py-workload": "py-spiffe: sources, mTLS, tokens",
    "rust-workload": "the Rust crate spiffe: sources, tokens",
    "envoy": "Envoy, for SDS",
}
FOUND_ONLY = {
    "spire-server": "SPIRE_SERVER_BIN",
    "spire-agent": "SPIRE_AGENT_BIN",
    "openssl": "OPENSSL_BIN",
    "dockerd": "DOCKERD_BIN",
    "podman": "PODMAN_BIN",
    "dbus-daemon": "DBUS_DAEMON_BIN",
}
MAY_LACK = frozenset({"spire-server", "spire-agent"})
FOR_ROOT = frozenset({"dockerd", "podman"})


def peer_binary(name: str) -> Path | None:
    """The program of that name, or None where it is lacking or of no use.

    Raises:
        KeyError: no peer has that name, which is a mistake in the test.
    """
    if name in FOUND_ONLY:
        if name in FOR_ROOT and os.geteuid() != 0:
            return None
        text = os.environ.get(FOUND_ONLY[name]) or shutil.which(name)
        path = Path(text) if text else None
        if path is None or not os.access(path, os.X_OK) or _is_ours(path):
            return None
        return path
    if name not in BUILT:
        raise KeyError(f"no peer is named {name!r}; known: {', '.join([*BUILT, *FOUND_ONLY])}")
    path = BIN / name
    return path if os.access(path, os.X_OK) else None


def _is_ours(path: Path) -> bool:
    """Our own programs have the names of SPIRE's, and are on the PATH of an active environment."""
    with path.open("rb") as file:
        return b"spire_py" in file.read(4096)


def must_be_there(name: str) -> bool:
    """Whether a lacking peer is a failure: in CI, save for SPIRE's own programs."""
    return name not in MAY_LACK and os.environ.get("CI", "") not in ("", "0", "false")
