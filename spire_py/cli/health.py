"""The health check that server and agent share (features E3, F3)."""

from __future__ import annotations

import sys
from pathlib import Path

from spire_py._proto.grpc import health_pb2
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import connect
from spire_py.cli.flags import Flag, Flags, Kind

HEALTH_FLAGS = (
    Flag("shallow", "Ask for a less thorough check", Kind.SWITCH),
    Flag("verbose", "Say what is done", Kind.SWITCH),
)
_SECONDS = 30.0


async def check_health(subject: str, path: Path, flags: Flags, *, failure_prefix: str) -> int:
    """Ask the health service at `path`; `subject` is `server` or `agent`.

    Raises:
        CommandFailed: it is not serving, or could not be asked.
    """
    if flags.switch("verbose"):
        print(f"Checking {subject} health...")
    async with connect(path) as connection:
        try:
            answer = await connection.call(
                "/grpc.health.v1.Health/Check",
                health_pb2.HealthCheckRequest(),
                health_pb2.HealthCheckResponse,
                timeout=_SECONDS,
            )
        except CommandFailed as error:
            if flags.switch("verbose"):
                print(f"Failed to check health: {error}", file=sys.stderr)
            raise CommandFailed("unable to determine health", prefix=failure_prefix) from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        raise CommandFailed(f'{subject} returned status "{status}"', prefix=failure_prefix)
    print(f"{subject.capitalize()} is healthy.")
    return 0
