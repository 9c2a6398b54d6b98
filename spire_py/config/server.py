"""The server's configuration (features A1 to A28, B1 to B14).

Every key has SPIRE's name and default. `docs/config/server.md` is the page for users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import AfterValidator, BeforeValidator, InstanceOf

from spire_py.config.datastore import DatastoreConfig, read_datastore
from spire_py.config.durations import short_duration
from spire_py.config.federation import Federation, check_federation, warn_of_federation
from spire_py.config.files import load
from spire_py.config.overrides import override
from spire_py.config.plugins import (
    PluginConfig,
    check_server_plugins,
    drop_agent_plugins,
    read_plugins,
)
from spire_py.config.reader import Reader, Section
from spire_py.config.shared import (
    DaemonConfig,
    Experimental,
    FileSection,
    LoggingKeys,
    check_durations,
    check_port,
    check_shared,
    warn_of_experimental,
)
from spire_py.config.tree import Body
from spire_py.config.unavailable import (
    check_datastore_keys,
    check_server_keys,
    check_telemetry,
)
from spire_py.config.values import (
    Flag,
    Text,
    TextList,
    TrustDomainName,
    Whole,
    as_list,
    duration,
    spiffe_id,
)
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.id import SpiffeID, TrustDomain

DEFAULT_PATH = Path("conf/server/server.conf")

MAX_SVID_TTL = timedelta(days=7)
"""The longest SVID lifetime that CA rotation can honour (features A12, L12)."""

_ACTIVATION_DIVISOR = 6

OVERRIDES: Mapping[str, str] = {
    "bindAddress": "bind_address",
    "serverPort": "bind_port",
    "dataDir": "data_dir",
    "logFile": "log_file",
    "logFormat": "log_format",
    "logLevel": "log_level",
    "logSourceLocation": "log_source_location",
    "socketPath": "socket_path",
    "trustDomain": "trust_domain",
}
"""The flags of `run`, and the key of `server` that each sets (features A28, E1)."""


def _key_type(key: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value.lower() not in tuple(KeyType):
            raise ValueError(
                f'error parsing {key}: key type "{value}" is unknown; '
                "must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384]"
            )
        return value.lower()

    return check


def _cidrs(value: tuple[str, ...]) -> tuple[str, ...]:
    for cidr in value:
        try:
            if "/" not in cidr:
                raise ValueError(cidr)
            ip_network(cidr, strict=False)
        except ValueError:
            raise ValueError(
                f'invalid proxy_protocol_trusted_cidrs value "{cidr}": invalid CIDR address: {cidr}'
            ) from None
    return value


def _ttl(name: str) -> Any:
    """A lifetime; SPIRE takes 0 for "the default", and none can be negative."""
    return duration(f"could not parse {name} ttl {{value}}: {{error}}")


AdminID: TypeAlias = Annotated[
    InstanceOf[SpiffeID], spiffe_id("could not parse admin ID {value}: {error}")
]


class CASubject(Section):
    """The subject of CA certificates; a given block replaces the whole default (feature A8)."""

    section_name: ClassVar[str] = "ca_subject"

    country: TextList = ()
    organization: TextList = ()
    common_name: Text = ""

    @property
    def is_empty(self) -> bool:
        return not (self.country or self.organization or self.common_name)


DEFAULT_CA_SUBJECT = CASubject(country=("US",), organization=("SPIFFE",))


class RateLimit(Section):
    """Feature A22."""

    section_name: ClassVar[str] = "ratelimit"

    attestation: Flag = True
    signing: Flag = True


class LocalOpa(Section):
    """Where the policy lies."""

    section_name: ClassVar[str] = "auth_opa_policy_engine.local"
    refuses_unknown_keys: ClassVar[bool] = False

    rego_path: Text = ""
    policy_data_path: Text = ""


class OpaPolicyEngine(Section):
    """Feature B3."""

    section_name: ClassVar[str] = "auth_opa_policy_engine"
    refuses_unknown_keys: ClassVar[bool] = False

    local: LocalOpa | None = None


class ServerExperimental(Experimental):
    """Features B1 to B8."""

    zero_means_default: ClassVar[frozenset[str]] = frozenset(
        {
            "cache_reload_interval",
            "full_cache_reload_interval",
            "prune_events_older_than",
            "event_timeout",
            "sql_transaction_timeout",
        }
    )

    cache_reload_interval: Annotated[
        timedelta, duration("could not parse cache reload interval: {error}")
    ] = timedelta(seconds=5)
    events_based_cache: Flag = False
    full_cache_reload_interval: Annotated[
        timedelta, duration("could not parse full cache reload interval: {error}")
    ] = timedelta(hours=24)
    prune_events_older_than: Annotated[
        timedelta, duration("could not parse prune events interval: {error}")
    ] = timedelta(hours=12)
    event_timeout: Annotated[
        timedelta | None, duration("could not parse event timeout interval: {error}")
    ] = None
    """15 minutes where not given."""
    sql_transaction_timeout: Annotated[
        timedelta | None, duration("could not parse SQL transaction timeout interval: {error}")
    ] = None
    """The old name of `event_timeout`."""
    auth_opa_policy_engine: OpaPolicyEngine | None = None
    agent_spiffe_id_as_selector: Flag = False
    wit_key_type: Annotated[Text, AfterValidator(_key_type("wit_key_type"))] = ""
    wit_issuer: Text = ""

    @property
    def effective_event_timeout(self) -> timedelta:
        return self.event_timeout or self.sql_transaction_timeout or timedelta(minutes=15)


class ServerSection(LoggingKeys):
    """The block `server`."""

    section_name: ClassVar[str] = "server"
    older_names: ClassVar[Mapping[str, str]] = {"default_svid_ttl": "default_x509_svid_ttl"}
    required: ClassVar[Mapping[str, str]] = {
        "trust_domain": "trust_domain must be configured",
        "data_dir": "data_dir must be configured",
    }
    placeholders: ClassVar[Mapping[str, Any]] = {
        "trust_domain": TrustDomain("placeholder"),
        "data_dir": ".",
    }

    zero_means_default: ClassVar[frozenset[str]] = frozenset(
        {
            "ca_ttl",
            "default_x509_svid_ttl",
            "default_jwt_svid_ttl",
            "agent_ttl",
            "prune_attested_nodes_expired_for",
        }
    )

    trust_domain: TrustDomainName
    data_dir: Text
    bind_address: Text = "0.0.0.0"  # noqa: S104 - SPIRE's default
    bind_port: Whole = 8081
    socket_path: Text = "/tmp/spire-server/private/api.sock"  # noqa: S108 - SPIRE's default
    ca_key_type: Annotated[Text, AfterValidator(_key_type("ca_key_type"))] = "ec-p256"
    jwt_key_type: Annotated[Text, AfterValidator(_key_type("jwt_key_type"))] = ""
    """Empty for that of the CA."""
    ca_ttl: Annotated[timedelta, _ttl("default CA")] = timedelta(hours=24)
    ca_subject: CASubject = DEFAULT_CA_SUBJECT
    default_x509_svid_ttl: Annotated[timedelta, _ttl("default X509 SVID")] = timedelta(hours=1)
    default_jwt_svid_ttl: Annotated[timedelta, _ttl("default JWT SVID")] = timedelta(minutes=5)
    agent_ttl: Annotated[timedelta | None, _ttl("agent")] = None
    """None for `default_x509_svid_ttl`."""
    jwt_issuer: Text = ""
    disable_jwt_svids: Flag = False
    admin_ids: Annotated[tuple[AdminID, ...], BeforeValidator(as_list)] = ()
    audit_log_enabled: Flag = False
    prune_attested_nodes_expired_for: Annotated[
        timedelta | None,
        duration("could not parse prune_attested_nodes_expired_for: {error}"),
    ] = None
    """None for never."""
    prune_attested_nodes_batch_size: Whole = 1000
    prune_tofu_nodes: Flag = False
    max_attested_node_info_staleness: Annotated[
        timedelta, duration("could not parse max attested node staleness {value}: {error}")
    ] = timedelta(0)
    ratelimit: RateLimit = RateLimit()
    proxy_protocol_trusted_cidrs: Annotated[TextList, AfterValidator(_cidrs)] = ()
    federation: Federation | None = None
    experimental: ServerExperimental = ServerExperimental()

    @property
    def ca_keys(self) -> KeyType:
        return KeyType(self.ca_key_type)

    @property
    def jwt_keys(self) -> KeyType:
        return KeyType(self.jwt_key_type or self.ca_key_type)

    @property
    def effective_ca_subject(self) -> CASubject:
        """The subject to use: the default where the given one is empty."""
        return DEFAULT_CA_SUBJECT if self.ca_subject.is_empty else self.ca_subject

    @property
    def host(self) -> str:
        """The address to listen at, without the brackets of IPv6."""
        return self.bind_address.strip("[]")


class ServerConfig(DaemonConfig):
    """The whole of the server's file, checked."""

    server: ServerSection
    datastore: DatastoreConfig = DatastoreConfig()
    agent_plugins: tuple[InstanceOf[PluginConfig], ...] = ()
    """Those that belong into the agent's file; the server leaves them alone."""


