"""An X.509-SVID of a workload as the agent keeps it, ready to be handed out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from spire_py.agent.authorized_entry import AuthorizedEntry


@dataclass(frozen=True, slots=True, eq=False)
class CachedSVID:
    """A chain and its key, in memory only.

    `chain` is DER, leaf first; `key` is unencrypted PKCS#8 DER. `entry` is the one it was signed
    for, as it was then. From `rotate_at` on it is to be replaced.
    """

    entry: AuthorizedEntry
    chain: tuple[bytes, ...]
    key: bytes = field(repr=False)
    not_after: datetime
    rotate_at: datetime
