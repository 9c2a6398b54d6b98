"""SPIFFE IDs and trust domains (SPIFFE-ID, sections 2.1 to 2.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from spire_py.errors import InvalidArgument

MAX_ID_BYTES = 2048
"""IDs up to this length work everywhere; longer ones are not made (spec checks 12, 13)."""

_SCHEME = "spiffe://"
_NAME = re.compile(r"[a-z0-9._-]{1,255}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._-]+)*")
_DOT_SEGMENTS = re.compile(r"/\.{1,2}(?:/|$)")


class InvalidSpiffeID(InvalidArgument):
    """A text is no SPIFFE ID, or no trust domain."""


@dataclass(frozen=True, slots=True, order=True)
class TrustDomain:
    """A trust domain, such as `example.org`. An instance is always valid."""

    name: str

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidSpiffeID("trust domain is missing")
        if not _NAME.fullmatch(self.name):
            if len(self.name) > 255:
                raise InvalidSpiffeID("trust domain is too long")
            raise InvalidSpiffeID(
                "trust domain characters are limited to lowercase letters, numbers, dots, "
                "dashes, and underscores"
            )

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
        if self.path and (_DOT_SEGMENTS.search(self.path) or not _PATH.fullmatch(self.path)):
            raise InvalidSpiffeID(_path_fault(self.path))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ID such as `spiffe://example.org/workload`.

        The wording of the refusals is go-spiffe's, because SPIRE's clients see it.

        Raises:
            InvalidSpiffeID: the text breaks any rule of section 2.
        """
        if not text:
            raise InvalidSpiffeID("cannot be empty")
        if not text.startswith(_SCHEME):
            raise InvalidSpiffeID("scheme is missing or invalid")
        name, slash, path = text[len(_SCHEME) :].partition("/")
        return cls(TrustDomain(name), slash + path)

    @property
    def is_trust_domain(self) -> bool:
        """Whether the ID names a trust domain and no workload: its path is empty."""
        return not self.path

    def is_member_of(self, trust_domain: TrustDomain) -> bool:
        return self.trust_domain == trust_domain

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain.name}{self.path}"


def _path_fault(path: str) -> str:
    if not path.startswith("/"):
        return "path must have a leading slash"
    if path.endswith("/"):
        return "path cannot have a trailing slash"
    if "//" in path:
        return "path cannot contain empty segments"
    if _DOT_SEGMENTS.search(path):
        return "path cannot contain dot segments"
    return "path segment characters are limited to letters, numbers, dots, dashes, and underscores"
