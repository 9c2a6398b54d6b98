"""The agent's configuration (features C1 to C32).

Every key has SPIRE's name and default. `docs/config/agent.md` is the page for users.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, InstanceOf

from spire_py.config.durations import format_duration
from spire_py.config.files import load
from spire_py.config.overrides import override
from spire_py.config.plugins import PluginConfig, check_agent_plugins, read_plugins
from spire_py.config.problems import ConfigWarning
from spire_py.config.reader import Reader, Section
from spire_py.config.shared import (
    Experimental,
    HealthChecks,
    LoggingKeys,
    Telemetry,
    check_shared,
    warn_of_experimental,
)
from spire_py.config.tree import Body
from spire_py.config.values import (
    Flag,
    Text,
    TextList,
    TrustDomainName,
    Whole,
    duration,
)
from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.id import SpiffeID, TrustDomain

DEFAULT_PATH = Path("conf/agent/agent.conf")

MOUNTED_BUNDLES = Path("/run/spire/bundle")
"""Where guides mount the ConfigMap of the trust bundle."""

_MOUNTED = (("bundle.crt", "pem"), ("bundle.spiffe", "spiffe"))
_MAX_TOKEN_BYTES = 1024

OVERRIDES: Mapping[str, str] = {
    "allowUnauthenticatedVerifiers": "allow_unauthenticated_verifiers",
    "dataDir": "data_dir",
    "disableSDSAPI": "disable_sds_api",
    "disableWorkloadAPI": "disable_workload_api",
    "insecureBootstrap": "insecure_bootstrap",
    "joinToken": "join_token",
    "joinTokenFile": "join_token_file",
    "logFile": "log_file",
    "logFormat": "log_format",
    "logLevel": "log_level",
    "logSourceLocation": "log_source_location",
    "rebootstrapDelay": "rebootstrap_delay",
    "rebootstrapMode": "rebootstrap_mode",
    "serverAddress": "server_address",
    "serverPort": "server_port",
    "socketPath": "socket_path",
    "trustBundle": "trust_bundle_path",
    "trustBundleFormat": "trust_bundle_format",
    "trustBundleUrl": "trust_bundle_url",
    "trustDomain": "trust_domain",
}
"""The flags of `run`, and the key of `agent` that each sets (feature F1)."""


def _workload_key_type(value: str) -> str:
    if value.lower() not in ("rsa-2048", "ec-p256", "ec-p384"):
        raise ValueError(
            f'key type "{value}" is unknown; must be one of [rsa-2048, ec-p256, ec-p384]'
        )
    return value.lower()


def _bundle_format(value: str) -> str:
    if value not in ("pem", "spiffe"):
        raise ValueError('invalid value for trust_bundle_format, expected "pem" or "spiffe"')
    return value


def _rebootstrap_mode(value: str) -> str:
    if value not in ("never", "auto", "always"):
        raise ValueError(f"unknown rebootstrap mode specified: {value}")
    return value


class Sds(Section):
    """The names that Envoy asks for (feature C19)."""

    section_name: ClassVar[str] = "sds"
    refuses_unknown_keys: ClassVar[bool] = False

    default_svid_name: Text = "default"
    default_bundle_name: Text = "ROOTCA"
    default_all_bundles_name: Text = "ALL"
    disable_spiffe_cert_validation: Flag = False


class WorkloadRateLimits(Section):
    """Calls per second and caller; 0 for no limit (feature C26)."""

    section_name: ClassVar[str] = "ratelimit"

    fetch_x509_svid: Whole = 0
    fetch_jwt_svid: Whole = 0
    fetch_x509_bundles: Whole = 0
    fetch_jwt_bundles: Whole = 0
    stream_secrets: Whole = 0
    fetch_secrets: Whole = 0


class AllowedReferenceType(Section):
    """A kind of reference that a broker may use."""

    section_name: ClassVar[str] = "experimental.broker.brokers.allowed_reference_types"

    type_url: Text = ""
    allow_over_tcp: Flag = False


class Broker(Section):
    """A broker that may call."""

    section_name: ClassVar[str] = "experimental.broker.brokers"

    id: Text = ""
    allowed_reference_types: tuple[AllowedReferenceType, ...] = ()


class BrokerEndpoint(Section):
    """The SPIFFE Broker API (feature C27)."""

    section_name: ClassVar[str] = "experimental.broker"

    socket_path: Text = ""
    bind_address: Text = ""
    brokers: tuple[Broker, ...] = ()


class AgentExperimental(Experimental):
    """Features C23 to C30."""

    zero_means_default: ClassVar[frozenset[str]] = frozenset({"sync_interval"})

    sync_interval: Annotated[
        timedelta, duration("could not parse synchronization interval: {error}")
    ] = timedelta(seconds=5)
    jwt_svid_cache_hit_timeout: Annotated[
        timedelta | None, duration("could not parse jwt_svid_cache_hit_timeout: {error}")
    ] = None
    """30 seconds where not given."""
    use_sync_authorized_entries: Flag | None = None
    """On where not given."""
    admin_named_pipe_name: Text = ""
    ratelimit: WorkloadRateLimits = WorkloadRateLimits()
    broker: BrokerEndpoint | None = None


class AgentSection(LoggingKeys):
    """The block `agent`."""

    section_name: ClassVar[str] = "agent"
    ignored_keys: ClassVar[Mapping[str, str]] = {
        "svc_account_key_file": "no SPIRE knows it; the agent proves itself by its node attestor",
    }
    required: ClassVar[Mapping[str, str]] = {
        "trust_domain": "trust_domain must be configured",
        "server_address": "server_address must be configured",
        "server_port": "server_port must be configured",
    }
    placeholders: ClassVar[Mapping[str, Any]] = {
        "trust_domain": TrustDomain("placeholder"),
        "server_address": "placeholder",
        "server_port": 1,
    }

    zero_means_default: ClassVar[frozenset[str]] = frozenset({"rebootstrap_delay"})

    trust_domain: TrustDomainName
    server_address: Text
    server_port: Whole
    data_dir: Text = "."
    socket_path: Text = "/tmp/spire-agent/public/api.sock"  # noqa: S108 - SPIRE's default
    admin_socket_path: Text = ""
    """Empty for no admin socket."""
    trust_bundle_path: Text = ""
    trust_bundle_format: Annotated[Text, AfterValidator(_bundle_format)] = "pem"
    trust_bundle_url: Text = ""
    trust_bundle_unix_socket: Text = ""
    trust_bundle_spiffe_workload_api: Text = ""
    insecure_bootstrap: Flag = False
    rebootstrap_mode: Annotated[Text, AfterValidator(_rebootstrap_mode)] = "never"
    rebootstrap_delay: Annotated[
        timedelta, duration("error parsing rebootstrap delay duration: {error}")
    ] = timedelta(minutes=10)
    join_token: Text = Field(default="", repr=False)
    join_token_file: Text = ""
    workload_x509_svid_key_type: Annotated[Text, AfterValidator(_workload_key_type)] = "ec-p256"
    availability_target: Annotated[
        timedelta | None, duration("unable to parse availability_target: {error}")
    ] = None
    x509_svid_cache_max_size: Whole = 1000
    jwt_svid_cache_max_size: Whole = 1000
    authorized_delegates: TextList = ()
    allow_unauthenticated_verifiers: Flag = False
    allowed_foreign_jwt_claims: TextList = ()
    log_selectors: TextList = ()
    sds: Sds = Sds()
    disable_workload_api: Flag = False
    disable_sds_api: Flag = False
    experimental: AgentExperimental = AgentExperimental()

    @property
    def workload_keys(self) -> KeyType:
        return KeyType(self.workload_x509_svid_key_type)

    def read_join_token(self) -> str:
        """The join token, from the key or from its file; empty where neither is given.

        Raises:
            FailedPrecondition: the file cannot be read or holds no token.
        """
        if not self.join_token_file:
            return self.join_token
        try:
            with Path(self.join_token_file).open("rb") as file:
                token = file.read(_MAX_TOKEN_BYTES).decode().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no text"
            raise FailedPrecondition(
                f'unable to read join token file "{self.join_token_file}": {reason}'
            ) from error
        if not token:
            raise FailedPrecondition("join token file is empty")
        return token


class AgentConfig(Section):
    """The whole of the agent's file, checked."""

    agent: AgentSection
    plugins: tuple[InstanceOf[PluginConfig], ...] = ()
    telemetry: Telemetry = Telemetry()
    health_checks: HealthChecks = HealthChecks()
    warnings: tuple[InstanceOf[ConfigWarning], ...] = ()
    """What works and should be known: `run` logs it, `validate` prints it."""


