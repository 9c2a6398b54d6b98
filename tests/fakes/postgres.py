"""A PostgreSQL server of a test's own: private, on a socket in a temporary folder, unsafe, fast."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_INSTALLED = Path("/usr/lib/postgresql")
_SPEED = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")
_START_SECONDS = 60


def postgres_bin() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None where none is installed."""
    found = sorted(_INSTALLED.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


class Postgres:
    """A server; `database` makes a new, empty database."""

    def __init__(self, bin_folder: Path, folder: Path, user: str | None) -> None:
        self._bin = bin_folder
        self._folder = folder
        self._user = user
        self._numbers = itertools.count()

    def create(self) -> None:
        """Make the files of a new server."""
        self._run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")

    def start(self) -> None:
        """Start, and return when it answers."""
        options = " ".join(f"-c {option}" for option in _SPEED)
        socket = f"-k {self._folder} -c listen_addresses= {options}"
        self._run("pg_ctl", "start", "-w", "-l", self._folder / "log", "-o", socket)

    def stop(self) -> None:
        """Stop, and cut all connections."""
        self._run("pg_ctl", "stop", "-w", "-m", "fast")

    def database(self) -> str:
        """The connection string of a new database."""
        import psycopg

        name = f"test{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self._conninfo(name)

    def _conninfo(self, name: str) -> str:
        return f"host={self._folder} user=postgres dbname={name}"

    def _run(self, program: str, *arguments: object) -> None:
        command = (self._bin / program, *arguments, "-D", self._folder / "data")
        subprocess.run(
            [str(word) for word in command],
            user=self._user,
            cwd="/",
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=_START_SECONDS,
        )


@contextmanager
def running_postgres(bin_folder: Path) -> Iterator[Postgres]:
    """Start a server, and end it with all its data. It refuses to run as root, so it does not."""
    folder = Path(tempfile.mkdtemp(prefix="sppg", dir="/tmp"))
    user = _unprivileged_user()
    if user is not None:
        shutil.chown(folder, user)
    server = Postgres(bin_folder, folder, user)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged_user() -> str | None:
    """Whom to run the server as: ourselves, unless we are root."""
    return "postgres" if os.geteuid() == 0 else None
