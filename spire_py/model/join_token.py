"""Join tokens: secrets that let one agent attest, once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

ATTESTATION_TYPE = "join_token"
"""The attestation type of agents that came with a token."""

MAX_TOKEN_BYTES = 255
"""What the database holds; a longer one was never given out."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token (feature I1). Its value is a secret until used and never shown by `repr`."""

    value: str = field(repr=False)
    expires_at: datetime
