"""Access as a kubeconfig file says: the file of kubectl, with its current context."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spire_py.errors import FailedPrecondition
from spire_py_plugins.kubernetes.access import (
    Access,
    Endpoint,
    basic,
    bearer,
    read_file,
    read_token,
)
from spire_py_plugins.kubernetes.exec_credential import ExecCredential, ExecPlugin

_UNSUPPORTED = ("auth-provider", "as", "as-uid", "as-groups", "as-user-extra")


class Kubeconfig:
    """Access as the current context of a kubeconfig file says.

    The file, and all that it names, is read anew each time, because those files are replaced.

    Args:
        path: of the file; relative paths in it are relative to its folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parsed: tuple[str, _Context] | None = None

    async def load(self) -> Access:
        context = await asyncio.to_thread(self._read)
        credential = await context.plugin.fetch() if context.plugin else None
        return await asyncio.to_thread(context.access, credential)

    def forget(self) -> bool:
        """An exec plugin is to be run again."""
        plugin = self._parsed[1].plugin if self._parsed else None
        if plugin is None:
            return False
        plugin.forget()
        return True

    def _read(self) -> _Context:
        text = read_file(self._path, "kubeconfig file")
        parsed = self._parsed
        if parsed is None or parsed[0] != text:
            parsed = self._parsed = (text, _parse(text, self._path))
        return parsed[1]


def _parse(text: str, path: Path) -> _Context:
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise FailedPrecondition(f"kubeconfig file {path} is no YAML{where}") from error
    try:
        return _current(_mapping(document, "the file"), path)
    except FailedPrecondition as error:
        raise FailedPrecondition(f"kubeconfig file {path}: {error.message}") from error


def _current(document: Mapping[str, Any], path: Path) -> _Context:
    name = _text(document, "current-context")
    if not name:
        raise FailedPrecondition("current-context is not set")
    context = _named(document, "contexts", "context", name)
    cluster = _named(document, "clusters", "cluster", _text(context, "cluster"))
    user = _text(context, "user")
    return _Context(
        cluster, _named(document, "users", "user", user) if user else {}, path.absolute().parent
    )


class _Context:
    """The cluster and the user of one context."""

    def __init__(self, cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> None:
        self._cluster = cluster
        self._user = user
        self._folder = folder
        self.plugin = self._exec_plugin()

    def _exec_plugin(self) -> ExecPlugin | None:
        settings = self._user.get("exec")
        if settings is None:
            return None
        return ExecPlugin.parse(_mapping(settings, "exec"), self._folder, self._server())

    def access(self, credential: ExecCredential | None) -> Access:
        for name in _UNSUPPORTED:
            if self._user.get(name):
                raise FailedPrecondition(f"kubeconfig: a user's {name} is not supported")
        certificate = self._content(self._user, "client-certificate")
        key = self._content(self._user, "client-key")
        if credential and credential.certificate:
            certificate, key = credential.certificate, credential.key
        if bool(certificate) != bool(key):
            raise FailedPrecondition("kubeconfig: client-certificate and client-key go together")
        endpoint = Endpoint(
            server=self._server(),
            authorities=self._content(self._cluster, "certificate-authority"),
            verify=self._cluster.get("insecure-skip-tls-verify") is not True,
            server_name=_text(self._cluster, "tls-server-name"),
            proxy=_text(self._cluster, "proxy-url"),
            certificate=certificate or "",
            key=key or "",
        )
        return Access(endpoint, self._authorization(credential))

    def _server(self) -> str:
        server = _text(self._cluster, "server")
        try:
            parts = urlsplit(server)
            valid = parts.scheme == "https" and parts.hostname and parts.port != 0
        except ValueError:
            valid = False
        if "@" in server:
            # It would stand in each line of the log that names the server.
            raise FailedPrecondition("kubeconfig: the cluster's server must have no password")
        if not valid:
            raise FailedPrecondition(
                f"kubeconfig: the cluster's server must be an https:// URL, not {server!r}"
            )
        return server.rstrip("/")

    def _authorization(self, credential: ExecCredential | None) -> str:
        token_file, token = _text(self._user, "tokenFile"), _text(self._user, "token")
        if token_file:
            return bearer(read_token(self._folder / token_file))
        if token:
            return bearer(token)
        if credential and credential.token:
            return bearer(credential.token)
        username = _text(self._user, "username")
        return basic(username, _text(self._user, "password")) if username else ""

    def _content(self, section: Mapping[str, Any], key: str) -> str | None:
        """PEM text, which stands in the file as base64, or in a file of its own."""
        data = _text(section, f"{key}-data")
        if data:
            try:
                return base64.b64decode("".join(data.split()), validate=True).decode("ascii")
            except (binascii.Error, ValueError) as error:
                raise FailedPrecondition(f"kubeconfig: {key}-data is no base64 of PEM") from error
        name = _text(section, key)
        if not name:
            return None
        text = read_file(self._folder / name, key)
        if not text.strip():
            raise FailedPrecondition(f"{key} {self._folder / name} is empty")
        return text


def _named(document: Mapping[str, Any], plural: str, key: str, name: str) -> Mapping[str, Any]:
    items = document.get(plural) or []
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("name") == name:
            return _mapping(item.get(key) or {}, f"{key} {name!r}")
    raise FailedPrecondition(f"there is no {key} {name!r} in {plural}")


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FailedPrecondition(f"{what} is not a mapping")
    return value


def _text(section: Mapping[str, Any], key: str) -> str:
    value = section.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise FailedPrecondition(f"kubeconfig: {key} is not a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FailedPrecondition(f"kubeconfig: {key} is no UTF-8") from error
    if "\0" in value:
        raise FailedPrecondition(f"kubeconfig: {key} has a NUL character")
    return value
