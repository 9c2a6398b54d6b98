"""What an agent remembers over a restart: `agent-data.json` in its data directory (feature O6)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spire_py.crypto.pem import certificates_to_pem, pem_to_certificates
from spire_py.errors import Internal, InvalidArgument
from spire_py.runtime.files import write_private

FILE_NAME = "agent-data.json"
_MAX_BYTES = 16 << 20
_NO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class AgentData:
    """The content of the file. Certificates are DER; `svid` is leaf first.

    `bootstrap_use` is SPIRE's: 0 never tried, 1 bootstrapping, 2 has attested before.
    """

    svid: tuple[bytes, ...] = ()
    bundle: tuple[bytes, ...] = ()
    reattestable: bool = False
    bootstrap_use: int = 0
    bootstrap_start_time: datetime | None = None
    connection_attempts: int = 0


class AgentStorage:
    """Reads and writes the file as SPIRE does, so that either agent goes on where the other ended.

    The methods block for the length of a small file's write.
    """

    def __init__(self, directory: Path, data: AgentData) -> None:
        self._directory = directory
        self._data = data

    @classmethod
    def open(cls, directory: Path) -> AgentStorage:
        """Make the data directory where it is missing, and read what is there.

        Raises:
            Internal: the directory cannot be made, or the file cannot be read or is malformed.
        """
        try:
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            text = _read(directory / FILE_NAME)
        except OSError as error:
            raise Internal(f"failed to open storage: {directory}: {error.strerror}") from error
        return cls(directory, AgentData() if text is None else _parse(directory / FILE_NAME, text))

    @property
    def data(self) -> AgentData:
        return self._data

    def store(self, **changes: Any) -> None:
        """Write the file whole with some fields replaced; on failure nothing has changed.

        Raises:
            Internal: it could not be written.
        """
        data = replace(self._data, **changes)
        if data == self._data:
            return
        try:
            write_private(self._directory / FILE_NAME, _format(data))
        except OSError as error:
            path = self._directory / FILE_NAME
            raise Internal(f"failed to write data file: {path}: {error.strerror}") from error
        self._data = data

    def delete_svid(self) -> None:
        """Forget the agent's SVID, so that the next start attests anew."""
        self.store(svid=(), reattestable=False)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(text) > _MAX_BYTES:
        raise Internal(f"failed to open storage: {path} is larger than {_MAX_BYTES} bytes")
    return text


def _parse(path: Path, text: bytes) -> AgentData:
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise InvalidArgument("it holds no object")
        return AgentData(
            svid=_certificates(document.get("svid")),
            bundle=_certificates(document.get("bundle")),
            reattestable=bool(document.get("reattestable", False)),
            bootstrap_use=int(document.get("bootstrap_use", 0)),
            bootstrap_start_time=_time(document.get("bootstrap_start_time")),
            connection_attempts=int(document.get("connection_attempts", 0)),
        )
    except (ValueError, TypeError, ArithmeticError, RecursionError, InvalidArgument) as error:
        raise Internal(
            f"failed to open storage: failed to unmarshal data of {path}: {error}"
        ) from error


def _certificates(items: Sequence[str] | None) -> tuple[bytes, ...]:
    return tuple(
        certificate
        for item in items or ()
        for certificate in pem_to_certificates(base64.b64decode(item, validate=True))
    )


def _time(text: str | None) -> datetime | None:
    if not text or text == _NO_TIME:
        return None
    return datetime.fromisoformat(text).astimezone(UTC)


def _format(data: AgentData) -> bytes:
    start = data.bootstrap_start_time
    document = {
        "svid": _pem_items(data.svid),
        "bundle": _pem_items(data.bundle),
        "reattestable": data.reattestable,
        "bootstrap_use": data.bootstrap_use,
        "bootstrap_start_time": start.isoformat().replace("+00:00", "Z") if start else _NO_TIME,
        "connection_attempts": data.connection_attempts,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _pem_items(certificates: Iterable[bytes]) -> list[str] | None:
    items = [
        base64.b64encode(certificates_to_pem([certificate]).encode()).decode()
        for certificate in certificates
    ]
    return items or None
