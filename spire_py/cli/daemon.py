"""What `spire-server run` and `spire-agent run` share: the umask, signals, the exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from spire_py.cli.crash import describe_bug, describe_os_error
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.errors import SpireError

MINIMUM_UMASK = 0o027
"""SPIRE's: no file or folder that a daemon makes is open to others."""


class Config(Protocol):
    """What is needed of a checked configuration."""

    @property
    def warnings(self) -> Sequence[object]: ...


ConfigT = TypeVar("ConfigT", bound=Config)


def config_flags(default: Path) -> tuple[Flag, Flag]:
    """The flags that say how to read the configuration; all others of a daemon win over it."""
    return (
        Flag("config", "Path of the configuration file", default=str(default)),
        Flag("expandEnv", "Put environment variables for $VAR in the file", Kind.SWITCH),
    )


def read_config_flags(flags: Flags) -> tuple[Path, bool, dict[str, str]]:
    """The file, whether to expand variables in it, and what wins over it (features A28, F1)."""
    overrides = flags.overrides()
    for name in ("config", "expandEnv"):
        overrides.pop(name, None)
    return Path(flags.text("config")), flags.switch("expandEnv"), overrides


def run_daemon(main: Coroutine[Any, Any, None]) -> int:
    """Run until SIGTERM or SIGINT, which cancel `main`; 1 where it cannot start or breaks."""
    os.umask(os.umask(0o777) | MINIMUM_UMASK)
    # Go leaves these alone, and operators send them: to open logs anew, to write metrics. Python
    # would end the process. What listens to one of them takes it over later.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    # What was imported stays for good: no collection need look at it again.
    gc.freeze()
    gc.enable()
    try:
        asyncio.run(_until_signal(main))
    except (SpireError, OSError) as error:
        print(f"Error: {_describe(error)}", file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        for leaf in _leaves(group):
            print(f"Error: {_describe(leaf)}", file=sys.stderr)
        return 1
    return 0


def _describe(error: BaseException) -> str:
    if isinstance(error, SpireError):
        return error.message
    return describe_os_error(error) if isinstance(error, OSError) else describe_bug(error)


async def _until_signal(main: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(main, name="daemon")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


def validate_config(
    name: str, flags: Flags, load: Callable[[Flags], ConfigT], check: Callable[[ConfigT], list[str]]
) -> int:
    """`validate`: what `run` does before it opens anything. Warnings leave the exit code 0."""
    try:
        config = load(flags)
        notes = check(config)
    except SpireError as error:
        print(f"SPIRE {name} configuration file is invalid: {error}", file=sys.stderr)
        return 1
    for warning in (*config.warnings, *notes):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"SPIRE {name} configuration file is valid.")
    return 0
