"""DNS names that an entry may ask for (feature N5).

The rules are SPIRE's: a profile of IDNA on a name that is ASCII already, so what is left of IDNA is
the form of the labels, and that one beginning with `xn--` stands for a real name. As in SPIRE,
upper case and underscores pass; unlike there, spaces, slashes and the like do not.
"""

from __future__ import annotations

import re
import unicodedata

from spire_py.errors import InvalidArgument

_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_MAX_NAME_LENGTH = 253
_ACE_PREFIX = "xn--"
_CATEGORIES = frozenset({"Ll", "Lo", "Lm", "Mn", "Mc", "Nd", "So"})


def check_dns_name(name: str) -> str:
    """The name itself, if a certificate may have it; the first label may be `*`.

    Raises:
        InvalidArgument: the sentence says which rule is broken.
    """
    if not name.isascii():
        raise InvalidArgument("name must be ascii")
    stars = name.count("*")
    if stars > 1:
        raise InvalidArgument("too many wildcards")
    rest = name.removeprefix("*.")
    if stars and rest == name:
        raise InvalidArgument("wildcard must be first label")
    _check_plain(rest)
    return name


def _check_plain(name: str) -> None:
    if not name.strip():
        raise InvalidArgument("empty or only whitespace")
    if name.endswith("."):
        raise InvalidArgument("domain ends with dot")
    if found := _NOT_ALLOWED.search(name):
        raise InvalidArgument(f"idna error\nidna: disallowed rune U+{ord(found.group()):04X}")
    for label in name.split("."):
        if not _is_label(label):
            raise InvalidArgument(f'idna error\nidna: invalid label "{label or name}"')
    if len(name) > _MAX_NAME_LENGTH:
        raise InvalidArgument(f'idna error\nidna: invalid label "{name}"')


def _is_label(label: str) -> bool:
    if not _LABEL.fullmatch(label):
        return False
    if label.startswith(_ACE_PREFIX):
        return _stands_for_a_name(label.removeprefix(_ACE_PREFIX))
    return label[2:4] != "--"


def _stands_for_a_name(punycode: str) -> bool:
    try:
        name = punycode.encode("ascii").decode("punycode")
        same = name.encode("punycode") == punycode.encode("ascii")
    except (UnicodeError, OverflowError):
        return False
    return (
        same
        and not name.isascii()
        and name[2:4] != "--"
        and unicodedata.is_normalized("NFC", name)
        and all(char == "-" or unicodedata.category(char) in _CATEGORIES for char in name)
    )
