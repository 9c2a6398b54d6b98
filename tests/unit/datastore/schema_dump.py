"""The schema of a database as lines of text, to hold it against one that SPIRE made.

`spire_schema_25.*.txt` were written by these functions from databases that SPIRE 1.15 made.
"""

from __future__ import annotations

import sqlite3

import psycopg

_SQLITE = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence'"
_COLUMNS = """
    SELECT table_name || '.' || column_name || ' ' || data_type ||
           CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END ||
           coalesce(' default ' || column_default, '')
    FROM information_schema.columns WHERE table_schema = 'public'
    ORDER BY table_name, ordinal_position
"""
_INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname"
_CONSTRAINTS = """
    SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY conname
"""


def sqlite_schema(name: str) -> list[str]:
    connection = sqlite3.connect(name)
    try:
        rows = connection.execute(f"{_SQLITE} ORDER BY name").fetchall()
    finally:
        connection.close()
    return [row[0].rstrip() for row in rows]


def postgres_schema(connection_string: str) -> list[str]:
    with psycopg.connect(connection_string) as connection:
        return [
            row[0]
            for query in (_COLUMNS, _INDEXES, _CONSTRAINTS)
            for row in connection.execute(query.encode()).fetchall()
        ]
