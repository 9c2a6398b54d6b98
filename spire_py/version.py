"""Versions: ours, and the SPIRE release whose borders we match."""

from __future__ import annotations

VERSION = "0.1.0"
SPIRE_VERSION = "1.15.3"
"""Written as `migrations.code_version`, and sent to servers as the agent's version: SPIRE parses both as semver."""
