"""SPIFFE IDs and trust domains (SPIFFE-ID, sections 2.1 to 2.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from spire_py.errors import InvalidArgument

MAX_ID_BYTES = 2048
"""IDs up to this length work everywhere; longer ones are not made (spec checks 12, 13)."""

MAX_TRUST_DOMAIN_BYTES = 255

_SCHEME = "spiffe://"
_NAME = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]*")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)*")


class InvalidSpiffeID(InvalidArgument):
    """A text is no SPIFFE ID, or no trust domain."""


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """A trust domain, such as `example.org`. An instance is always valid."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidSpiffeID(_name_fault(self.name))

    @classmethod
    def parse(cls, name_or_id: str) -> Self:
        """Read a trust domain from its name, or from any SPIFFE ID in it.

        Raises:
            InvalidSpiffeID: it is neither.
        """
        if ":/" not in name_or_id:
            return cls(name_or_id)
        return cls(SpiffeID.parse(name_or_id).trust_domain.name)

    @property
    def id(self) -> SpiffeID:
        """The ID of the trust domain itself, `spiffe://example.org`."""
        return SpiffeID(self, "")

    def member(self, path: str) -> SpiffeID:
        """The ID with this path, which begins with a slash."""
        return SpiffeID(self, path)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, order=True)
class SpiffeID:
    """A SPIFFE ID. `path` is empty, or begins with a slash. An instance is always valid."""

    trust_domain: TrustDomain
    path: str = ""

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise InvalidSpiffeID(_path_fault(self.path))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ID such as `spiffe://example.org/workload`.

        The wording of the refusals is go-spiffe's, because SPIRE's clients see it.

        Raises:
            InvalidSpiffeID: the text breaks any rule of section 2.
        """
        if not text.startswith(_SCHEME):
            raise InvalidSpiffeID("scheme is missing or invalid" if text else "cannot be empty")
        name, slash, path = text[len(_SCHEME) :].partition("/")
        return cls(_trust_domain(name), slash + path)

    @classmethod
    def parse_foreign(cls, text: str) -> Self:
        """Read an ID that stands in a document made by others.

        Section 2.2: scheme and trust domain are compared without regard to case, so upper case
        there is read as lower case. We write lower case only.

        Raises:
            InvalidSpiffeID: as `parse`.
        """
        # Only ASCII is folded: str.lower makes a "k" of the Kelvin sign.
        if text.isascii() and text[: len(_SCHEME)].lower() == _SCHEME:
            name, slash, path = text[len(_SCHEME) :].partition("/")
            text = f"{_SCHEME}{name.lower()}{slash}{path}"
        return cls.parse(text)

    @property
    def is_trust_domain(self) -> bool:
        """Whether the ID names a trust domain and no workload: its path is empty."""
        return not self.path

    def is_member_of(self, trust_domain: TrustDomain) -> bool:
        return self.trust_domain == trust_domain

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain.name}{self.path}"


@lru_cache(maxsize=1024)
def _trust_domain(name: str) -> TrustDomain:
    return TrustDomain(name)


def _name_fault(name: str) -> str:
    if not name:
        return "trust domain is missing"
    if len(name) > MAX_TRUST_DOMAIN_BYTES:
        return "trust domain is too long"
    return (
        "trust domain characters are limited to lowercase letters, numbers, dots, dashes, "
        "and underscores"
    )


def _path_fault(path: str) -> str:
    """The first fault from the left, as go-spiffe finds it."""
    if not path.startswith("/"):
        return "path must have a leading slash"
    segments = path[1:].split("/")
    for number, segment in enumerate(segments, start=1):
        if not _SEGMENT.fullmatch(segment):
            break
        if not segment:
            last = number == len(segments)
            return (
                "path cannot have a trailing slash"
                if last
                else "path cannot contain empty segments"
            )
        if segment in {".", ".."}:
            return "path cannot contain dot segments"
    return "path segment characters are limited to letters, numbers, dots, dashes, and underscores"
