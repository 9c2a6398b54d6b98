"""Versions: ours, and the SPIRE release whose borders we match."""

from __future__ import annotations

VERSION = "0.1.0"
SPIRE_VERSION = "1.15.3"
"""Stored as `migrations.code_version` and sent as the agent's version; SPIRE parses semver."""
