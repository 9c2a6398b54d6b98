"""What a peer may cost us: bounds of memory, work and time for all that a peer controls."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .frames import ConnectionFault, ErrorCode

_FEWEST_CONNECTIONS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a server, or of one client connection. Times are in seconds.

    Attributes:
        connections: open connections of a server in all.
        connections_per_peer: of one uid (Unix), or one IPv4 address or IPv6 /64 (TCP); those behind
            a NAT share it.
        concurrent_streams: calls under way in one connection, those still being cancelled included.
        message_bytes: one received message, also after it was inflated; 4 MiB as in grpc-go.
        header_list_bytes: one received header block.
        stream_window: bytes of a call's requests that may wait for its handler.
        connection_window: bytes in flight in one connection.
        buffered_bytes: requests and answers that wait in one connection before it is ended.
        write_buffer_bytes: bytes that a socket has not taken yet, before writers wait; at four
            times as many the connection is dropped.
        held_bytes: of a server in all: what waits in its connections, and a share for each call
            under way. Beyond it the peer that holds most loses connections.
        control_frames: frames that cost the peer nothing (PING, SETTINGS, RST_STREAM, PRIORITY,
            empty DATA, small WINDOW_UPDATE …) beyond those earned back by completed calls, in
            `control_period`.
        handshake_timeout: from accept to the first SETTINGS, TLS included.
        frame_timeout: from the first to the last byte of a frame or header block.
        stall_timeout: how long a peer may take nothing while bytes wait for it.
        idle_timeout: a connection without a call is closed after it; None keeps it.
        keepalive_interval: silence after which the peer is pinged.
        keepalive_timeout: and then dropped.
        compress_responses: gzip answers for callers that accept it, from 1 KiB up.
    """

    connections: int = 10_000
    connections_per_peer: int = 5_000
    concurrent_streams: int = 1_000
    message_bytes: int = 4 << 20
    header_list_bytes: int = 16_384
    stream_window: int = 256 << 10
    connection_window: int = 4 << 20
    buffered_bytes: int = 64 << 20
    write_buffer_bytes: int = 256 << 10
    held_bytes: int = 512 << 20
    control_frames: int = 2_000
    control_period: float = 10.0
    handshake_timeout: float = 10.0
    frame_timeout: float = 20.0
    stall_timeout: float = 60.0
    idle_timeout: float | None = 600.0
    keepalive_interval: float = 120.0
    keepalive_timeout: float = 20.0
    compress_responses: bool = False


def fitted_to(limits: Limits, open_files: int) -> Limits:
    """The limits of a process that may open so many files.

    A connection takes up to two. Half of the rest is the process's own: without descriptors it
    could neither attest a caller nor write a key.
    """
    connections = max(_FEWEST_CONNECTIONS, open_files // 4)
    if connections >= limits.connections:
        return limits
    per_peer = min(limits.connections_per_peer, connections // 2)
    return replace(limits, connections=connections, connections_per_peer=per_peer)


class ControlBudget:
    """Counts frames that cost us more than the peer, and refuses when there are too many.

    grpc-go sends a PING for about each 20th call under load, so a fixed budget would end healthy
    connections: each completed call earns one frame back.
    """

    __slots__ = ("_limit", "_period", "_since", "_spent")

    def __init__(self, limit: int, period: float, now: float) -> None:
        self._limit = limit
        self._period = period
        self._since = now
        self._spent = 0

    def spend(self, now: float) -> None:
        """Count one frame.

        Raises:
            ConnectionFault: too many within the period.
        """
        self._spent += 1
        if self._spent <= self._limit:
            return
        if now - self._since < self._period:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many control frames")
        self._since = now
        self._spent = 0

    def earn(self) -> None:
        """A call was completed."""
        if self._spent:
            self._spent -= 1
