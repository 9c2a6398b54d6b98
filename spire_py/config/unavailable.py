"""Keys of SPIRE that this release reads and has no function for.

Nobody should find that out from what does not happen: each is warned of. Where to go on without it
would be less safe than the operator asked for, the start is refused.
"""

from __future__ import annotations

from spire_py.config.agent_section import AgentSection
from spire_py.config.datastore import DatastoreConfig
from spire_py.config.reader import Reader, Section
from spire_py.config.shared import Experimental, LoggingKeys, Telemetry

_SERVER_KEYS = ("audit_log_enabled", "proxy_protocol_trusted_cidrs", "federation")
_SERVER_EXPERIMENTAL_KEYS = ("wit_key_type", "wit_issuer")
_DATASTORE_KEYS = ("ro_connection_string", "log_sql")
_SINKS = ("Prometheus", "DogStatsd", "Statsd", "M3", "InMem")


def check_server_keys(server: LoggingKeys, experimental: Experimental, reader: Reader) -> None:
    """Tell which keys of the block `server` have no function."""
    _warn(server, (*_SERVER_KEYS, "profiling_enabled"), reader, "server")
    _warn(experimental, _SERVER_EXPERIMENTAL_KEYS, reader, "server", "experimental")
    if getattr(experimental, "auth_opa_policy_engine", None):
        reader.fault(
            "experimental.auth_opa_policy_engine is not available in this release, which would "
            "go by the built-in policy instead",
            *("server", "experimental", "auth_opa_policy_engine"),
        )
    _refuse_pq_kem(experimental, reader, "server")


def check_agent_keys(agent: AgentSection, reader: Reader) -> None:
    """Tell which keys of the block `agent` have no function."""
    _warn(agent, ("authorized_delegates", "profiling_enabled"), reader, "agent")
    _warn(agent.experimental, ("broker",), reader, "agent", "experimental")
    _refuse_pq_kem(agent.experimental, reader, "agent")


def check_telemetry(telemetry: Telemetry, reader: Reader) -> None:
    """Tell which sinks would be fed by nobody."""
    _warn(telemetry, _SINKS, reader, "telemetry")


def check_datastore_keys(datastore: DatastoreConfig, reader: Reader) -> None:
    """Tell which keys of the datastore have no function; to be called right after reading it."""
    _warn(datastore, _DATASTORE_KEYS, reader)


def _refuse_pq_kem(experimental: Experimental, reader: Reader, section: str) -> None:
    if experimental.require_pq_kem:
        reader.fault(
            "experimental.require_pq_kem is not available in this release, which would accept "
            "key exchanges of the older kind",
            *(section, "experimental", "require_pq_kem"),
        )


def _warn(section: Section, keys: tuple[str, ...], reader: Reader, *path: str) -> None:
    for key in keys:
        if getattr(section, key):
            name = ".".join((*path[1:], key)) if path[:1] != ("telemetry",) else f"telemetry.{key}"
            reader.warn(f"{name} has no function in this release", *path, key)
