"""The block `agent` (features C1 to C30), key by key; `agent.py` reads the whole file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from spire_py.config.reader import Section
from spire_py.config.shared import Experimental, LoggingKeys
from spire_py.config.values import (
    Flag,
    Text,
    TextList,
    TrustDomainName,
    Whole,
    duration,
)
from spire_py.errors import FailedPrecondition
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.id import TrustDomain

_MAX_TOKEN_BYTES = 1024


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
    socket_aliases: TextList = ()
    """Further names of the Workload API's socket, in its folder; a key of our own (feature U12)."""
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
                token = file.read(_MAX_TOKEN_BYTES + 1).decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "no text"
            raise FailedPrecondition(
                f'unable to read join token file "{self.join_token_file}": {reason}'
            ) from error
        if len(token) > _MAX_TOKEN_BYTES:
            raise FailedPrecondition(
                f'join token file "{self.join_token_file}" is larger than {_MAX_TOKEN_BYTES} bytes'
            )
        if not token.strip():
            raise FailedPrecondition("join token file is empty")
        return token.strip()
