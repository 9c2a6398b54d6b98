"""What the agent sends, as SPIRE writes it: JSON with the cluster's name and the token."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument

PLUGIN_NAME = "k8s_psat"

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Payload:
    """The cluster that the agent says it is in, and its token, not looked into."""

    cluster: str
    token: str = field(repr=False)

    @classmethod
    def parse(cls, payload: bytes) -> Payload:
        """Read what an agent sent.

        Raises:
            InvalidArgument: it is malformed, or one of the two is missing.
        """
        if not payload:
            raise InvalidArgument("missing attestation payload")
        try:
            document = parse_json_object(payload, max_bytes=_MAX_BYTES)
            parsed = cls(_text(document, "cluster"), _text(document, "token"))
        except InvalidArgument as error:
            raise InvalidArgument(f"failed to unmarshal data payload: {error.message}") from error
        for name, value in (("cluster", parsed.cluster), ("token", parsed.token)):
            if not value:
                raise InvalidArgument(f"missing {name} in attestation data")
        return parsed

    def encode(self) -> bytes:
        document = {"cluster": self.cluster, "token": self.token}
        return json.dumps(document, separators=(",", ":")).encode()


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgument(f"{name} must be a text")
    return value
