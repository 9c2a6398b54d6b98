"""Connections to PostgreSQL, as SPIRE opens them."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, create_engine

from spire_py.errors import InvalidArgument

_THREADS = 8
"""More connections than this gain nothing: queries are short, and there is one event loop."""

_BOUNDS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "30",
    "application_name": "spire-server",
}
"""So that no thread waits for a dead server for longer than half a minute."""

_STATEMENT_MILLISECONDS = 60_000
"""No statement of ours runs for long; one that does holds a thread and a connection."""


class PostgresEngines:
    """Connections that write, and connections that read, all of one pool's size."""

    def __init__(
        self,
        connection_string: str,
        *,
        busy_timeout: timedelta,
        max_open_conns: int,
        conn_max_lifetime: timedelta | None,
    ) -> None:
        connect = _connector(connection_string, busy_timeout)
        self.readers = min(_THREADS, max_open_conns) if max_open_conns > 0 else _THREADS
        # A list is put together from several queries, which must see one and the same state.
        self.reader = _engine(connect, self.readers, conn_max_lifetime, "REPEATABLE READ")
        self.writer = _engine(connect, self.readers, conn_max_lifetime, "READ COMMITTED")


def connection_options(connection_string: str) -> dict[str, str]:
    """What to connect with: the given text, what SPIRE's driver adds to it, and bounds.

    SPIRE's driver insists on TLS where the text says nothing of it; libpq alone would go without
    when the server offers none. A socket of this machine has no TLS.

    Raises:
        InvalidArgument: the text is neither a URL nor a list of `key=value`; or psycopg is missing.
    """
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as error:
        raise InvalidArgument(
            "datastore-sql: PostgreSQL needs the package psycopg; install spire-py[postgres]"
        ) from error
    try:
        given = conninfo_to_dict(connection_string)
    except psycopg.ProgrammingError:
        # The driver's text would show the password.
        raise InvalidArgument("datastore-sql: connection_string cannot be parsed") from None
    options = _BOUNDS | {key: str(value) for key, value in given.items()}
    hosts = options.get("host", os.environ.get("PGHOST", "")).split(",")
    is_local = all(host.startswith(("/", "@")) for host in hosts)
    says_how = "sslmode" in options or "service" in options or "PGSSLMODE" in os.environ
    return options if is_local or says_how else options | {"sslmode": "require"}


def _connector(connection_string: str, busy_timeout: timedelta) -> Callable[[], Any]:
    options = connection_options(connection_string)
    bounds = (
        f"SET lock_timeout = {int(busy_timeout.total_seconds() * 1000)}; "
        f"SET statement_timeout = {_STATEMENT_MILLISECONDS}"
    )

    def connect() -> Any:
        import psycopg

        connection = psycopg.connect(**options, autocommit=True)  # type: ignore[arg-type] # all are texts, as libpq takes them
        connection.execute(bounds)
        connection.autocommit = False
        return connection

    return connect


def _engine(
    connect: Callable[[], Any], size: int, lifetime: timedelta | None, isolation: Any
) -> Engine:
    return create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_pre_ping=True,
        pool_recycle=int(lifetime.total_seconds()) if lifetime else -1,
        isolation_level=isolation,
    )
