"""Files that commands read."""

from __future__ import annotations

import sys
from pathlib import Path

from spire_py.cli.command import CommandFailed

MAX_INPUT_BYTES = 64 << 20


def read_input(path: str) -> bytes:
    """All of a file, or of stdin where `path` is `-`.

    Raises:
        CommandFailed: the file cannot be read, or is larger than 64 MiB.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandFailed(f"open {path}: {reason}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise CommandFailed(f"{path} is larger than {MAX_INPUT_BYTES >> 20} MiB")
    return data
