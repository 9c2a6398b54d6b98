from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spire_py.config.hcl import parse
from spire_py.config.problems import ConfigProblems
from spire_py.config.server import (
    CASubject,
    load_server_config,
    read_server_config,
)
from spire_py.config.shared import EXPERIMENTAL_NOTICE
from spire_py.errors import InvalidArgument, NotFound
from spire_py.plugin_api.key_manager import KeyType
from spire_py.spiffe.id import SpiffeID, TrustDomain
from tests.unit.config.server_file import PLUGINS, problems, read

from . import printed


def test_defaults_are_those_of_spire() -> None:
    config = read()
    server = config.server
    assert server.trust_domain == TrustDomain("example.org")
    assert (server.bind_address, server.bind_port) == ("0.0.0.0", 8081)
    assert server.socket_path == "/tmp/spire-server/private/api.sock"
    assert (server.ca_keys, server.jwt_keys) == (KeyType.EC_P256, KeyType.EC_P256)
    assert server.ca_ttl == timedelta(hours=24)
    assert server.effective_ca_subject == CASubject(country=("US",), organization=("SPIFFE",))
    assert server.default_x509_svid_ttl == timedelta(hours=1)
    assert server.default_jwt_svid_ttl == timedelta(minutes=5)
    assert server.agent_ttl is None
    assert (server.log_level, server.log_format, server.log_file) == ("INFO", "", "")
    assert server.max_attested_node_info_staleness == timedelta(0)
    assert server.prune_attested_nodes_expired_for is None
    assert server.prune_attested_nodes_batch_size == 1000
    assert server.ratelimit.attestation is True
    assert server.ratelimit.signing is True
    assert server.experimental.cache_reload_interval == timedelta(seconds=5)
    assert server.experimental.full_cache_reload_interval == timedelta(hours=24)
    assert server.experimental.prune_events_older_than == timedelta(hours=12)
    assert server.experimental.effective_event_timeout == timedelta(minutes=15)
    assert (config.health_checks.host, config.health_checks.port) == ("localhost", 80)
    assert (config.health_checks.live_path, config.health_checks.ready_path) == ("/live", "/ready")
    assert config.health_checks.listener_enabled is False
    assert (config.telemetry.EnableHostnameLabel, config.telemetry.Prometheus) == (True, None)
    assert (config.datastore.max_open_conns, config.datastore.max_idle_conns) == (100, 100)
    assert config.warnings == ()


EVERY_KEY = """
  bind_address = "[::1]"
  bind_port = "9081"
  socket_path = "/run/api.sock"
  ca_key_type = "RSA-2048"
  jwt_key_type = "ec-p384"
  ca_ttl = "168h"
  ca_subject { country = ["DE"] organization = ["ACME"] common_name = "CA" }
  default_x509_svid_ttl = "2h"
  default_jwt_svid_ttl = "10m"
  agent_ttl = "3h"
  jwt_issuer = "https://issuer"
  disable_jwt_svids = true
  admin_ids = ["spiffe://example.org/admin", "spiffe://other.org/admin"]
  audit_log_enabled = true
  log_file = "/var/log/x" log_level = "debug" log_format = "JSON" log_source_location = true
  profiling_enabled = true profiling_port = 6060 profiling_freq = 5 profiling_names = ["heap"]
  prune_attested_nodes_expired_for = "720h"
  prune_attested_nodes_batch_size = 10
  prune_tofu_nodes = true
  max_attested_node_info_staleness = "10s"
  ratelimit { attestation = false signing = false }
  proxy_protocol_trusted_cidrs = ["10.0.0.0/8", "fd00::/8"]
  federation {
    bundle_endpoint { address = "1.2.3.4" port = 8443 refresh_hint = "10m"
      profile "https_web" { serving_cert_file { cert_file_path = "c" key_file_path = "k" } } }
    federates_with "a.org" { bundle_endpoint_url = "https://a.org"
      bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "spiffe://a.org/s" } }
    federates_with "b.org" { bundle_endpoint_url = "https://b.org"
      bundle_endpoint_profile "https_web" {} }
  }
  experimental {
    cache_reload_interval = "1s" events_based_cache = true full_cache_reload_interval = "2h"
    prune_events_older_than = "3h" event_timeout = "4m" agent_spiffe_id_as_selector = true
    wit_key_type = "ec-p384" wit_issuer = "w" feature_flags = ["wit-svid"]
  }
"""


