"""Writes a line for each call, and each item of a batch, that fails (feature P8).

The sentences are SPIRE's: the first part of the error's message, and the rest as field `error`.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument, SpireError
from spire_py.server.policy import Caller
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.status import status_to_pb

_SERVICE_PREFIX = "spire.api.server."

log = get_logger("api")


def failed(context: CallContext, error: SpireError, **facts: object) -> types_pb2.Status:
    """The status of a batch item that failed, which is logged."""
    _write(context, error, facts)
    return status_to_pb(error)


class LoggedServicer:
    """A servicer whose failed calls are logged."""

    def __init__(self, servicer: object) -> None:
        self._servicer = servicer

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._servicer, name)
        return _logged_stream(method) if inspect.isasyncgenfunction(method) else _logged(method)


def _logged(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(request: Any, context: CallContext) -> Any:
        try:
            return await method(request, context)
        except SpireError as error:
            _write(context, error, {})
            raise

    return call


def _logged_stream(method: Callable[..., Any]) -> Callable[..., Any]:
    async def call(request: Any, context: CallContext) -> AsyncIterator[Any]:
        try:
            async with aclosing(method(request, context)) as answers:
                async for answer in answers:
                    yield answer
        except SpireError as error:
            _write(context, error, {})
            raise

    return call


def _write(context: CallContext, error: SpireError, facts: dict[str, object]) -> None:
    sentence, _, inner = error.message.partition(": ")
    if inner:
        facts = {**facts, "error": inner}
    if isinstance(error, InvalidArgument):
        sentence = f"Invalid argument: {sentence}"
    else:
        sentence = sentence[:1].upper() + sentence[1:]
    log.error(sentence, **_call_facts(context), **facts)


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
