"""What SPIRE checks and warns of in the block `agent`, beyond the kinds of its values."""

from __future__ import annotations

import os.path
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from spire_py.config.agent_section import (
    AgentSection,
    AllowedReferenceType,
    BrokerEndpoint,
    WorkloadRateLimits,
)
from spire_py.config.durations import format_duration
from spire_py.config.reader import Reader
from spire_py.config.shared import check_durations, check_port, warn_of_experimental
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain

MAX_SOCKET_PATH_BYTES = 107
"""What fits into the kernel's `sun_path`, with the byte that ends it."""


def check_bootstrap(agent: AgentSection, reader: Reader) -> None:
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


def check_agent(agent: AgentSection, reader: Reader) -> None:
    """What else SPIRE checks of the block `agent`."""
    check_port(reader, agent.server_port, "agent", "server_port")
    check_durations(reader, agent, "agent")
    check_durations(reader, agent.experimental, "agent", "experimental")
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
    return os.path.abspath(socket).startswith(public.rstrip("/") + "/")  # noqa: PTH100 - as above


def _member_fault(text: str, trust_domain: TrustDomain) -> str:
    try:
        spiffe_id = SpiffeID.parse(text)
    except InvalidArgument as error:
        return str(error)
    if not spiffe_id.is_member_of(trust_domain):
        return f'"{text}" is not a member of trust domain "{trust_domain}"'
    return f'"{text}" is not a workload: path is empty' if spiffe_id.is_trust_domain else ""


def check_experimental(agent: AgentSection, reader: Reader) -> None:
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
    for alias in experimental.socket_aliases:
        if fault := _alias_fault(agent.socket_path, alias):
            reader.fault(
                f"experimental.socket_aliases: {alias!r} {fault}", *where, "socket_aliases"
            )
    if experimental.broker:
        _check_broker(experimental.broker, reader)


def _alias_fault(socket_path: str, alias: str) -> str:
    if alias in {"", ".", ".."} or "/" in alias or not alias.isprintable():
        return "is no name of a file beside the socket"
    path = os.path.join(os.path.dirname(socket_path), alias)  # noqa: PTH118, PTH120 - no links
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        return f"makes a path longer than the {MAX_SOCKET_PATH_BYTES} bytes of a socket's"
    return ""


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


def warn_of_agent(agent: AgentSection, reader: Reader) -> None:
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
