"""Join tokens between model and wire."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py.model.entry import time_to_seconds
from spire_py.model.join_token import JoinToken


def join_token_to_pb(token: JoinToken) -> types_pb2.JoinToken:
    """The token as a message, which holds its value: send it to none but who asked."""
    return types_pb2.JoinToken(value=token.value, expires_at=time_to_seconds(token.expires_at))
