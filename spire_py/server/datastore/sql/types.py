"""Column types that SPIRE's database has and SQLAlchemy has not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, String
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine


class Timestamp(TypeDecorator[datetime]):
    """An aware time. SQLite holds a text as Go's driver writes it, so that SPIRE can read it.

    Such a text is `2026-11-22 17:03:52.620583753+00:00`, less the zeros at the end of the fraction.
    Texts in UTC compare as the times do. SPIRE may have written another zone; that is read too.
    """

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return time_to_text(value)

    def process_result_value(
        self,
        value: Any | None,
        dialect: Dialect,  # noqa: ARG002 - SQLAlchemy calls it so
    ) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        try:
            return text_to_time(value)
        except ValueError:
            # One bad row must not hide all others; and an agent of that time is long expired.
            return _LONG_AGO


_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def time_to_text(time: datetime) -> str:
    """The text that SQLite holds for an aware time."""
    utc = time.astimezone(UTC)
    text = utc.replace(tzinfo=None).isoformat(" ", "seconds")
    if utc.microsecond:
        text += f".{utc.microsecond:06}".rstrip("0")
    return text + "+00:00"


def text_to_time(text: str) -> datetime:
    """The time that a text of SQLite stands for; nanoseconds are cut to microseconds.

    Raises:
        ValueError: it is no time.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