class _File(Section):
    """The top level of the file."""

    section_name: ClassVar[str] = "top-level"
    required: ClassVar[Mapping[str, str]] = {"agent": "agent section must be configured"}
    placeholders: ClassVar[Mapping[str, Any]] = {"agent": AgentSection.placeholders}

    agent: AgentSection
    plugins: Any = None
    telemetry: Telemetry = Telemetry()
    health_checks: HealthChecks = HealthChecks()


def load_agent_config(
    path: Path = DEFAULT_PATH,
    *,
    expand_env: bool = False,
    overrides: Mapping[str, str] | None = None,
    mounted_bundles: Path = MOUNTED_BUNDLES,
) -> AgentConfig:
    """Read and check the agent's file.

    Args:
        path: HCL 1 or JSON.
        expand_env: replace variables of the environment first.
        overrides: values by flag or by key, see `OVERRIDES`; they win over the file.
        mounted_bundles: where to look for a trust bundle when none is configured.

    Raises:
        NotFound: there is no such file.
        ConfigProblems: something is wrong; all of it is told.
        InvalidArgument: the file cannot be read or parsed.
    """
    return read_agent_config(
        load(path, expand_env).body, overrides=overrides, mounted_bundles=mounted_bundles
    )


def read_agent_config(
    body: Body,
    *,
    overrides: Mapping[str, str] | None = None,
    mounted_bundles: Path = MOUNTED_BUNDLES,
) -> AgentConfig:
    """As `load_agent_config`, from what was parsed already."""
    reader = Reader()
    body = override(body, "agent", overrides or {}, OVERRIDES, reader)
    file = reader.read(_File, body)
    agent = _with_mounted_bundle(file.agent, mounted_bundles, reader)
    check_shared(file.health_checks, file.telemetry, reader)
    _check_bootstrap(agent, reader)
    _check(agent, reader)
    _check_experimental(agent, reader)
    _warn(agent, reader)
    plugins = read_plugins(file.plugins, reader.problems, reader.warnings)
    if file.plugins is None:
        reader.fault("plugins section must be configured")
    else:
        reader.problems.extend(check_agent_plugins(plugins))
    reader.check()
    return AgentConfig(
        agent=agent,
        plugins=plugins,
        telemetry=file.telemetry,
        health_checks=file.health_checks,
        warnings=tuple(reader.warnings),
    )


