"""gRPC's health service, on the admin socket only (feature G17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Protocol

from spire_py._proto.grpc import health_pb2
from spire_py.errors import InvalidArgument
from spire_py.runtime.clock import Clock
from spire_py.runtime.race import first_of
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext

_WATCH_INTERVAL = timedelta(seconds=5)

_Status = health_pb2.HealthCheckResponse.ServingStatus

log = get_logger("api")


class ServerHealth(Protocol):
    """What the health service asks."""

    async def unhealthy_reason(self) -> str:
        """Why the server cannot serve; empty when it can."""
        ...


class HealthServicer:
    """`grpc.health.v1.Health`. The server is one service; the parts of it have no health."""

    def __init__(self, *, health: ServerHealth, clock: Clock, closing: asyncio.Event) -> None:
        self._closing = closing
        self._health = health
        self._clock = clock

    async def check(
        self, request: health_pb2.HealthCheckRequest, _context: CallContext
    ) -> health_pb2.HealthCheckResponse:
        _check_service(request)
        return health_pb2.HealthCheckResponse(status=await self._status())

    async def list(
        self, _request: health_pb2.HealthListRequest, _context: CallContext
    ) -> health_pb2.HealthListResponse:
        status = await self._status()
        return health_pb2.HealthListResponse(
            statuses={"": health_pb2.HealthCheckResponse(status=status)}
        )

    async def watch(
        self, request: health_pb2.HealthCheckRequest, _context: CallContext
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """The status now, then each change of it, until the server closes."""
        _check_service(request)
        last: _Status | None = None
        while not self._closing.is_set():
            status = await self._status()
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            await first_of(self._clock.sleep(_WATCH_INTERVAL), self._closing.wait())

    async def _status(self) -> health_pb2.HealthCheckResponse.ServingStatus:
        reason = await self._health.unhealthy_reason()
        if not reason:
            return health_pb2.HealthCheckResponse.SERVING
        log.warning("Health check failed", reason=reason)
        return health_pb2.HealthCheckResponse.NOT_SERVING


def _check_service(request: health_pb2.HealthCheckRequest) -> None:
    if request.service:
        raise InvalidArgument("per-service health is not supported")
