"""The listener that tells over HTTP whether a daemon is live and ready (features B9, C31)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spire_py.config.shared import HealthChecks
from spire_py.errors import FailedPrecondition
from spire_py.telemetry.health import HealthRegistry
from spire_py.telemetry.logs import get_logger

from .http import HttpServer

log = get_logger("health")


@asynccontextmanager
async def serve_health(config: HealthChecks, registry: HealthRegistry) -> AsyncIterator[None]:
    """Answer for as long as the context is open.

    Where the address cannot be used there is a warning and no more: as in SPIRE, whoever looks at
    the health will see that nobody answers.
    """
    server = HttpServer({config.live_path: registry.live, config.ready_path: registry.ready})
    try:
        try:
            host, port = await server.listen_tcp(config.host, config.port)
        except FailedPrecondition as error:
            log.warning("Error serving health checks", error=error.message)
        else:
            log.info("Serving health checks", address=f"{host}:{port}")
        yield
    finally:
        await server.aclose()
