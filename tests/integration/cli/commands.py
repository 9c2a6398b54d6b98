"""Runs commands as a shell would, in this process: only what they write and return is seen."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spire_py.cli.main import AGENT_COMMANDS, SERVER_COMMANDS, SPIRE_PY_COMMANDS, run

_COMMANDS = {
    "spire-server": SERVER_COMMANDS,
    "spire-agent": AGENT_COMMANDS,
    "spire-py": SPIRE_PY_COMMANDS,
}


@dataclass(frozen=True)
class Outcome:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, "JSON is one line"
        return json.loads(self.out)


def command(program: str, *words: str, stdin: bytes = b"") -> Outcome:
    out, err = io.BytesIO(), io.BytesIO()
    stdout, stderr = io.TextIOWrapper(out), io.TextIOWrapper(err)
    stdin_before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = run(program, _COMMANDS[program], words)
    finally:
        sys.stdin = stdin_before
    stdout.flush()
    stderr.flush()
    return Outcome(code, out.getvalue().decode(), err.getvalue().decode())


@dataclass(frozen=True)
class Shell:
    """Commands of one program on one socket."""

    program: str
    socket: Path

    def __call__(self, line: str, *words: str, stdin: bytes = b"") -> Outcome:
        """`line` is split at spaces; `words` are taken as they are."""
        return command(
            *(self.program, *line.split(), *words, "-socketPath", str(self.socket)), stdin=stdin
        )