def test_every_key_is_kept() -> None:
    config = read(
        EVERY_KEY,
        """telemetry {
  Prometheus { host = "h" port = 9988 tls { use_spire_svid = true authorized_spiffe_ids = ["a"] } }
  DogStatsd = [{ address = "a:1" }, { address = "b:2" }]
  Statsd = [{ address = "c:3" }]
  M3 = [{ address = "d:4" env = "prod" }]
  InMem {}
  MetricPrefix = "p" EnableTrustDomainLabel = true EnableHostnameLabel = false
  AllowedPrefixes = ["a.b"] BlockedPrefixes = ["c"] AllowedLabels = ["d"] BlockedLabels = ["e"]
}
health_checks { listener_enabled = true bind_address = "0.0.0.0" bind_port = 8080
  live_path = "/l" ready_path = "/r" }
""",
    )
    server, telemetry = config.server, config.telemetry
    assert (server.host, server.bind_port, server.socket_path) == ("::1", 9081, "/run/api.sock")
    assert (server.ca_keys, server.jwt_keys) == (KeyType.RSA_2048, KeyType.EC_P384)
    assert server.ca_subject == CASubject(country=("DE",), organization=("ACME",), common_name="CA")
    assert server.agent_ttl == timedelta(hours=3)
    assert server.admin_ids == (
        SpiffeID.parse("spiffe://example.org/admin"),
        SpiffeID.parse("spiffe://other.org/admin"),
    )
    assert server.log_format == "json"
    assert server.profiling_names == ("heap",)
    assert server.prune_attested_nodes_expired_for == timedelta(days=30)
    assert server.ratelimit.signing is False
    federation = server.federation
    assert federation is not None
    assert federation.bundle_endpoint is not None
    assert federation.bundle_endpoint.refresh_hint == timedelta(minutes=10)
    assert federation.bundle_endpoint.profile is not None
    web = federation.bundle_endpoint.profile.https_web
    assert web is not None
    assert web.serving_cert_file is not None
    assert web.serving_cert_file.file_sync_interval == timedelta(hours=1)
    profile = federation.federates_with["a.org"].bundle_endpoint_profile
    assert profile is not None
    assert profile.https_spiffe is not None
    assert str(profile.https_spiffe.endpoint_spiffe_id) == "spiffe://a.org/s"
    assert set(federation.federates_with) == {"a.org", "b.org"}
    assert server.experimental.effective_event_timeout == timedelta(minutes=4)
    assert telemetry.Prometheus is not None
    assert telemetry.Prometheus.tls is not None
    assert telemetry.Prometheus.tls.authorized_spiffe_ids == ("a",)
    assert [sink.address for sink in telemetry.DogStatsd] == ["a:1", "b:2"]
    assert (telemetry.M3[0].env, telemetry.InMem is not None) == ("prod", True)
    assert config.health_checks.port == 8080
    assert [warning.message for warning in config.warnings] == [
        EXPERIMENTAL_NOTICE,
        'Developer feature flag "wit-svid" has been enabled',
        *(
            f"{key} has no function in this release"
            for key in (
                "audit_log_enabled",
                "proxy_protocol_trusted_cidrs",
                "federation",
                "profiling_enabled",
                "experimental.wit_key_type",
                "experimental.wit_issuer",
                "telemetry.Prometheus",
                "telemetry.DogStatsd",
                "telemetry.Statsd",
                "telemetry.M3",
                "telemetry.InMem",
            )
        ),
    ]


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        pytest.param(
            'auth_opa_policy_engine { local { rego_path = "r" policy_data_path = "p" } }',
            "experimental.auth_opa_policy_engine is not available in this release, which would go "
            "by the built-in policy instead (line 2)",
            id="policy",
        ),
        pytest.param(
            "require_pq_kem = true",
            "experimental.require_pq_kem is not available in this release, which would accept key "
            "exchanges of the older kind (line 2)",
            id="key exchange",
        ),
    ],
)
def test_what_would_be_less_safe_than_asked_for_is_refused(keys: str, problem: str) -> None:
    assert problems(f"experimental {{ {keys} }}") == [problem]


def test_keys_of_the_datastore_without_a_function_are_told() -> None:
    plugins = PLUGINS.replace('"x.db"', '"x.db" log_sql = true\nro_connection_string = "hunter2"')
    assert [str(warning) for warning in read(plugins=plugins).warnings] == [
        "ro_connection_string has no function in this release (line 7)",
        "log_sql has no function in this release (line 6)",
    ]


def test_empty_texts_and_zeros_count_as_not_given() -> None:
    server = read('log_level = "" bind_port = 0 ca_ttl = "0s" socket_path = ""').server
    assert (server.log_level, server.bind_port) == ("INFO", 8081)
    assert server.ca_ttl == timedelta(hours=24)
    assert server.socket_path == "/tmp/spire-server/private/api.sock"


def test_the_configuration_cannot_be_changed() -> None:
    config = read()
    with pytest.raises(ValueError, match="frozen"):
        config.server.bind_port = 1  # type: ignore[misc]


def test_secrets_are_not_shown() -> None:
    config = read(
        plugins="""plugins {
          DataStore "sql" { plugin_data {
            database_type = "postgres" connection_string = "password=hunter2" } }
          KeyManager "disk" { plugin_data { keys_path = "hunter2" } } }"""
    )
    assert "hunter2" not in repr(config)
    assert config.datastore.connection_string == "password=hunter2"


