"""Credential plugins: programs that a kubeconfig names, as clouds use them.

Reference: client.authentication.k8s.io/v1 and v1beta1, ExecCredential.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py_plugins.kubernetes.access import is_token

_VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1"))
_MAX_OUTPUT_BYTES = 1024 * 1024
_TIMEOUT_SECONDS = 30.0
_EARLY = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ExecCredential:
    """What a plugin printed: a token, or a client certificate with its key (PEM), or both."""

    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    expires_at: datetime | None = None

    @classmethod
    def parse(cls, output: bytes, version: str) -> ExecCredential:
        """Read a plugin's output.

        Raises:
            InvalidArgument: it is no ExecCredential of this API version, or has no credential.
        """
        document = parse_json_object(output, max_bytes=_MAX_OUTPUT_BYTES)
        if document.get("kind") != "ExecCredential" or document.get("apiVersion") != version:
            raise InvalidArgument(f"it printed no ExecCredential of {version}")
        status = document.get("status")
        if not isinstance(status, dict):
            raise InvalidArgument("its ExecCredential has no status")
        names = ("token", "clientCertificateData", "clientKeyData", "expirationTimestamp")
        texts = [status.get(name) or "" for name in names]
        if not all(isinstance(text, str) for text in texts):
            raise InvalidArgument("its ExecCredential is malformed")
        token, certificate, key, expires = texts
        if bool(certificate) != bool(key) or not (token or certificate):
            raise InvalidArgument("its ExecCredential has no token, and no certificate with key")
        if not is_token(token):
            raise InvalidArgument("its token has characters that no token can have")
        return cls(token, certificate, key, _time(expires) if expires else None)


class ExecPlugin:
    """One program, and the credential that it gave last."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        version: str,
        hint: str,
        *,
        seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self._seconds = seconds
        self._command = tuple(command)
        self._environment = dict(environment)
        self._version = version
        self._hint = hint
        self._credential: ExecCredential | None = None
        self._lock = asyncio.Lock()

    @classmethod
    def parse(cls, settings: Mapping[str, Any], folder: Path, server: str) -> ExecPlugin:
        """Read the section `exec` of a kubeconfig's user.

        Raises:
            FailedPrecondition: it is malformed, or of an API version that is not supported.
        """
        version, command = settings.get("apiVersion"), settings.get("command")
        if version not in _VERSIONS:
            raise FailedPrecondition(
                f"kubeconfig: exec: apiVersion must be one of {', '.join(_VERSIONS)}"
            )
        arguments = settings.get("args") or []
        if not isinstance(command, str) or not command or not _are_texts(arguments):
            raise FailedPrecondition("kubeconfig: exec: command or args is malformed")
        if "/" in command:
            # As client-go: a path is relative to the file, a bare name is looked up in PATH.
            command = str(folder / command)
        info: dict[str, object] = {"interactive": False}
        if settings.get("provideClusterInfo") is True:
            info["cluster"] = {"server": server}
        request = {"apiVersion": version, "kind": "ExecCredential", "spec": info}
        environment = {**_environment(settings), "KUBERNETES_EXEC_INFO": json.dumps(request)}
        hint = settings.get("installHint")
        return cls(
            (command, *arguments), environment, version, hint if isinstance(hint, str) else ""
        )

    async def fetch(self) -> ExecCredential:
        """The credential; the program is run where none is at hand that lasts.

        Raises:
            FailedPrecondition: the program gives none.
        """
        async with self._lock:
            kept = self._credential
            if kept is None or (kept.expires_at and kept.expires_at < datetime.now(UTC) + _EARLY):
                self._credential = await self._run()
            assert self._credential is not None
            return self._credential

    def forget(self) -> None:
        """Run the program again next time."""
        self._credential = None

    async def _run(self) -> ExecCredential:
        name = self._command[0]
        try:
            async with asyncio.timeout(self._seconds):
                return ExecCredential.parse(await self._output(), self._version)
        except InvalidArgument as error:
            raise FailedPrecondition(f"credential plugin {name}: {error.message}") from error
        except TimeoutError as error:
            raise FailedPrecondition(
                f"credential plugin {name} took longer than {self._seconds:g} s"
            ) from error
        except ValueError as error:
            raise FailedPrecondition(
                "kubeconfig: exec: command, args or env cannot be given to a program"
            ) from error
        except OSError as error:
            hint = f"; {self._hint.strip()}" if self._hint else ""
            raise FailedPrecondition(
                f"credential plugin {name} cannot be run: {error.strerror}{hint}"
            ) from error

    async def _output(self) -> bytes:
        # A pipe of our own: asyncio's is waited for until the last process that holds it is gone,
        # and a program may leave some behind.
        read_end, write_end = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            try:
                process = await self._start(write_end)
            finally:
                os.close(write_end)
            try:
                output = await _read(reader)
                code = await process.wait()
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
                raise
        finally:
            transport.close()
        if code:
            raise InvalidArgument(f"it ended with exit code {code}")
        return output

    async def _start(self, stdout: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            # What it complains of is the operator's to read, beside our own log.
            stderr=None,
            env={**os.environ, **self._environment},
            # So that what it starts can be ended with it.
            start_new_session=True,
        )


async def _read(reader: asyncio.StreamReader) -> bytes:
    output = b""
    while chunk := await reader.read(64 * 1024):
        output += chunk
        if len(output) > _MAX_OUTPUT_BYTES:
            raise InvalidArgument("its output is too long")
    return output


def _environment(settings: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in settings.get("env") or []:
        name, value = (item.get("name"), item.get("value")) if isinstance(item, dict) else (0, 0)
        if not isinstance(name, str) or not isinstance(value, str):
            raise FailedPrecondition("kubeconfig: exec: env is malformed")
        found[name] = value
    return found


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument("its expirationTimestamp is no time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
