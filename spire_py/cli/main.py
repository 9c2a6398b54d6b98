"""The three names of the command line: `spire-py`, `spire-server` and `spire-agent`.

A command's module is imported only when the command is called, so that each starts fast.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from collections.abc import Awaitable, Mapping, Sequence
from typing import cast

from spire_py.cli import flags as flag_parser
from spire_py.cli.command import Command, CommandFailed
from spire_py.errors import SpireError
from spire_py.version import SPIRE_VERSION, VERSION

_SERVER = "spire_py.cli.server"
_AGENT = "spire_py.cli.agent"

SERVER_COMMANDS: Mapping[str, str] = {
    "agent ban": f"{_SERVER}.agent:BAN",
    "agent count": f"{_SERVER}.agent:COUNT",
    "agent evict": f"{_SERVER}.agent:EVICT",
    "agent list": f"{_SERVER}.agent:LIST",
    "agent show": f"{_SERVER}.agent:SHOW",
    "bundle show": f"{_SERVER}.bundle:SHOW",
    "entry count": f"{_SERVER}.entry_show:COUNT",
    "entry create": f"{_SERVER}.entry_create:CREATE",
    "entry delete": f"{_SERVER}.entry_delete:DELETE",
    "entry list": f"{_SERVER}.entry_show:SHOW",
    "entry show": f"{_SERVER}.entry_show:SHOW",
    "healthcheck": f"{_SERVER}.healthcheck:HEALTHCHECK",
    "run": f"{_SERVER}.run:RUN",
    "token generate": f"{_SERVER}.token:GENERATE",
    "validate": f"{_SERVER}.run:VALIDATE",
}
AGENT_COMMANDS: Mapping[str, str] = {
    "api fetch": f"{_AGENT}.api_x509:FETCH",
    "api fetch jwt": f"{_AGENT}.api_jwt:FETCH",
    "api fetch x509": f"{_AGENT}.api_x509:FETCH",
    "api validate jwt": f"{_AGENT}.api_jwt:VALIDATE",
    "api watch": f"{_AGENT}.api_x509:WATCH",
    "healthcheck": f"{_AGENT}.healthcheck:HEALTHCHECK",
    "run": f"{_AGENT}.run:RUN",
    "validate": f"{_AGENT}.run:VALIDATE",
}
_BOTH = ("healthcheck", "run", "validate")
SPIRE_PY_COMMANDS: Mapping[str, str] = {
    "demo": "spire_py.cli.demo:DEMO",
    **{name: target for name, target in SERVER_COMMANDS.items() if name not in _BOTH},
    **{f"server {name}": SERVER_COMMANDS[name] for name in _BOTH},
    **{f"agent {name}": AGENT_COMMANDS[name] for name in _BOTH},
    **{name: target for name, target in AGENT_COMMANDS.items() if name.startswith("api ")},
}


def spire_server() -> None:
    """Entry point `spire-server`: SPIRE's server commands."""
    sys.exit(run("spire-server", SERVER_COMMANDS, sys.argv[1:]))


def spire_agent() -> None:
    """Entry point `spire-agent`: SPIRE's agent commands."""
    sys.exit(run("spire-agent", AGENT_COMMANDS, sys.argv[1:]))


def spire_py() -> None:
    """Entry point `spire-py`: the commands of both, and our own."""
    sys.exit(run("spire-py", SPIRE_PY_COMMANDS, sys.argv[1:]))


def run(program: str, commands: Mapping[str, str], words: Sequence[str]) -> int:
    """Find the command that `words` begin with, run it, and give the exit code."""
    if words and words[0] in {"-version", "--version", "-v"}:
        print(f"{VERSION} (SPIRE {SPIRE_VERSION})", file=sys.stderr)
        return 0
    name, rest = _find(commands, words)
    if name is None:
        print(_command_list(program, commands), file=sys.stderr)
        return 0 if words and words[0] in {"-h", "-help", "--help"} else 127
    return _run_command(_load(commands[name]), rest)


def _find(commands: Mapping[str, str], words: Sequence[str]) -> tuple[str | None, list[str]]:
    for length in range(min(3, len(words)), 0, -1):
        name = " ".join(words[:length])
        if name in commands:
            return name, list(words[length:])
    return None, []


def _load(target: str) -> Command:
    module, _, name = target.partition(":")
    return cast("Command", getattr(importlib.import_module(module), name))


def _run_command(command: Command, words: Sequence[str]) -> int:
    try:
        flags, _ = flag_parser.parse(command.flags, words)
    except flag_parser.HelpRequested:
        print(flag_parser.usage(command.name, command.flags), file=sys.stderr)
        return 0
    except flag_parser.FlagError as error:
        print(error, file=sys.stderr)
        print(flag_parser.usage(command.name, command.flags), file=sys.stderr)
        return 1
    try:
        outcome = command.run(flags)
        return outcome if isinstance(outcome, int) else asyncio.run(_await(outcome))
    except CommandFailed as error:
        print(f"{error.prefix}{error}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever read our output has gone; without this the flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (SpireError, OSError, ValueError) as error:
        print(f"{command.error_prefix}{error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


async def _await(outcome: Awaitable[int]) -> int:
    return await outcome


def _command_list(program: str, commands: Mapping[str, str]) -> str:
    lines = [f"Usage: {program} [--version] [--help] <command> [<args>]", "", "Commands:"]
    lines += [f"    {name}" for name in sorted(commands)]
    return "\n".join(lines)


if __name__ == "__main__":
    spire_py()
