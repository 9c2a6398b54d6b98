"""`spire-server run` and `validate` (features E1, E2)."""

from __future__ import annotations

from pathlib import Path

from spire_py.catalog import check_server_plugins
from spire_py.cli.command import Command
from spire_py.cli.daemon import run_daemon, validate_config
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.config.server import ServerConfig, load_server_config

_DEFAULT_CONFIG = "conf/server/server.conf"
_NOT_OVERRIDES = ("config", "expandEnv")
FLAGS = (
    Flag("config", "Path of the configuration file", default=_DEFAULT_CONFIG),
    Flag("expandEnv", "Put environment variables for $VAR in the file", Kind.SWITCH),
    Flag("bindAddress", "Address to listen on"),
    Flag("serverPort", "Port to listen on", Kind.NUMBER),
    Flag("dataDir", "Folder for what the server keeps"),
    Flag("logFile", "File for the log"),
    Flag("logFormat", "text or json"),
    Flag("logLevel", "debug, info, warn or error"),
    Flag("logSourceLocation", "Name file, line and function in log lines", Kind.SWITCH),
    Flag("trustDomain", "Trust domain of the server"),
    Flag("socketPath", "Path of the admin socket"),
)


def _load(flags: Flags) -> ServerConfig:
    overrides = flags.overrides()
    for name in _NOT_OVERRIDES:
        overrides.pop(name, None)
    return load_server_config(
        Path(flags.text("config")), expand_env=flags.switch("expandEnv"), overrides=overrides
    )


def _run(flags: Flags) -> int:
    from spire_py.server.run import serve

    return run_daemon(serve(_load(flags)))


def _validate(flags: Flags) -> int:
    return validate_config("server", flags, _load, check_server_plugins)


RUN = Command("run", "Runs the server", FLAGS, _run, error_prefix="")
VALIDATE = Command("validate", "Validates a server configuration file", FLAGS, _validate)