class _File(FileSection):
    """The top level of the file."""

    required: ClassVar[Mapping[str, str]] = {"server": "server section must be configured"}
    placeholders: ClassVar[Mapping[str, Any]] = {"server": ServerSection.placeholders}

    server: ServerSection


def load_server_config(
    path: Path = DEFAULT_PATH,
    *,
    expand_env: bool = False,
    overrides: Mapping[str, str] | None = None,
) -> ServerConfig:
    """Read and check the server's file.

    Args:
        path: HCL 1 or JSON.
        expand_env: replace variables of the environment first.
        overrides: values by flag or by key, see `OVERRIDES`; they win over the file.

    Raises:
        NotFound: there is no such file.
        ConfigProblems: something is wrong; all of it is told.
        InvalidArgument: the file cannot be read or parsed.
    """
    return read_server_config(load(path, expand_env).body, overrides=overrides)


def read_server_config(body: Body, *, overrides: Mapping[str, str] | None = None) -> ServerConfig:
    """As `load_server_config`, from what was parsed already."""
    reader = Reader()
    body = override(body, "server", overrides or {}, OVERRIDES, reader)
    file = reader.read(_File, body)
    _check(file, reader)
    _warn(file, reader)
    all_plugins = read_plugins(file.plugins, reader.problems, reader.warnings)
    plugins = drop_agent_plugins(all_plugins, reader.warnings)
    if file.plugins is None:
        reader.fault("plugins section must be configured")
    else:
        reader.problems.extend(check_server_plugins(plugins))
    stores = [plugin for plugin in plugins if plugin.type == "DataStore"]
    datastore = DatastoreConfig()
    if stores:
        datastore = read_datastore(reader, stores[0].data, stores[0].line)
        check_datastore_keys(datastore, reader)
    reader.check()
    return ServerConfig(
        server=file.server,
        plugins=tuple(plugin for plugin in plugins if plugin.type != "DataStore"),
        datastore=datastore,
        agent_plugins=tuple(plugin for plugin in all_plugins if plugin not in plugins),
        telemetry=file.telemetry,
        health_checks=file.health_checks,
        warnings=tuple(reader.warnings),
    )


