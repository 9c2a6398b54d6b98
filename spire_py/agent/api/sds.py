"""Envoy's secret discovery service, version 3 (feature H7)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine
from typing import Any, NoReturn, Protocol

from google.protobuf.struct_pb2 import Value

from spire_py._proto.envoy import core_pb2, discovery_pb2
from spire_py.agent.api.caller import Callers
from spire_py.agent.api.secrets import SecretNames, SecretSelection, SecretsEncoder
from spire_py.agent.api.workload import Workloads
from spire_py.agent.workload_cache import WorkloadGroup
from spire_py.agent.workload_update import WorkloadUpdate
from spire_py.errors import InvalidArgument, Unimplemented
from spire_py.runtime.booleans import parse_boolean
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext

log = get_logger("endpoints")

MAX_NAMES = 10_000
_DISABLE_KEY = "disable_spiffe_cert_validation"

Request = discovery_pb2.DiscoveryRequest
Response = discovery_pb2.DiscoveryResponse


class Requests(Protocol):
    """What Envoy sends on one stream."""

    async def __anext__(self) -> Request: ...


class SecretDiscoveryServicer:
    """Gives Envoy the identities of its process and the bundles it may trust.

    A caller without identity gets bundles all the same: Envoy asks for them on a stream of their
    own, before its identity may exist.

    Args:
        disable_spiffe_validator: send plain CA certificates unless Envoy's node says otherwise.
    """

    def __init__(
        self,
        *,
        workloads: Workloads,
        callers: Callers,
        names: SecretNames,
        disable_spiffe_validator: bool = False,
    ) -> None:
        self._workloads = workloads
        self._callers = callers
        self._encoder = SecretsEncoder(names)
        self._disable_spiffe_validator = disable_spiffe_validator

    async def fetch_secrets(self, request: Request, context: CallContext) -> bytes:
        """The secrets of the moment; neither version nor nonce.

        Raises:
            InvalidArgument: a name is not this workload's.
        """
        selectors = await self._callers.identify(context)
        return self._answer(request, request.node, self._workloads.current(selectors))

    async def stream_secrets(
        self, requests: Requests, context: CallContext
    ) -> AsyncIterator[bytes]:
        """An answer to the first request, to changed names, and after each change.

        Raises:
            InvalidArgument: a name is not this workload's. It ends the stream.
        """
        selectors = await self._callers.identify(context)
        with self._workloads.subscribe(selectors) as group:
            stream = _Stream()
            events = _Events(requests, group)
            try:
                while (event := await events.next()) is not None:
                    update = stream.note(event)
                    if update is not None and stream.request is not None:
                        yield self._answer(stream.request, stream.node, update, stream)
            finally:
                await events.aclose()

    def delta_secrets(self, _requests: Requests, _context: CallContext) -> NoReturn:
        """Not offered, as in SPIRE."""
        raise Unimplemented("Method is not implemented")

    def _answer(
        self,
        request: Request,
        node: core_pb2.Node,
        update: WorkloadUpdate,
        stream: _Stream | None = None,
    ) -> bytes:
        if len(request.resource_names) > MAX_NAMES:
            raise InvalidArgument(f"more than {MAX_NAMES} resource names")
        selection = SecretSelection(
            names=frozenset(name for name in request.resource_names if name),
            spiffe_validator=self._takes_spiffe_validator(node),
        )
        resources, count = self._encoder.encode(update, selection)
        head = Response(type_url=request.type_url)
        if stream is not None:
            head.nonce = stream.new_nonce()
            head.version_info = str(stream.version)
            log.debug("Sending StreamSecrets response", version_info=head.version_info, count=count)
        # Messages are joined by their bytes: the resources are shared by all who get them.
        return head.SerializeToString() + resources

    def _takes_spiffe_validator(self, node: core_pb2.Node) -> bool:
        disabled = self._disable_spiffe_validator
        if _DISABLE_KEY in node.metadata.fields:
            stated = _as_bool(node.metadata.fields[_DISABLE_KEY])
            disabled = disabled if stated is None else stated
        if disabled:
            return False
        if not node.HasField("user_agent_build_version"):
            return True
        if not node.user_agent_build_version.HasField("version"):
            return True
        version = node.user_agent_build_version.version
        return (version.major_number, version.minor_number) > (1, 17)


class _Stream:
    """What one stream has asked for and was told."""

    def __init__(self) -> None:
        self.version = 0
        self.request: Request | None = None
        self.node = core_pb2.Node()
        self._nonce = ""
        self._update: WorkloadUpdate | None = None

    def note(self, event: Request | WorkloadUpdate) -> WorkloadUpdate | None:
        """Take in what came; returns the update to answer with, if an answer is due."""
        if isinstance(event, WorkloadUpdate):
            self.version += 1
            self._update = event
            return event
        return self._update if self._is_new_wish(event) else None

    def new_nonce(self) -> str:
        self._nonce = secrets.token_hex(4)
        return self._nonce

    def _is_new_wish(self, request: Request) -> bool:
        if request.HasField("error_detail"):
            log.error(
                "Envoy reported errors applying secrets",
                resource_names=list(request.resource_names),
                error=request.error_detail.message,
            )
        if self._nonce:
            if request.response_nonce != self._nonce:
                log.warning(
                    "Received unexpected nonce; ignoring request", nonce=request.response_nonce
                )
                return False
            if request.version_info != str(self.version):
                log.error(
                    "Client rejected expected version and rolled back",
                    version_info=request.version_info,
                    expect=str(self.version),
                )
        if request.HasField("node"):
            self.node = request.node
        former, self.request = self.request, request
        return former is None or set(former.resource_names) != set(request.resource_names)


class _Events:
    """Requests and updates, whichever comes first; ends with the requests."""

    def __init__(self, requests: Requests, group: WorkloadGroup) -> None:
        self._requests = requests
        self._group = group
        self._version = -1
        self._request: asyncio.Task[Request | None] | None = None
        self._update: asyncio.Task[tuple[int, WorkloadUpdate]] | None = None

    async def next(self) -> Request | WorkloadUpdate | None:
        """The next of either; None once Envoy sends no more."""
        if self._update is None:
            self._update = _start(self._group.next_update(self._version))
        if self._request is None:
            self._request = _start(self._next_request())
        await asyncio.wait((self._update, self._request), return_when=asyncio.FIRST_COMPLETED)
        if self._update.done():
            self._version, update = self._update.result()
            self._update = None
            return update
        request = self._request.result()
        self._request = None
        return request

    async def aclose(self) -> None:
        """Wait for neither any more."""
        waiting = [task for task in (self._request, self._update) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _next_request(self) -> Request | None:
        try:
            return await anext(self._requests)
        except StopAsyncIteration:
            return None


def _start(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    # Not a TaskGroup's: the group of a generator would cancel its consumer.
    return asyncio.get_running_loop().create_task(work)


def _as_bool(value: Value) -> bool | None:
    """A flag as Go's `strconv.ParseBool` reads it; None where it is none."""
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return value.bool_value
    return parse_boolean(value.string_value) if kind == "string_value" else None
