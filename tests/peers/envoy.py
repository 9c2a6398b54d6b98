"""Configurations of Envoy that takes its certificates by SDS from the agent's socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

Config = dict[str, Any]

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SDS_CLUSTER = "spire_agent"


def sds(name: str, patience: str = "15s") -> Config:
    """A secret of that name, asked for over the agent's socket."""
    service = {"envoy_grpc": {"cluster_name": _SDS_CLUSTER}}
    source = {
        "resource_api_version": "V3",
        "initial_fetch_timeout": patience,
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [service],
        },
    }
    return {"name": name, "sds_config": source}


def common_tls(*, identity: str, authority: str, peer: str | None, patience: str = "15s") -> Config:
    """The part that both ends share.

    Args:
        identity: `default` or a SPIFFE ID.
        authority: `ROOTCA`, `ALL`, or a trust domain ID.
        peer: the only SPIFFE ID the other end may have, as Istio does it; None: any that the
            authority holds.
        patience: how long the start waits for each secret; `0s` is for ever, as in Istio.
    """
    context: Config = {"tls_certificate_sds_secret_configs": [sds(identity, patience)]}
    trusted = sds(authority, patience)
    if peer is None:
        context["validation_context_sds_secret_config"] = trusted
        return context
    wanted = [{"san_type": "URI", "matcher": {"exact": peer}}]
    context["combined_validation_context"] = {
        "default_validation_context": {"match_typed_subject_alt_names": wanted},
        "validation_context_sds_secret_config": trusted,
    }
    return context


def files_tls(*, chain: Path, key: Path, authority: Path) -> Config:
    """As `common_tls`, with certificates from PEM files: a proxy that knows no agent."""
    return {
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(chain)},
                "private_key": {"filename": str(key)},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": str(authority)}},
    }


_ABOUT_THE_CALLER = {
    "x-caller": "%DOWNSTREAM_PEER_URI_SAN%",
    "x-caller-serial": "%DOWNSTREAM_PEER_SERIAL%",
    "x-caller-issuer": "%DOWNSTREAM_PEER_ISSUER%",
}


def server(*, agent_socket: Path, tls: Config, metadata: Config | None = None) -> Config:
    """A proxy that wants mTLS and answers each request with what it saw of the caller.

    Args:
        agent_socket: where secrets come from.
        tls: what `common_tls` gives.
        metadata: of the node that it says it is.
    """
    listener = _listener("main", _answer(), _downstream(tls))
    return _bootstrap(agent_socket, _node("server", metadata), [listener], [])


def add_listener(config: Config, *, tls: Config) -> None:
    """A second listener, `other`, with secrets of its own."""
    listener = _listener("other", _answer(), _downstream(tls))
    config["static_resources"]["listeners"].append(listener)


def _answer() -> Config:
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "served"}},
        "response_headers_to_add": [
            {"header": {"key": key, "value": value}} for key, value in _ABOUT_THE_CALLER.items()
        ],
    }


def _downstream(tls: Config) -> Config:
    return {
        "name": "tls",
        "typed_config": {
            "@type": f"{_TLS}.DownstreamTlsContext",
            "common_tls_context": tls,
            "require_client_certificate": True,
        },
    }


def client(
    *,
    agent_socket: Path,
    tls: Config,
    upstream: tuple[str, int],
    metadata: Config | None = None,
    pause: str | None = None,
) -> Config:
    """A proxy that takes plain HTTP and forwards it by mTLS.

    Args:
        agent_socket: where secrets come from.
        tls: what `common_tls` gives.
        upstream: the other proxy.
        metadata: of the node that it says it is.
        pause: before each request, such as `0.05s`; each then gets a connection of its own.
    """
    socket = {
        "name": "tls",
        "typed_config": {"@type": f"{_TLS}.UpstreamTlsContext", "common_tls_context": tls},
    }
    host, port = upstream
    address = {"socket_address": {"address": host, "port_value": port}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": _endpoint("upstream", address),
        "transport_socket": socket,
    }
    if pause is not None:
        cluster["typed_extension_protocol_options"] = _protocol(
            explicit_http_config={"http_protocol_options": {}},
            common_http_protocol_options={"max_requests_per_connection": 1},
        )
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "upstream"},
        "response_headers_to_add": [
            {"header": {"key": "x-server", "value": "%UPSTREAM_PEER_URI_SAN%"}}
        ],
    }
    listener = _listener("main", route, None, pause)
    return _bootstrap(agent_socket, _node("client", metadata), [listener], [cluster])