def test_flags_win_over_the_file() -> None:
    config = read(
        'bind_port = 1 log_level = "DEBUG" log_file = "f"',
        overrides={
            "serverPort": "9000",
            "bindAddress": "127.0.0.1",
            "trustDomain": "other.org",
            "logLevel": "",
            "logSourceLocation": "true",
            "data_dir": "/elsewhere",
        },
    )
    server = config.server
    assert (server.bind_address, server.bind_port) == ("127.0.0.1", 9000)
    assert (str(server.trust_domain), server.data_dir) == ("other.org", "/elsewhere")
    assert (server.log_level, server.log_file, server.log_source_location) == ("DEBUG", "f", True)


def test_flags_alone_make_a_server_section() -> None:
    config = read_server_config(
        parse(PLUGINS), overrides={"trustDomain": "example.org", "dataDir": "/d"}
    )
    assert config.server.data_dir == "/d"


def test_fault_of_a_flag_has_no_line() -> None:
    with pytest.raises(ConfigProblems) as error:
        read(overrides={"serverPort": "x"})
    assert str(error.value) == "server: bind_port: expected a whole number, got a text"


def test_unknown_flag_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(InvalidArgument, match="no flag can set ca_ttl of server"):
        read(overrides={"ca_ttl": "1h"})


def test_missing_file_is_told_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    with pytest.raises(NotFound) as error:
        load_server_config(path)
    assert str(error.value) == f"could not find config file {path}: please use the -config flag"


def test_malformed_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_text("server {\n x\n}")
    with pytest.raises(InvalidArgument) as error:
        load_server_config(path)
    assert str(error.value) == (
        f'unable to decode configuration at "{path}": '
        "line 3: expected '{' or '=' after the key 'x', got '}'"
    )


def test_variables_are_expanded_on_demand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRE_TD", "env.org")
    path = tmp_path / "server.conf"
    path.write_text('server { trust_domain = "${SPIRE_TD}" data_dir = "$UNSET/d" }' + PLUGINS)
    assert str(load_server_config(path, expand_env=True).server.trust_domain) == "env.org"
    with pytest.raises(ConfigProblems, match="could not parse trust_domain"):
        load_server_config(path)


ISTIO_WARNINGS = {
    '"default_svid_ttl" in server is an older name; please use "default_x509_svid_ttl"': 11,
    'WorkloadAttestor "k8s" is ignored: it is a plugin of the agent and belongs into the '
    "agent's file": 32,
    'WorkloadAttestor "docker" is ignored: it is a plugin of the agent and belongs into the '
    "agent's file": 43,
    '"bind_address" in Prometheus is an older name; please use "host"': 97,
    '"bind_port" in Prometheus is an older name; please use "port"': 98,
    "telemetry.Prometheus has no function in this release": 96,
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("istio-server", ISTIO_WARNINGS, id="istio"),
        pytest.param("deep-dive-server", {}, id="deep dive"),
    ],
)
class TestPrintedConfigs:
    def test_hcl_loads_with_just_these_warnings(self, name: str, expected: dict[str, int]) -> None:
        config = read_server_config(parse(printed.hcl(name)))
        assert {warning.message: warning.line for warning in config.warnings} == expected

    @pytest.mark.parametrize("form", [printed.as_json, printed.as_chart_json])
    def test_json_is_the_same(self, name: str, expected: dict[str, int], form: Any) -> None:
        config = read_server_config(parse(form(name)))
        original = read_server_config(parse(printed.hcl(name)))
        assert {warning.message for warning in config.warnings} == set(expected)
        assert all(warning.line for warning in config.warnings)
        assert config.server == original.server
        assert config.datastore == original.datastore
        assert config.telemetry == original.telemetry
        assert config.health_checks == original.health_checks
        assert [str(plugin) for plugin in config.plugins] == [
            str(plugin) for plugin in original.plugins
        ]


def test_istio_server_is_understood() -> None:
    config = read_server_config(parse(printed.hcl("istio-server")))
    assert config.server.ca_subject.common_name == "SPIRE Server CA for Istio"
    assert config.server.default_x509_svid_ttl == timedelta(hours=1)
    assert config.telemetry.Prometheus is not None
    assert (config.telemetry.Prometheus.host, config.telemetry.Prometheus.port) == ("0.0.0.0", 9988)
    assert config.health_checks.port == 8080
    assert config.datastore.database_type == "postgres"
    assert [str(plugin) for plugin in config.plugins] == [
        'NodeAttestor "k8s_psat"',
        'KeyManager "disk"',
        'UpstreamAuthority "disk"',
        'Notifier "k8sbundle"',
    ]
    assert config.plugins[0].data == {
        "clusters": {
            "cluster.local": {
                "service_account_allow_list": ["spire-agent"],
                "audience": ["spire-server"],
            }
        }
    }
