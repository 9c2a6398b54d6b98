"""An X.509-SVID of a workload as the agent keeps it, ready to be handed out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, eq=False)
class CachedSVID:
    """A chain and its key, in memory only (design decision 11).

    `chain` is DER, leaf first; `key` is unencrypted PKCS#8 DER. `revision_number` is that of the
    entry it was signed for. From `rotate_at` on it is to be replaced.
    """

    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    revision_number: int
    not_after: datetime
    rotate_at: datetime
