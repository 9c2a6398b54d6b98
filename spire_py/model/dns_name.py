"""DNS names that may stand in an X509-SVID (feature N5).

The wording of the refusals is SPIRE's, because clients see it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spire_py.errors import InvalidArgument

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def check_dns_name(name: str) -> str:
    """The name, if it may be issued: ASCII labels, with at most one `*` as the first label.

    Raises:
        InvalidArgument: the name breaks a rule; the message says which.
    """
    if not name.isascii():
        raise InvalidArgument("name must be ascii")
    stars = name.count("*")
    if stars > 1:
        raise InvalidArgument("too many wildcards")
    if stars == 1:
        if not name.startswith("*."):
            raise InvalidArgument("wildcard must be first label")
        _check_plain_name(name[2:])
    else:
        _check_plain_name(name)
    return name


def check_wildcard_overlap(names: Sequence[str]) -> None:
    """Refuse names of which one is covered by a wildcard among the others.

    Raises:
        InvalidArgument: such a pair is there.
    """
    present = set(names)
    for name in names:
        if name.startswith("*"):
            continue
        _, _, rest = name.partition(".")
        if (f"*.{rest}" if rest else "*") in present:
            raise InvalidArgument(
                f'name "{name}" overlaps with an existing wildcard name in the list: '
                "wildcard overlap"
            )


def _check_plain_name(name: str) -> None:
    if not name.strip():
        raise InvalidArgument("empty or only whitespace")
    if name.endswith("."):
        raise InvalidArgument("domain ends with dot")
    if len(name) > 253 or not all(_is_label(label) for label in name.split(".")):
        raise InvalidArgument(f'idna error\nidna: invalid label "{_printable(name)}"')


def _is_label(label: str) -> bool:
    if not _LABEL.fullmatch(label):
        return False
    if label[:4].lower() == "xn--":
        return _is_punycode(label[4:])
    # RFC 5891 4.2.3.1: hyphens in the third and fourth place mark encodings; only xn-- is known.
    return label[2:4] != "--"


def _is_punycode(text: str) -> bool:
    try:
        return bool(text.encode("ascii").decode("punycode"))
    except UnicodeError:
        return False


def _printable(name: str) -> str:
    return name.encode("unicode_escape").decode("ascii")[:255]
