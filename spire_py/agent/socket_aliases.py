"""Further names of the Workload API's socket, for workloads that look for another (feature U12).

A name is a relative link beside the socket, so that it holds wherever the folder is mounted. Links
stay when the agent ends: the next agent of the node finds them right, and the link of an agent that
ends while its successor already runs must not go with it. Without a socket they lead nowhere, which
clients see as they see a missing socket.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from spire_py.errors import FailedPrecondition
from spire_py.telemetry.logs import get_logger
from spire_py.transport.listeners import someone_listens

log = get_logger("endpoints")


def make_way(socket_path: Path, aliases: Iterable[str]) -> None:
    """Take away a link that stands where the socket is to be, as when names were exchanged.

    Without aliases nothing is touched, and neither is a link to another folder: it is not ours.

    Raises:
        FailedPrecondition: the link cannot be taken away.
    """
    target = _target(socket_path)
    if not tuple(aliases) or not target or "/" in target or someone_listens(socket_path):
        return
    try:
        socket_path.unlink(missing_ok=True)
    except OSError as error:
        raise FailedPrecondition(f"cannot remove {str(socket_path)!r}: {error.strerror}") from error


def link_aliases(socket_path: Path, aliases: Iterable[str]) -> None:
    """Make each of `aliases` lead to the socket; the socket's own name is passed over.

    Other links, and the sockets of dead processes, are replaced; whoever looks finds the old one or
    the new one.

    Raises:
        FailedPrecondition: something else is in the way, or the folder cannot be written to.
    """
    for alias in dict.fromkeys(aliases):
        if alias != socket_path.name:
            _link(socket_path.with_name(alias), socket_path.name)


def _link(link: Path, target: str) -> None:
    if _target(link) == target:
        return
    _refuse_others(link)
    # Two agents of a node may do this at the same time, and have the same pid in their containers.
    temporary = link.with_name(f".{target}.{secrets.token_hex(8)}")
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise FailedPrecondition(
            f"cannot make the socket alias {str(link)!r}: {error.strerror}"
        ) from error
    log.info("socket_alias_made", path=str(link), target=target)


def _target(link: Path) -> str:
    """The text of a link; empty where there is none."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _refuse_others(link: Path) -> None:
    """Only a link or a dead process's socket may be replaced."""
    if link.is_symlink() or not link.exists():
        return
    refusal = f"cannot make the socket alias {str(link)!r}: "
    if not link.is_socket():
        kind = "a directory" if link.is_dir() else "a file"
        raise FailedPrecondition(f"{refusal}{kind} of this name is in the way")
    if someone_listens(link):
        raise FailedPrecondition(f"{refusal}another process listens on a socket of this name")
