"""The three names of the command line: `spire-py`, `spire-server` and `spire-agent`.

A command's module is imported only when the command is called, so that each starts fast.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Awaitable, Mapping, Sequence
from types import FrameType
from typing import cast

from spire_py.cli import flags as flag_parser
from spire_py.cli.command import Command, CommandFailed
from spire_py.cli.crash import describe_os_error, os_reason, report_bug
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
    "api explain": f"{_AGENT}.api_explain:EXPLAIN",
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
_OF_SPIRE_ONLY = {
    "agent": ("purge",),
    "bundle": ("count", "delete", "list", "set"),
    "debug": ("getinfo",),
    "entry": ("update",),
    "federation": ("create", "delete", "list", "refresh", "show", "update"),
    "jwt": ("mint",),
    "localauthority": ("jwt", "x509"),
    "logger": ("get", "reset", "set"),
    "upstreamauthority": ("revoke", "taint"),
    "x509": ("mint",),
}
"""The commands of SPIRE that are not here, by their first word."""
_HELP = ("-h", "-help", "--help")
_VERSION = ("-v", "-version", "--version")
_UNKNOWN = 127
_INTERRUPTED = 130
_PIPE_CLOSED = 141
"""What a shell shows of a program that SIGPIPE ended, as it ends SPIRE's."""


def spire_server() -> None:
    """Entry point `spire-server`: SPIRE's server commands."""
    _start("spire-server", SERVER_COMMANDS)


def spire_agent() -> None:
    """Entry point `spire-agent`: SPIRE's agent commands."""
    _start("spire-agent", AGENT_COMMANDS)


def spire_py() -> None:
    """Entry point `spire-py`: the commands of both, and our own."""
    _start("spire-py", SPIRE_PY_COMMANDS)


def _start(program: str, commands: Mapping[str, str]) -> None:
    # Imports leave no garbage worth looking for: a tenth of the time to start is spent on that.
    gc.disable()
    sys.excepthook = report_bug
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # A handler of its own, so that asyncio leaves it: asyncio's would wait for a blocked read.
        signal.signal(signal.SIGINT, _interrupt)
    sys.exit(run(program, commands, sys.argv[1:]))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(program: str, commands: Mapping[str, str], words: Sequence[str]) -> int:
    """Find the command that `words` begin with, run it, and give the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whatever the locale: as SPIRE, and no character can break a command.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _dispatch(program, commands, words)
        if sys.stdout:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; without this the flush at exit would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except OSError as error:
        print(f"Error: write to stdout: {os_reason(error)}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _dispatch(program: str, commands: Mapping[str, str], words: Sequence[str]) -> int:
    if words and words[0] in _VERSION:
        # Tools of SPIRE read its version from here, so its names say only that.
        ours = f"spire-py {VERSION} (SPIRE {SPIRE_VERSION})"
        print(ours if program == "spire-py" else SPIRE_VERSION, file=sys.stderr)
        return 0
    name, rest = _find(commands, words)
    if name is None:
        return _explain(program, commands, words)
    return _run_command(_load(commands[name]), rest)


def _find(commands: Mapping[str, str], words: Sequence[str]) -> tuple[str | None, list[str]]:
    for length in range(min(3, len(words)), 0, -1):
        name = " ".join(words[:length])
        if name in commands:
            return name, list(words[length:])
    return None, []


def _explain(program: str, commands: Mapping[str, str], words: Sequence[str]) -> int:
    """List the commands: all of them, or those of the group that `words` begin with."""
    if len(words) > 1 and words[1] in _OF_SPIRE_ONLY.get(words[0], ()):
        print(f'spire-py does not have SPIRE\'s command "{words[0]} {words[1]}".', file=sys.stderr)
        return _UNKNOWN
    group = f"{words[0]} " if words else ""
    chosen = {name: target for name, target in commands.items() if name.startswith(group)}
    asked = any(word in _HELP for word in words)
    if chosen and group:
        usage = f"Usage: {program} {group}<command> [<args>]"
    else:
        usage, chosen = f"Usage: {program} [--version] [--help] <command> [<args>]", {**commands}
    if words and not asked:
        print(f"{_what_is_wrong(words, commands)}\n", file=sys.stderr)
    width = max(map(len, chosen)) + 4
    lines = [f"    {name:<{width}}{_load(chosen[name]).synopsis}" for name in sorted(chosen)]
    print("\n".join([usage, "", "Commands:", *lines]), file=sys.stderr)
    if asked:
        return 0
    return 1 if len(chosen) < len(commands) else _UNKNOWN


def _what_is_wrong(words: Sequence[str], commands: Mapping[str, str]) -> str:
    import difflib

    if words[0].startswith("-"):
        return "Flags come after the command."
    given = " ".join(word for word in words[:2] if not word.startswith("-"))
    if any(name.startswith(f"{given} ") for name in commands):
        return f'"{given}" needs one more word.'
    close = difflib.get_close_matches(given, list(commands), n=1)
    hint = f'; did you mean "{close[0]}"?' if close else "."
    return f'There is no command "{given}"{hint}'


def _load(target: str) -> Command:
    module, _, name = target.partition(":")
    return cast("Command", getattr(importlib.import_module(module), name))


def _run_command(command: Command, words: Sequence[str]) -> int:
    try:
        flags, extra = flag_parser.parse(command.flags, words)
    except flag_parser.HelpRequested:
        print(flag_parser.usage(command.name, command.flags), file=sys.stderr)
        return 0
    except flag_parser.FlagError as error:
        print(error, file=sys.stderr)
        print(flag_parser.usage(command.name, command.flags), file=sys.stderr)
        if error.hint:
            print(f"\n{error.hint}", file=sys.stderr)
        return 1
    if extra:
        # SPIRE's commands pass over these words in silence, and over every flag behind them.
        words_left = " ".join(extra)
        print(f'warning: "{extra[0]}" is no flag; ignored: {words_left}', file=sys.stderr)
    try:
        outcome = command.run(flags)
        return outcome if isinstance(outcome, int) else _await(outcome)
    except CommandFailed as error:
        print(f"{error.prefix}{error}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"{command.error_prefix}{describe_os_error(error)}", file=sys.stderr)
    except UnicodeEncodeError as error:
        text = ascii(error.object)
        print(f"{command.error_prefix}not valid UTF-8: {text}", file=sys.stderr)
    except SpireError as error:
        print(f"{command.error_prefix}{error}", file=sys.stderr)
    return 1


def _await(outcome: Awaitable[int]) -> int:
    import asyncio

    async def finish() -> int:
        return await outcome

    gc.enable()
    return asyncio.run(finish())


if __name__ == "__main__":
    spire_py()
