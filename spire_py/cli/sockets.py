"""Which Unix socket a command talks to (features E, F: `-socketPath`, `-instance`, environment)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from spire_py.cli.command import CommandFailed
from spire_py.cli.flags import Flag, Flags


@dataclass(frozen=True, slots=True)
class SocketChoice:
    """How one of SPIRE's sockets is found.

    `fallback` is tried where nothing was said and the default does not exist.
    """

    default: str
    environment: str
    fallback: str = ""

    def flags(self) -> tuple[Flag, ...]:
        return (
            Flag("socketPath", "Path of the API's Unix socket", default=self.default),
            Flag("instance", f"Instance name, put for %i in {self.environment}_TEMPLATE"),
        )

    def resolve(self, flags: Flags) -> Path:
        """The path to dial: flag, then instance, then environment, then default.

        Raises:
            CommandFailed: `-instance` was given and the template in the environment does not fit.
        """
        template = os.environ.get(f"{self.environment}_TEMPLATE", "")
        instance = flags.text("instance")
        if instance and not template:
            raise CommandFailed(
                f"you must define {self.environment}_TEMPLATE to use the instance flag"
            )
        if instance and "%i" not in template:
            raise CommandFailed(f"failed to find %i in {self.environment}_TEMPLATE")
        if flags.text("socketPath") != self.default:
            return Path(flags.text("socketPath"))
        if instance:
            return Path(template.replace("%i", instance))
        return Path(os.environ.get(self.environment) or self._default_or_fallback(flags))

    def _default_or_fallback(self, flags: Flags) -> str:
        missing = not Path(self.default).exists()
        if missing and not flags.given("socketPath") and self.fallback:
            return self.fallback if Path(self.fallback).exists() else self.default
        return self.default


SERVER_SOCKET = SocketChoice(
    default="/tmp/spire-server/private/api.sock",  # noqa: S108 - SPIRE's own default
    environment="SPIRE_SERVER_PRIVATE_SOCKET",
    fallback="/run/spire/sockets/api.sock",
)
AGENT_SOCKET = SocketChoice(
    default="/tmp/spire-agent/public/api.sock",  # noqa: S108 - SPIRE's own default
    environment="SPIRE_AGENT_PUBLIC_SOCKET",
)