def _has_bootstrap(agent: AgentSection) -> bool:
    return bool(
        agent.insecure_bootstrap
        or agent.trust_bundle_path
        or agent.trust_bundle_url
        or agent.trust_bundle_spiffe_workload_api
    )


def _with_mounted_bundle(agent: AgentSection, mounted: Path, reader: Reader) -> AgentSection:
    """Take the bundle that guides mount, where none is configured (SPIRE refuses to start)."""
    if _has_bootstrap(agent):
        return agent
    for name, bundle_format in _MOUNTED:
        path = mounted / name
        if path.is_file():
            reader.warn(
                f"no trust bundle is configured; using {path}; please set trust_bundle_path = "
                f'"{path}" and trust_bundle_format = "{bundle_format}"',
                "agent",
            )
            return agent.model_copy(
                update={"trust_bundle_path": str(path), "trust_bundle_format": bundle_format}
            )
    reader.fault(
        "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be "
        "configured unless insecure_bootstrap is set; "
        f"nor is there {' or '.join(str(mounted / name) for name, _ in _MOUNTED)}",
        "agent",
    )
    return agent


def _check_bootstrap(agent: AgentSection, reader: Reader) -> None:
    """Exactly one of features C6 to C9."""
    given = [
        key
        for key in (
            "insecure_bootstrap",
            "trust_bundle_url",
            "trust_bundle_path",
            "trust_bundle_spiffe_workload_api",
        )
        if getattr(agent, key)
    ]
    if len(given) == 2:
        reader.fault(
            f"only one of {given[0]} or {given[1]} can be specified, not both", "agent", given[1]
        )
    elif len(given) > 2:
        reader.fault(
            f"only one of {', '.join(given[:-1])}, or {given[-1]} can be specified, "
            f"not the {'three' if len(given) == 3 else 'four'} options",
            *("agent", given[-1]),
        )
    _check_bundle_url(agent, reader)
    _check_bundle_socket(agent, reader)
    if agent.rebootstrap_mode != "never" and agent.insecure_bootstrap:
        reader.fault(
            "insecure_bootstrap option can not be used with rebootstrapping",
            *("agent", "insecure_bootstrap"),
        )


