"""Where the figures come from: machine, Python, libraries, SPIRE."""

from __future__ import annotations

import os
import platform
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench.budgets import SPIRE
from bench.sides import Side

_LIBRARIES = ("cryptography", "protobuf", "hpack", "sqlalchemy")


def describe(sides: list[Side]) -> list[str]:
    """A few lines for the head of the table."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return [
        f"machine: {_processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
        f"ours: {python}, {ssl.OPENSSL_VERSION}, {libraries}",
        *(f"SPIRE: {_version(side.server[0])}" for side in sides if side.name == SPIRE),
        f"load average at the start: {os.getloadavg()[0]:.1f}",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
