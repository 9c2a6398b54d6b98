"""gRPC's health service on the agent's socket (feature H15)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from spire_py._proto.grpc import health_pb2
from spire_py.errors import InvalidArgument
from spire_py.transport import CallContext

_Status = health_pb2.HealthCheckResponse.ServingStatus


class HealthServicer:
    """Answers `Check` for the agent as a whole.

    Args:
        healthy: whether the Workload API answers.
    """

    def __init__(self, *, healthy: Callable[[], Awaitable[bool]]) -> None:
        self._healthy = healthy

    async def check(
        self, request: health_pb2.HealthCheckRequest, _context: CallContext
    ) -> health_pb2.HealthCheckResponse:
        """Serving or not serving.

        Raises:
            InvalidArgument: a single service was named.
        """
        if request.service:
            raise InvalidArgument("per-service health is not supported")
        status = _Status.SERVING if await self._healthy() else _Status.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)