def _check_bundle_url(agent: AgentSection, reader: Reader) -> None:
    path = ("agent", "trust_bundle_url")
    if not agent.trust_bundle_url:
        return
    try:
        url = urlsplit(agent.trust_bundle_url)
    except ValueError:
        reader.fault("unable to parse trust bundle URL", *path)
        return
    if not agent.trust_bundle_unix_socket:
        if url.scheme != "https":
            reader.fault("trust bundle URL must start with https://", *path)
        return
    if url.scheme != "http":
        reader.fault(
            "trust bundle URL must start with http:// when used with trust bundle unix socket",
            *path,
        )
    for prefix in ("spiffe-", "spire-"):
        if any(key.startswith(prefix) for key, _ in parse_qsl(url.query, keep_blank_values=True)):
            reader.fault(f"trust_bundle_url query params can not start with {prefix}", *path)


def _check_bundle_socket(agent: AgentSection, reader: Reader) -> None:
    if agent.trust_bundle_unix_socket and agent.trust_bundle_spiffe_workload_api:
        reader.fault(
            "trust_bundle_unix_socket can not be used with trust_bundle_spiffe_workload_api",
            *("agent", "trust_bundle_unix_socket"),
        )
    elif agent.trust_bundle_unix_socket and not agent.trust_bundle_url:
        reader.fault(
            "if trust_bundle_unix_socket is specified, so must be trust_bundle_url",
            *("agent", "trust_bundle_unix_socket"),
        )
    address = agent.trust_bundle_spiffe_workload_api
    if address and not address.startswith(("unix:", "tcp:")):
        reader.fault(
            "trust_bundle_spiffe_workload_api is not a valid SPIFFE Workload API endpoint address: "
            'workload endpoint socket URI must have a "tcp" or "unix" scheme',
            *("agent", "trust_bundle_spiffe_workload_api"),
        )


def _check(agent: AgentSection, reader: Reader) -> None:
    """What else SPIRE checks of the block `agent`."""
    if not 0 < agent.server_port < 65536:
        reader.fault(
            "agent: server_port: expected a port between 1 and 65535", "agent", "server_port"
        )
    if agent.join_token and agent.join_token_file:
        reader.fault(
            "only one of join_token or join_token_file can be specified, not both",
            *("agent", "join_token_file"),
        )
    for key in ("x509_svid_cache_max_size", "jwt_svid_cache_max_size"):
        if getattr(agent, key) < 0:
            reader.fault(f"{key} should not be negative", "agent", key)
    for key, what in (("admin_socket_path", "admin"), ("broker", "broker")):
        if _beside_workload_socket(agent, _socket(agent, key)):
            reader.fault(
                f"{what} socket cannot be in the same directory or a subdirectory as that "
                "containing the Workload API socket",
                *("agent", key if what == "admin" else "experimental"),
            )
    for delegate in agent.authorized_delegates:
        if fault := _member_fault(delegate, agent.trust_domain):
            reader.fault(
                f"error validating authorized delegate: {fault}", "agent", "authorized_delegates"
            )
    minimum = timedelta(hours=24)
    if agent.availability_target is not None and agent.availability_target < minimum:
        reader.fault(
            f"availability_target must be at least {format_duration(minimum)}",
            *("agent", "availability_target"),
        )


def _socket(agent: AgentSection, key: str) -> str:
    broker = agent.experimental.broker
    return agent.admin_socket_path if key != "broker" else broker.socket_path if broker else ""


def _beside_workload_socket(agent: AgentSection, socket: str) -> bool:
    if not socket or (agent.disable_workload_api and agent.disable_sds_api):
        return False
    public = os.path.dirname(os.path.abspath(agent.socket_path))  # noqa: PTH100, PTH120 - no links
    return os.path.abspath(socket).startswith(public.rstrip("/") + "/")  # noqa: PTH100


