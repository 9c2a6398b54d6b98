"""`spire-server run` and `validate` (features E1, E2)."""

from __future__ import annotations

from spire_py.catalog import check_server_plugins
from spire_py.cli.command import Command
from spire_py.cli.daemon import config_flags, read_config_flags, run_daemon, validate_config
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.config.server import DEFAULT_PATH, ServerConfig, load_server_config

FLAGS = (
    *config_flags(DEFAULT_PATH),
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
    path, expand_env, overrides = read_config_flags(flags)
    return load_server_config(path, expand_env=expand_env, overrides=overrides)


def _run(flags: Flags) -> int:
    from spire_py.server.run import serve

    return run_daemon(serve(_load(flags)))


def _validate(flags: Flags) -> int:
    return validate_config("server", flags, _load, check_server_plugins)


RUN = Command("run", "Runs the server", FLAGS, _run, error_prefix="")
VALIDATE = Command("validate", "Validates a server configuration file", FLAGS, _validate)
