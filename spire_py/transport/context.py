"""What a servicer sees of the call it answers."""

from __future__ import annotations

from collections.abc import Sequence

from spire_py.runtime.clock import Clock

from .headers import Header
from .metadata import Metadata, encode_pair
from .peer import Peer


class CallContext:
    """One call: who asks for what, and until when.

    Attributes:
        method: the full name, such as `/spire.api.server.agent.v1.Agent/AttestAgent`.
        peer: the other end of the connection.
        values: room for what interceptors found out, such as `values["caller"]`.
    """

    __slots__ = ("_clock", "_deadline", "_headers", "method", "peer", "trailing_metadata", "values")

    def __init__(
        self,
        *,
        method: str,
        peer: Peer,
        headers: Sequence[Header],
        clock: Clock,
        deadline: float | None = None,
    ) -> None:
        self.method = method
        self.peer = peer
        self.values: dict[str, object] = {}
        self.trailing_metadata: tuple[tuple[str, str | bytes], ...] = ()
        self._headers = headers
        self._clock = clock
        self._deadline = deadline

    @property
    def metadata(self) -> Metadata:
        """The headers that the caller sent."""
        return Metadata(self._headers)

    def time_remaining(self) -> float | None:
        """Seconds to the caller's deadline, at least 0; None when it set none."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - self._clock.monotonic())

    def set_trailing_metadata(self, *pairs: tuple[str, str | bytes]) -> None:
        """Send `pairs` after the answer; names that end in `-bin` take bytes, others text.

        Raises:
            Internal: a pair that cannot be sent.
        """
        for name, value in pairs:
            encode_pair(name, value)
        self.trailing_metadata = pairs
