"""`spire-agent run` and `validate` (features F1, F2)."""

from __future__ import annotations

from functools import partial

from spire_py.catalog import check_agent_plugins
from spire_py.cli.command import Command
from spire_py.cli.daemon import config_flags, read_config_flags, run_daemon, validate_config
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.config.agent import DEFAULT_PATH, AgentConfig, load_agent_config

FLAGS = (
    *config_flags(DEFAULT_PATH),
    Flag("dataDir", "Folder for what the agent keeps"),
    Flag("joinToken", "Join token, from `token generate`"),
    Flag("joinTokenFile", "File that holds the join token"),
    Flag("serverAddress", "Address of the server"),
    Flag("serverPort", "Port of the server", Kind.NUMBER),
    Flag("trustDomain", "Trust domain of the agent"),
    Flag("trustBundle", "File with the server's bundle"),
    Flag("trustBundleUrl", "https address of the server's bundle"),
    Flag("trustBundleFormat", "pem or spiffe"),
    Flag("insecureBootstrap", "Trust the first server without a bundle", Kind.SWITCH),
    Flag("rebootstrapMode", "never, auto or always"),
    Flag("rebootstrapDelay", "How long a foreign server is seen before rebootstrapping"),
    Flag("allowUnauthenticatedVerifiers", "Bundles also for unknown workloads", Kind.SWITCH),
    Flag("disableWorkloadAPI", "Do not serve the Workload API", Kind.SWITCH),
    Flag("disableSDSAPI", "Do not serve Envoy's SDS", Kind.SWITCH),
    Flag("logFile", "File for the log"),
    Flag("logFormat", "text or json"),
    Flag("logLevel", "debug, info, warn or error"),
    Flag("logSourceLocation", "Name file, line and function in log lines", Kind.SWITCH),
    Flag("socketPath", "Path of the Workload API's socket"),
)


def _load(flags: Flags, *, runs_here: bool = True) -> AgentConfig:
    path, expand_env, overrides = read_config_flags(flags)
    return load_agent_config(path, expand_env=expand_env, overrides=overrides, runs_here=runs_here)


def _run(flags: Flags) -> int:
    from spire_py.agent.run import run_agent

    return run_daemon(run_agent(_load(flags)))


def _validate(flags: Flags) -> int:
    return validate_config("agent", flags, partial(_load, runs_here=False), check_agent_plugins)


RUN = Command("run", "Runs the agent", FLAGS, _run, error_prefix="")
VALIDATE = Command("validate", "Validates an agent configuration file", FLAGS, _validate)
