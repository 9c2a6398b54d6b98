"""Why a workload has the identities it has, or none."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from spire_py._proto.spire_py import explain_pb2
from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.cached_svid import CachedSVID
from spire_py.errors import InvalidArgument, NotFound, PermissionDenied, SpireError
from spire_py.model.selector import Selector
from spire_py.transport import CallContext
from spire_py.transport.peer import UnixPeer
from spire_py.wire.selectors import selectors_to_pb

MAX_MATCHES = 100
MAX_NEAREST = 10

_Response = explain_pb2.ExplainWorkloadResponse


class Examiner(Protocol):
    """Who tells what is known of a process."""

    async def examine(self, pid: int) -> tuple[frozenset[Selector], Mapping[str, SpireError]]: ...


class KnownEntries(Protocol):
    """What the agent has for its workloads."""

    @property
    def entry_count(self) -> int: ...

    def entries(self) -> Iterator[AuthorizedEntry]: ...

    def match(self, selectors: frozenset[Selector]) -> tuple[AuthorizedEntry, ...]: ...

    def svids(self) -> Mapping[str, CachedSVID]: ...


class ExplainServicer:
    """`spire_py.explain.v1.Explain`, for root and the agent's own user outside of containers.

    Args:
        last_sync: when entries last came from the server; None for never.
    """

    def __init__(
        self,
        *,
        examiner: Examiner,
        known: KnownEntries,
        last_sync: Callable[[], datetime | None],
    ) -> None:
        self._examiner = examiner
        self._known = known
        self._last_sync = last_sync

    async def explain_workload(
        self, request: explain_pb2.ExplainWorkloadRequest, context: CallContext
    ) -> _Response:
        """The selectors of a process, the entries that match, and those that nearly do.

        Raises:
            PermissionDenied: the caller is neither root nor the agent's own user, or is contained.
            InvalidArgument: the pid is negative.
            NotFound: there is no such process.
        """
        peer = context.peer.unix
        if peer is None or not _may_ask(peer):
            raise PermissionDenied(
                "only root and the agent's own user may ask for explanations, and not from a "
                "container"
            )
        if request.pid < 0:
            raise InvalidArgument("pid must not be negative")
        pid = request.pid or peer.pid
        selectors, failures = await self._examiner.examine(pid)
        if not selectors and not os.path.exists(f"/proc/{pid}"):  # noqa: PTH110 - no path to keep
            raise NotFound(f"there is no process {pid} that the agent can see")
        last_sync = self._last_sync()
        return _Response(
            pid=pid,
            selectors=selectors_to_pb(sorted(selectors)),
            failed_attestors=[
                _Response.FailedAttestor(name=name, error=str(error))
                for name, error in sorted(failures.items())
            ],
            candidates=[self._candidate(entry, selectors) for entry in self._candidates(selectors)],
            entries_count=self._known.entry_count,
            last_sync_success=int(last_sync.timestamp()) if last_sync else 0,
        )

    def _candidates(self, selectors: frozenset[Selector]) -> Iterator[AuthorizedEntry]:
        """The matches, then the others by how little they lack and how much they have."""
        yield from self._known.match(selectors)[:MAX_MATCHES]

        def distance(entry: AuthorizedEntry) -> tuple[int, int, str]:
            found = len(entry.selectors & selectors)
            return len(entry.selectors) - found, -found, entry.id

        others = (entry for entry in self._known.entries() if not entry.selectors <= selectors)
        yield from heapq.nsmallest(MAX_NEAREST, others, key=distance)

    def _candidate(
        self, entry: AuthorizedEntry, selectors: frozenset[Selector]
    ) -> _Response.Candidate:
        return _Response.Candidate(
            entry_id=entry.id,
            spiffe_id=str(entry.spiffe_id),
            selectors=selectors_to_pb(sorted(entry.selectors)),
            missing=selectors_to_pb(sorted(entry.selectors - selectors)),
            has_x509_svid=entry.id in self._known.svids(),
        )


def _may_ask(peer: UnixPeer) -> bool:
    """Whether the caller could read it all from the agent's memory anyway.

    A workload's container may run as root, too: only its namespace of processes tells it apart.
    """
    if peer.uid not in (0, os.geteuid()):
        return False
    try:
        same = os.readlink(f"/proc/{peer.pid}/ns/pid") == os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - two texts, no paths
    except OSError:
        return False
    return same and peer.still_alive()
