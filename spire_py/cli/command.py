"""What a command is, and what all commands share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spire_py.cli.flags import Flag, Flags


class CommandFailed(Exception):
    """A command could not do its work; the message goes to stderr and the exit code is 1.

    `prefix` is what SPIRE's command writes before the message.
    """

    def __init__(self, message: str, *, prefix: str = "Error: ") -> None:
        super().__init__(message)
        self.prefix = prefix


Run: TypeAlias = Callable[[Flags], Awaitable[int] | int]
"""Does the work and gives the exit code. May raise `CommandFailed`, or any `SpireError`."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command, such as `entry create`. `synopsis` is one line of the list of commands."""

    name: str
    synopsis: str
    flags: Sequence[Flag]
    run: Run
    error_prefix: str = "Error: "