def _protocol(**options: Config) -> Config:
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {name: {"@type": _OPTIONS, **options}}


def _node(name: str, metadata: Config | None) -> Config:
    return {"id": name, "cluster": "peers", "metadata": metadata or {}}


def _endpoint(name: str, address: Config) -> Config:
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }


def _pause(duration: str) -> Config:
    always = {"numerator": 100, "denominator": "HUNDRED"}
    delay = {"fixed_delay": duration, "percentage": always}
    return {
        "name": "envoy.filters.http.fault",
        "typed_config": {"@type": _FAULT, "delay": delay},
    }


def _listener(
    name: str, route: Config, transport_socket: Config | None, pause: str | None = None
) -> Config:
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}
    manager = {
        "@type": f"{_HTTP}.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [*([_pause(pause)] if pause else []), router],
    }
    chain: Config = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    if transport_socket is not None:
        chain["transport_socket"] = transport_socket
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [chain],
    }


def _bootstrap(
    agent_socket: Path, node: Config, listeners: list[Config], clusters: list[Config]
) -> Config:
    agent = {
        "name": _SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _endpoint(_SDS_CLUSTER, {"pipe": {"path": str(agent_socket)}}),
        "typed_extension_protocol_options": _protocol(
            explicit_http_config={"http2_protocol_options": {}}
        ),
    }
    return {
        "node": node,
        "static_resources": {"listeners": listeners, "clusters": [agent, *clusters]},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    }


def arguments(config: Config, folder: Path) -> list[str]:
    """Write the configuration; the flags that Envoy is started with."""
    folder.mkdir(parents=True)
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    return [
        *("--config-path", str(path), "--admin-address-path", str(folder / "admin")),
        *("--log-level", "info", "--concurrency", "1", "--disable-hot-restart"),
        # Tells of each secret that is taken or refused.
        *("--component-log-level", "config:debug"),
    ]


class Admin:
    """The admin page of one Envoy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, page: str) -> Any:
        """A page as JSON, or None as long as Envoy is not up."""
        try:
            address = (self._folder / "admin").read_text().strip()
            with urlopen(f"http://{address}/{page}", timeout=5) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError):
            return None

    def port(self) -> int | None:
        """The port of its listener, once the listener takes connections."""
        listeners = (self.read("listeners?format=json") or {}).get("listener_statuses", [])
        for listener in listeners:
            if listener["name"] == "main":
                return int(listener["local_address"]["socket_address"]["port_value"])
        return None

    def validation(self) -> Config:
        """The authorities it trusts, as they came from the agent."""
        configs = self.read("config_dump?resource=dynamic_active_secrets")["configs"]
        found = [config["secret"] for config in configs]
        context: Config = next(
            secret["validation_context"] for secret in found if "validation_context" in secret
        )
        return context

    def secrets(self) -> set[str]:
        """The names of the secrets it has."""
        configs = self.read("config_dump?resource=dynamic_active_secrets").get("configs", [])
        return {config["name"] for config in configs}

    def serials(self) -> set[str]:
        """The serial numbers of the leaves it shows, in hexadecimal."""
        certificates = self.read("certs")["certificates"]
        return {
            leaf["serial_number"].lower()
            for certificate in certificates
            for leaf in certificate["cert_chain"]
        }
