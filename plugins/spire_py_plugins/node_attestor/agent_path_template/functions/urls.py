"""URLs, in and out of maps."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import quote, unquote_to_bytes

from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    DICT,
    TEXT,
    Function,
)
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    Map,
    Value,
    from_bytes,
    to_bytes,
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PORT = re.compile(r"(?::[0-9]*)?")
_USERINFO = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_HOST = frozenset("!$&'()*+,;=:[]<>\"-_.~")
_UNRESERVED = "-_.~"


def _parse(url: str) -> Map:
    """As Go reads it.

    Raises:
        InvalidTemplate: it is no URL.
    """
    rest, _, fragment = url.partition("#")
    if re.search(r"[\x00-\x1f\x7f]", rest):
        raise InvalidTemplate("unable to parse url: it has a control character")
    scheme, rest = _scheme(rest)
    rest, _, query = rest.partition("?")
    host = userinfo = opaque = ""
    if scheme and not rest.startswith("/"):
        opaque, rest = rest, ""
    elif not rest.startswith("/") and ":" in rest.partition("/")[0]:
        raise InvalidTemplate("unable to parse url: its first part has a colon")
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        userinfo, host = _authority(scheme, authority)
    entries: dict[str, Value] = {
        "scheme": scheme,
        "host": host,
        "hostname": _hostname(host),
        "path": _unescape(rest),
        "query": query,
        "opaque": opaque,
        "fragment": _unescape(fragment),
        "userinfo": userinfo,
    }
    return Map(entries)


def _scheme(text: str) -> tuple[str, str]:
    if text.startswith(":"):
        raise InvalidTemplate("unable to parse url: its scheme is missing")
    found = _SCHEME.match(text)
    return (found[1].lower(), text[found.end() :]) if found else ("", text)


def _unescape(text: str) -> str:
    if _BAD_ESCAPE.search(text):
        raise InvalidTemplate("unable to parse url: an escape is invalid")
    return from_bytes(unquote_to_bytes(to_bytes(text)))


def _authority(scheme: str, authority: str) -> tuple[str, str]:
    userinfo, at, host = authority.rpartition("@")
    host = _host(scheme, host)
    if not at:
        return "", host
    return _userinfo(userinfo), host


def _userinfo(text: str) -> str:
    """A name and a password, escaped anew."""
    if not _USERINFO.fullmatch(text):
        raise InvalidTemplate("unable to parse url: its user is invalid")
    parts = text.split(":", 1)
    return ":".join(quote(to_bytes(_unescape(part)), safe=_UNRESERVED + "$&+,;=") for part in parts)


def _host(scheme: str, host: str) -> str:
    if "[" in host:
        return _literal_address(host)
    colons = host.count(":")
    if colons:
        strict = scheme in {"http", "https"}
        port = host[host.index(":") if strict else host.rindex(":") :]
        if not _PORT.fullmatch(port):
            raise InvalidTemplate("unable to parse url: its port is invalid")
    for escape in re.findall(r"%([0-9A-Fa-f]{2})", host):
        # Only what is not ASCII may be escaped in a host.
        if int(escape, 16) < 0x80 and escape != "25":
            raise InvalidTemplate("unable to parse url: an escape in its host is invalid")
    if any(
        each.isascii() and not each.isalnum() and each != "%" and each not in _HOST for each in host
    ):
        raise InvalidTemplate("unable to parse url: a character in its host is invalid")
    return _unescape(host)


def _literal_address(host: str) -> str:
    address, bracket, port = host.removeprefix("[").rpartition("]")
    if not host.startswith("[") or not bracket or not _PORT.fullmatch(port):
        raise InvalidTemplate("unable to parse url: its address is invalid")
    address = _unescape(address)
    try:
        IPv6Address(address)
    except ValueError as error:
        raise InvalidTemplate("unable to parse url: its address is invalid") from error
    return f"[{address}]{port}"


def _hostname(host: str) -> str:
    before, colon, port = host.rpartition(":")
    name = before if colon and (port.isdecimal() or not port) and port.isascii() else host
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def _text(entries: Map, key: str) -> str:
    value = entries.entries.get(key, "")
    if not isinstance(value, str):
        raise InvalidTemplate(f"unable to parse {key} key, must be of type string")
    return value


def _join(entries: Map) -> str:
    """The URL of a map such as `urlParse` makes."""
    scheme, host, path = (_text(entries, key) for key in ("scheme", "host", "path"))
    userinfo = _text(entries, "userinfo")
    user = f"{_user(userinfo)}@" if userinfo else ""
    url = f"{scheme}:" if scheme else ""
    if opaque := _text(entries, "opaque"):
        url += opaque
    else:
        if host or user or (scheme and path):
            url += f"//{user}{_escape_host(host)}"
        url += _joined_path(path, bool(host), not url)
    if query := _text(entries, "query"):
        url += f"?{query}"
    if fragment := _text(entries, "fragment"):
        url += "#" + quote(to_bytes(fragment), safe=_UNRESERVED + "$&+,/:;=?@!()*")
    return url


def _user(userinfo: str) -> str:
    parsed = _parse(f"proto://{userinfo}@host")
    return str(parsed.entries["userinfo"])


def _escape_host(host: str) -> str:
    return quote(to_bytes(host), safe="".join(_HOST))


def _joined_path(path: str, after_host: bool, first: bool) -> str:
    escaped = "*" if path == "*" else quote(to_bytes(path), safe=_UNRESERVED + "$&+,/:;=@")
    if path and not path.startswith("/") and after_host:
        return f"/{escaped}"
    if first and ":" in escaped.partition("/")[0]:
        return f"./{escaped}"
    return escaped


URLS: dict[str, Function] = {
    "urlJoin": Function(_join, (DICT,)),
    "urlParse": Function(_parse, (TEXT,)),
}
