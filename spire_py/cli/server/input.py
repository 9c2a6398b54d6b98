"""Files that commands read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from spire_py.cli.command import CommandFailed
from spire_py.cli.crash import os_reason

MAX_INPUT_BYTES = 64 << 20


def read_input(path: str) -> bytes:
    """All of a file, or of stdin where `path` is `-`.

    Raises:
        CommandFailed: the file cannot be read, or is larger than 64 MiB.
    """
    try:
        if path == "-":
            if sys.stdin is None:
                raise CommandFailed("stdin is closed")
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise CommandFailed(f"open {path}: {os_reason(error)}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise CommandFailed(f"{path} is larger than {MAX_INPUT_BYTES >> 20} MiB")
    return data


def read_json(path: str) -> object:
    """The JSON document in a file, or on stdin where `path` is `-`.

    Raises:
        CommandFailed: the file cannot be read, is too large, or is no JSON.
    """
    try:
        return cast("object", json.loads(read_input(path)))
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"malformed JSON: {error}") from error