def _check(file: _File, reader: Reader) -> None:
    """What SPIRE checks beyond the kinds of the values."""
    check_shared(file.health_checks, file.telemetry, reader)
    server, experimental = file.server, file.server.experimental
    check_port(reader, server.bind_port, "server", "bind_port")
    if server.federation:
        check_federation(server.federation, reader)
    if experimental.named_pipe_name:
        reader.fault(
            "invalid configuration: named_pipe_name is not supported in this platform; "
            "please use socket_path instead",
            *("server", "experimental", "named_pipe_name"),
        )
    if experimental.event_timeout and experimental.sql_transaction_timeout:
        reader.fault(
            "both experimental sql_transaction_timeout and event_timeout set, "
            "only set event_timeout",
            *("server", "experimental", "sql_transaction_timeout"),
        )
    check_durations(reader, server, "server")
    check_durations(reader, experimental, "server", "experimental")


def _warn(file: _File, reader: Reader) -> None:
    """What SPIRE warns of."""
    server = file.server
    for name in ("default_x509_svid_ttl", "default_jwt_svid_ttl", "agent_ttl"):
        ttl: timedelta | None = getattr(server, name)
        if ttl is not None and ttl > max_svid_ttl(server.ca_ttl):
            reader.warn(_ttl_warning(name, ttl, server.ca_ttl), "server", name)
    if server.ca_subject.is_empty:
        reader.warn(
            "ca_subject configurable is set but empty; the default will be used",
            *("server", "ca_subject"),
        )
    if server.federation:
        warn_of_federation(server.federation, reader)
    if server.experimental.sql_transaction_timeout:
        reader.warn(
            "experimental.sql_transaction_timeout is deprecated, "
            "use experimental.event_timeout instead",
            *("server", "experimental", "sql_transaction_timeout"),
            deprecated=True,
        )
    warn_of_experimental(server.experimental, reader, "server")
    check_server_keys(server, server.experimental, reader)
    check_telemetry(file.telemetry, reader)


def max_svid_ttl(ca_ttl: timedelta) -> timedelta:
    """The longest SVID lifetime that a CA of this lifetime can always give in full."""
    return min(ca_ttl / _ACTIVATION_DIVISOR, MAX_SVID_TTL)


def _ttl_warning(name: str, ttl: timedelta, ca_ttl: timedelta) -> str:
    guarantee = f"to guarantee the full {name} lifetime when CA rotations are scheduled."
    shorter = "SVIDs with shorter lifetimes may be issued."
    if ttl < MAX_SVID_TTL:
        return (
            f"{name} is too high for the configured ca_ttl value. {shorter} Please set {name} to "
            f"{short_duration(max_svid_ttl(ca_ttl))} or less, or the ca_ttl to "
            f"{short_duration(ttl * _ACTIVATION_DIVISOR)} or more, {guarantee}"
        )
    if ca_ttl < MAX_SVID_TTL * _ACTIVATION_DIVISOR:
        return (
            f"{name} is too high and the ca_ttl is too low. {shorter} Please set {name} to "
            f"{short_duration(MAX_SVID_TTL)} or less, and the ca_ttl to "
            f"{short_duration(MAX_SVID_TTL * _ACTIVATION_DIVISOR)} or more, {guarantee}"
        )
    return (
        f"{name} is too high. {shorter} Please set {name} to "
        f"{short_duration(max_svid_ttl(ca_ttl))} or less {guarantee}"
    )
