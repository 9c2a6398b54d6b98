"""Writes a line for each call, and each item of a batch, that fails (feature P8).

The sentences are SPIRE's: the first part of the error's message, and the rest as field `error`.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument, SpireError
from spire_py.runtime.clock import SystemClock
from spire_py.server.policy import Caller, CallerKind
from spire_py.telemetry.line_budget import LineBudget
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.status import status_to_pb

_SERVICE_PREFIX = "spire.api.server."

log = get_logger("api")


def failed(context: CallContext, error: SpireError, **facts: object) -> types_pb2.Status:
    """The status of a batch item that failed, which is logged."""
    _write(context, error, facts, log.error)
    return status_to_pb(error)


class LoggedServicer:
    """A servicer whose failed calls are logged; of calls that anyone may make not all."""

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer
        self._strangers = LineBudget(log, SystemClock())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._servicer, name)
        logged = _logged_stream if inspect.isasyncgenfunction(method) else _logged
        return logged(method, self._write)

    def _write(self, context: CallContext, error: SpireError) -> None:
        caller = context.values.get("caller")
        is_anyone = isinstance(caller, Caller) and caller.kind is CallerKind.NOBODY
        _write(context, error, {}, self._strangers.error if is_anyone else log.error)


_Write: TypeAlias = Callable[[CallContext, SpireError], None]


def _logged(method: Callable[..., Any], write: _Write) -> Callable[..., Any]:
    async def call(request: Any, context: CallContext) -> Any:
        try:
            return await method(request, context)
        except SpireError as error:
            write(context, error)
            raise

    return call


def _logged_stream(method: Callable[..., Any], write: _Write) -> Callable[..., Any]:
    async def call(request: Any, context: CallContext) -> AsyncIterator[Any]:
        try:
            async with aclosing(method(request, context)) as answers:
                async for answer in answers:
                    yield answer
        except SpireError as error:
            write(context, error)
            raise

    return call


def _write(
    context: CallContext, error: SpireError, facts: dict[str, object], line: Callable[..., None]
) -> None:
    sentence, _, inner = error.message.partition(": ")
    if inner:
        facts = {**facts, "error": inner}
    if isinstance(error, InvalidArgument):
        sentence = f"Invalid argument: {sentence}"
    else:
        sentence = sentence[:1].upper() + sentence[1:]
    line(sentence, **_call_facts(context), **facts)


def _call_facts(context: CallContext) -> dict[str, object]:
    service, _, method = context.method[1:].partition("/")
    facts: dict[str, object] = {
        "service": service.removeprefix(_SERVICE_PREFIX),
        "method": method,
        "request_id": context.values.setdefault("request_id", str(uuid.uuid4())),
    }
    if context.peer.unix is None:
        facts["caller_addr"] = context.peer.address
    caller = context.values.get("caller")
    if isinstance(caller, Caller):
        facts["authorized_as"] = str(caller.kind)
        if caller.spiffe_id is not None:
            facts["caller_id"] = str(caller.spiffe_id)
    return facts
