"""What can be wrong with an API server, on demand."""

from __future__ import annotations

import threading
from enum import Enum, auto


class Fault(Enum):
    """How a request is answered instead."""

    HANG = auto()
    """Not at all, the connection stays open."""
    STALL = auto()
    """The headers and half of the body; then nothing, and the connection stays open."""
    DROP = auto()
    """The connection is closed."""
    CUT = auto()
    """The headers and half of the body; then the connection is closed."""
    HALF_JSON = auto()
    """A whole answer whose JSON ends in the middle."""
    NO_JSON = auto()
    """A page of HTML, with 200."""
    LIST = auto()
    """JSON, but no object."""
    HUGE = auto()
    """100 MB of JSON."""
    ZIPPED = auto()
    """A body with `Content-Encoding: gzip`."""
    REDIRECT = auto()
    """307 to another place."""
    UNAUTHORIZED = 401
    FORBIDDEN = 403
    NOT_FOUND = 404
    TOO_MANY = 429
    INTERNAL = 500
    UNAVAILABLE = 503


class Faults:
    """The faults that are on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[tuple[Fault, str, list[int]]] = []

    def add(self, fault: Fault, where: str = "", *, times: int = 1_000_000) -> None:
        """Answer requests whose method and path contain `where` with a fault, so many times."""
        with self._lock:
            self._planned.append((fault, where, [times]))

    def clear(self) -> None:
        with self._lock:
            self._planned.clear()

    def take(self, request: str) -> Fault | None:
        """The fault for a request, such as `GET /api/v1/nodes/x`."""
        with self._lock:
            for fault, where, left in self._planned:
                if where in request and left[0] > 0:
                    left[0] -= 1
                    return fault
            return None