def _member_fault(text: str, trust_domain: TrustDomain) -> str:
    try:
        spiffe_id = SpiffeID.parse(text)
    except InvalidArgument as error:
        return str(error)
    if not spiffe_id.is_member_of(trust_domain):
        return f'"{text}" is not a member of trust domain "{trust_domain}"'
    return f'"{text}" is not a workload: path is empty' if spiffe_id.is_trust_domain else ""


def _check_experimental(agent: AgentSection, reader: Reader) -> None:
    experimental = agent.experimental
    where = ("agent", "experimental")
    for key, instead in (
        ("named_pipe_name", "socket_path"),
        ("admin_named_pipe_name", "admin_socket_path"),
    ):
        if getattr(experimental, key):
            reader.fault(
                f"invalid configuration: {key} is not supported in this platform; "
                f"please use {instead} instead",
                *(*where, key),
            )
    timeout = experimental.jwt_svid_cache_hit_timeout
    if timeout is not None and timeout < timedelta(seconds=5):
        reader.fault(
            f"jwt_svid_cache_hit_timeout ({format_duration(timeout)}) must be greater than 5s",
            *(*where, "jwt_svid_cache_hit_timeout"),
        )
    if timeout is not None and timeout >= timedelta(seconds=30):
        reader.fault(
            f"jwt_svid_cache_hit_timeout ({format_duration(timeout)}) must be less than 30s",
            *(*where, "jwt_svid_cache_hit_timeout"),
        )
    for key in WorkloadRateLimits.model_fields:
        if getattr(experimental.ratelimit, key) < 0:
            reader.fault(
                f"experimental.ratelimit.{key} must not be negative", *where, "ratelimit", key
            )
    if experimental.broker:
        _check_broker(experimental.broker, reader)


def _check_broker(endpoint: BrokerEndpoint, reader: Reader) -> None:
    where = ("agent", "experimental", "broker")
    if not endpoint.socket_path and not endpoint.bind_address:
        reader.fault("experimental.broker requires socket_path, bind_address, or both", *where)
    seen: set[str] = set()
    for index, broker in enumerate(endpoint.brokers):
        path = (*where, "brokers", index)
        name = f"experimental.broker.brokers[{broker.id or index}]"
        if not broker.id:
            reader.fault(f"{name}.id: must be specified", *path)
        elif broker.id in seen:
            reader.fault(f"{name}.id: duplicate broker id", *path)
        else:
            try:
                SpiffeID.parse(broker.id)
            except InvalidArgument as error:
                reader.fault(f"{name}.id: {error}", *path)
        seen.add(broker.id)
        _check_reference_types(name, broker.allowed_reference_types, path, reader)


def _check_reference_types(
    name: str,
    allowed: tuple[AllowedReferenceType, ...],
    path: tuple[str | int, ...],
    reader: Reader,
) -> None:
    where = f"{name}.allowed_reference_types"
    if not allowed:
        reader.fault(f"{where}: must list at least one reference type URL", *path)
    for index, reference in enumerate(allowed):
        if not reference.type_url:
            reader.fault(f"{where}[{index}].type_url: must be specified", *path)
        elif reference.type_url == "*" and len(allowed) > 1:
            reader.fault(f'{where}: wildcard "*" must be the only allowed reference type', *path)


def _warn(agent: AgentSection, reader: Reader) -> None:
    """What SPIRE warns of."""
    experimental = agent.experimental
    where = ("agent", "experimental")
    if agent.sds.default_all_bundles_name == agent.sds.default_bundle_name:
        reader.warn(
            'The "default_bundle_name" and "default_all_bundles_name" configurables have the same '
            'value. "default_all_bundles_name" will be ignored. Please configure distinct values '
            "or use the defaults. This will be a configuration error in a future release.",
            *("agent", "sds"),
        )
    if experimental.jwt_svid_cache_hit_timeout is not None:
        reader.warn(
            "The use of 'jwt_svid_cache_hit_timeout' is experimental",
            *(*where, "jwt_svid_cache_hit_timeout"),
        )
    if experimental.use_sync_authorized_entries is not None:
        reader.warn(
            "The 'use_sync_authorized_entries' configuration is deprecated. The option to disable "
            "it will be removed in SPIRE 1.13.",
            *(*where, "use_sync_authorized_entries"),
            deprecated=True,
        )
    warn_of_experimental(experimental, reader, "agent")
