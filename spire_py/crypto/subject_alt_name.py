"""The subject alternative name extension (RFC 5280 section 4.2.1.6)."""

from __future__ import annotations

from collections.abc import Sequence

from spire_py.crypto import der
from spire_py.errors import InvalidArgument

_OID = "2.5.29.17"
_DNS_NAME = 0x82
_URI = 0x86


def subject_alt_name(dns_names: Sequence[str], uri: str | None, *, critical: bool) -> bytes:
    """The extension as DER: DNS names first, then the URI, as Go orders them.

    Raises:
        InvalidArgument: a name is not ASCII or is empty.
    """
    names = [der.tlv(_DNS_NAME, _ia5(name)) for name in dns_names]
    if uri is not None:
        names.append(der.tlv(_URI, _ia5(uri)))
    return der.extension(_OID, der.sequence(*names), critical=critical)


def _ia5(name: str) -> bytes:
    if not name or not name.isascii():
        raise InvalidArgument(f"subject alternative name {name!r} must be ASCII and not empty")
    return name.encode("ascii")
