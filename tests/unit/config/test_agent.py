from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spire_py.config.agent import AgentConfig, load_agent_config, read_agent_config
from spire_py.config.hcl import parse
from spire_py.config.problems import ConfigProblems
from spire_py.config.shared import EXPERIMENTAL_NOTICE
from spire_py.errors import FailedPrecondition
from spire_py.plugin_api.key_manager import KeyType

from . import printed

PLUGINS = """
plugins {
  KeyManager "memory" {}
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data {} }
}
"""
NOWHERE = Path("/nonexistent")


def read(
    agent: str = "", *, bundle: str = 'trust_bundle_path = "b.pem"', **options: Any
) -> AgentConfig:
    """An agent whose required keys are given on line 1, and `agent` from line 2 on."""
    text = (
        'agent { trust_domain = "example.org" server_address = "s" server_port = "8081" '
        f"{bundle}\n{agent}\n}}\n"
    )
    return read_agent_config(parse(text + PLUGINS), **{"mounted_bundles": NOWHERE, **options})


def problems(agent: str = "", **options: Any) -> list[str]:
    with pytest.raises(ConfigProblems) as error:
        read(agent, **options)
    return [str(problem) for problem in error.value.problems]


def test_defaults_are_those_of_spire() -> None:
    config = read()
    agent = config.agent
    assert (agent.server_address, agent.server_port, agent.data_dir) == ("s", 8081, ".")
    assert agent.socket_path == "/tmp/spire-agent/public/api.sock"
    assert (agent.admin_socket_path, agent.trust_bundle_format) == ("", "pem")
    assert (agent.insecure_bootstrap, agent.rebootstrap_mode) == (False, "never")
    assert agent.rebootstrap_delay == timedelta(minutes=10)
    assert agent.workload_keys == KeyType.EC_P256
    assert agent.availability_target is None
    assert (agent.x509_svid_cache_max_size, agent.jwt_svid_cache_max_size) == (1000, 1000)
    assert agent.sds.default_svid_name == "default"
    assert agent.sds.default_bundle_name == "ROOTCA"
    assert agent.sds.default_all_bundles_name == "ALL"
    assert agent.sds.disable_spiffe_cert_validation is False
    assert agent.experimental.sync_interval == timedelta(seconds=5)
    assert agent.experimental.ratelimit.fetch_x509_svid == 0
    assert agent.experimental.broker is None
    assert config.warnings == ()


def test_every_key_is_kept() -> None:
    config = read(
        """
  data_dir = "/d" socket_path = "/run/public/api.sock" admin_socket_path = "/run/admin/api.sock"
  trust_bundle_format = "spiffe" rebootstrap_mode = "always" rebootstrap_delay = "1m"
  join_token = "hunter2" workload_x509_svid_key_type = "RSA-2048" availability_target = "48h"
  x509_svid_cache_max_size = 5 jwt_svid_cache_max_size = 6
  authorized_delegates = ["spiffe://example.org/cilium"]
  allow_unauthenticated_verifiers = true allowed_foreign_jwt_claims = ["a"]
  sds { default_svid_name = "d" default_bundle_name = "null" default_all_bundles_name = "ROOTCA"
    disable_spiffe_cert_validation = true }
  disable_workload_api = false disable_sds_api = true log_selectors = ["x"] log_level = "TRACE"
  profiling_enabled = true profiling_port = 1 profiling_freq = 2 profiling_names = ["heap"]
  experimental {
    sync_interval = "1s" use_sync_authorized_entries = true jwt_svid_cache_hit_timeout = "6s"
    feature_flags = ["wit-svid"] socket_aliases = ["socket", "api.sock"]
    ratelimit { fetch_x509_svid = 1 fetch_jwt_svid = 2 fetch_x509_bundles = 3
      fetch_jwt_bundles = 4 stream_secrets = 5 fetch_secrets = 6 }
    broker { socket_path = "/run/broker/api.sock" bind_address = "0.0.0.0:1"
      brokers = [{ id = "spiffe://other.org/b"
        allowed_reference_types = [{ type_url = "t" allow_over_tcp = true }] }] }
  }
"""
    )
    agent = config.agent
    assert (agent.trust_bundle_format, agent.rebootstrap_mode) == ("spiffe", "always")
    assert agent.read_join_token() == "hunter2"
    assert "hunter2" not in repr(config)
    assert agent.workload_keys == KeyType.RSA_2048
    assert agent.availability_target == timedelta(hours=48)
    assert (agent.sds.default_bundle_name, agent.sds.default_all_bundles_name) == ("null", "ROOTCA")
    assert agent.experimental.use_sync_authorized_entries is True
    assert agent.experimental.ratelimit.fetch_secrets == 6
    assert agent.experimental.socket_aliases == ("socket", "api.sock")
    assert agent.experimental.broker is not None
    assert agent.experimental.broker.brokers[0].allowed_reference_types[0].allow_over_tcp is True
    assert [str(warning) for warning in config.warnings] == [
        "The use of 'jwt_svid_cache_hit_timeout' is experimental (line 14)",
        (
            "The 'use_sync_authorized_entries' configuration is deprecated. "
            "The option to disable it will be removed in SPIRE 1.13. (line 14)"
        ),
        f"{EXPERIMENTAL_NOTICE} (line 13)",
        'Developer feature flag "wit-svid" has been enabled (line 15)',
        "authorized_delegates has no function in this release (line 7)",
        "profiling_enabled has no function in this release (line 12)",
        "experimental.broker has no function in this release (line 18)",
    ]


def test_a_weaker_key_exchange_than_asked_for_is_refused() -> None:
    assert problems("experimental { require_pq_kem = true }") == [
        (
            "experimental.require_pq_kem is not available in this release, which would accept key "
            "exchanges of the older kind (line 2)"
        )
    ]


@pytest.mark.parametrize("alias", ["", ".", "..", "a/b", "a\\nb", "x" * 200])
def test_an_alias_is_the_name_of_a_file_beside_the_socket(alias: str) -> None:
    (problem,) = problems(f'experimental {{ socket_aliases = ["{alias}"] }}')
    assert problem.startswith("experimental.socket_aliases: ")
    assert problem.endswith(" (line 2)")


@pytest.mark.parametrize(
    ("agent", "problem"),
    [
        pytest.param(
            'socket_pth = "x"',
            'unknown configuration detected: "socket_pth" in agent; '
            'did you mean "socket_path"? (line 2)',
            id="unknown key",
        ),
        pytest.param(
            'join_token = "a"\njoin_token_file = "b"',
            "only one of join_token or join_token_file can be specified, not both (line 3)",
            id="two tokens",
        ),
        pytest.param(
            'trust_bundle_format = "der"',
            'invalid value for trust_bundle_format, expected "pem" or "spiffe" (line 2)',
            id="bundle format",
        ),
        pytest.param(
            'rebootstrap_mode = "maybe"',
            "unknown rebootstrap mode specified: maybe (line 2)",
            id="rebootstrap mode",
        ),
        pytest.param(
            'experimental { sync_interval = "-1s" }',
            "experimental: sync_interval: expected a duration longer than 0 (line 2)",
            id="sync without pause",
        ),
        pytest.param(
            'rebootstrap_delay = "-1s"',
            "agent: rebootstrap_delay: expected a duration longer than 0 (line 2)",
            id="negative rebootstrap delay",
        ),
        pytest.param(
            'rebootstrap_delay = "x"',
            'error parsing rebootstrap delay duration: time: invalid duration "x" (line 2)',
            id="rebootstrap delay",
        ),
        pytest.param(
            'workload_x509_svid_key_type = "rsa-4096"',
            'key type "rsa-4096" is unknown; must be one of [rsa-2048, ec-p256, ec-p384] (line 2)',
            id="workload key type",
        ),
        pytest.param(
            'availability_target = "1h"',
            "availability_target must be at least 24h0m0s (line 2)",
            id="availability target",
        ),
        pytest.param(
            "x509_svid_cache_max_size = -1",
            "x509_svid_cache_max_size should not be negative (line 2)",
            id="X.509 cache",
        ),
        pytest.param(
            "jwt_svid_cache_max_size = -1",
            "jwt_svid_cache_max_size should not be negative (line 2)",
            id="JWT cache",
        ),
        pytest.param(
            'admin_socket_path = "/tmp/spire-agent/public/admin/x.sock"',
            "admin socket cannot be in the same directory or a subdirectory as that containing "
            "the Workload API socket (line 2)",
            id="admin socket",
        ),
        pytest.param(
            'admin_socket_path = "/tmp/spire-agent/other/../public/x.sock"',
            "admin socket cannot be in the same directory or a subdirectory as that containing "
            "the Workload API socket (line 2)",
            id="admin socket by detour",
        ),
        pytest.param(
            'experimental { broker { socket_path = "/tmp/spire-agent/public/b.sock" } }',
            "broker socket cannot be in the same directory or a subdirectory as that containing "
            "the Workload API socket (line 2)",
            id="broker socket",
        ),
        pytest.param(
            'authorized_delegates = ["spiffe://other.org/x"]',
            'error validating authorized delegate: "spiffe://other.org/x" is not a member of trust '
            'domain "example.org" (line 2)',
            id="foreign delegate",
        ),
        pytest.param(
            'authorized_delegates = ["x"]',
            "error validating authorized delegate: scheme is missing or invalid (line 2)",
            id="delegate is no ID",
        ),
        pytest.param(
            'experimental { jwt_svid_cache_hit_timeout = "4s" }',
            "jwt_svid_cache_hit_timeout (4s) must be greater than 5s (line 2)",
            id="short JWT wait",
        ),
        pytest.param(
            'experimental { jwt_svid_cache_hit_timeout = "30s" }',
            "jwt_svid_cache_hit_timeout (30s) must be less than 30s (line 2)",
            id="long JWT wait",
        ),
        pytest.param(
            "experimental { ratelimit { fetch_secrets = -1 } }",
            "experimental.ratelimit.fetch_secrets must not be negative (line 2)",
            id="negative rate",
        ),
        pytest.param(
            "experimental { ratelimit { fetch_secret = 1 } }",
            'unknown configuration detected: "fetch_secret" in ratelimit; '
            'did you mean "fetch_secrets"? (line 2)',
            id="unknown rate",
        ),
        pytest.param(
            'experimental { admin_named_pipe_name = "x" }',
            "invalid configuration: admin_named_pipe_name is not supported in this platform; "
            "please use admin_socket_path instead (line 2)",
            id="named pipe",
        ),
        pytest.param(
            "experimental { broker {} }",
            "experimental.broker requires socket_path, bind_address, or both (line 2)",
            id="broker without address",
        ),
        pytest.param(
            'experimental { broker { bind_address = "x" brokers = [{ id = "" }] } }',
            "experimental.broker.brokers[0].id: must be specified (line 2)",
            id="broker without ID",
        ),
        pytest.param(
            'experimental { broker { bind_address = "x" brokers = [\n'
            '{ id = "spiffe://a/b" allowed_reference_types = [{type_url="*"}] },\n'
            '{ id = "spiffe://a/b" allowed_reference_types = [{type_url="*"}] }] } }',
            "experimental.broker.brokers[spiffe://a/b].id: duplicate broker id (line 4)",
            id="broker twice",
        ),
        pytest.param(
            'experimental { broker { bind_address = "x" brokers = [{ id = "spiffe://a/b" }] } }',
            "experimental.broker.brokers[spiffe://a/b].allowed_reference_types: "
            "must list at least one reference type URL (line 2)",
            id="broker without types",
        ),
        pytest.param(
            'experimental { broker { bind_address = "x" brokers = [{ id = "spiffe://a/b"\n'
            'allowed_reference_types = [{ type_url = "*" }, { type_url = "t" }] }] } }',
            "experimental.broker.brokers[spiffe://a/b].allowed_reference_types: "
            'wildcard "*" must be the only allowed reference type (line 2)',
            id="broker wildcard",
        ),
    ],
)
def test_fault_is_told_with_its_line(agent: str, problem: str) -> None:
    assert problem in problems(agent)


@pytest.mark.parametrize(
    ("bundle", "problem"),
    [
        pytest.param(
            'insecure_bootstrap = true trust_bundle_path = "p"',
            "only one of insecure_bootstrap or trust_bundle_path can be specified, not both",
            id="insecure and path",
        ),
        pytest.param(
            'insecure_bootstrap = true trust_bundle_url = "https://u"',
            "only one of insecure_bootstrap or trust_bundle_url can be specified, not both",
            id="insecure and URL",
        ),
        pytest.param(
            'trust_bundle_path = "p" trust_bundle_url = "https://u"',
            "only one of trust_bundle_url or trust_bundle_path can be specified, not both",
            id="path and URL",
        ),
        pytest.param(
            'trust_bundle_path = "p" trust_bundle_spiffe_workload_api = "unix:///s"',
            "only one of trust_bundle_path or trust_bundle_spiffe_workload_api can be specified, "
            "not both",
            id="path and Workload API",
        ),
        pytest.param(
            'insecure_bootstrap = true trust_bundle_path = "p" trust_bundle_url = "https://u"',
            "only one of insecure_bootstrap, trust_bundle_url, or trust_bundle_path can be "
            "specified, not the three options",
            id="three",
        ),
        pytest.param(
            'trust_bundle_url = "http://u"',
            "trust bundle URL must start with https://",
            id="URL without TLS",
        ),
        pytest.param(
            'trust_bundle_url = "https://u" trust_bundle_unix_socket = "s"',
            "trust bundle URL must start with http:// when used with trust bundle unix socket",
            id="socket and https",
        ),
        pytest.param(
            'trust_bundle_url = "http://u?spire-x=1" trust_bundle_unix_socket = "s"',
            "trust_bundle_url query params can not start with spire-",
            id="query",
        ),
        pytest.param(
            'trust_bundle_path = "p" trust_bundle_unix_socket = "s"',
            "if trust_bundle_unix_socket is specified, so must be trust_bundle_url",
            id="socket without URL",
        ),
        pytest.param(
            'trust_bundle_spiffe_workload_api = "/x"',
            "trust_bundle_spiffe_workload_api is not a valid SPIFFE Workload API endpoint address: "
            'workload endpoint socket URI must have a "tcp" or "unix" scheme',
            id="Workload API without scheme",
        ),
        pytest.param(
            'insecure_bootstrap = true rebootstrap_mode = "auto"',
            "insecure_bootstrap option can not be used with rebootstrapping",
            id="insecure and rebootstrap",
        ),
        pytest.param(
            "",
            "trust_bundle_path, trust_bundle_url, or trust_bundle_spiffe_workload_api must be "
            "configured unless insecure_bootstrap is set; nor is there "
            "/nonexistent/bundle.crt or /nonexistent/bundle.spiffe",
            id="none",
        ),
    ],
)
def test_exactly_one_bootstrap_source_is_needed(bundle: str, problem: str) -> None:
    assert f"{problem} (line 1)" in problems(bundle=bundle)


@pytest.mark.parametrize(
    ("name", "bundle_format"), [("bundle.crt", "pem"), ("bundle.spiffe", "spiffe")]
)
def test_mounted_bundle_is_taken_where_none_is_configured(
    tmp_path: Path, name: str, bundle_format: str
) -> None:
    (tmp_path / name).write_text("")
    config = read(bundle="", mounted_bundles=tmp_path)
    assert config.agent.trust_bundle_path == str(tmp_path / name)
    assert config.agent.trust_bundle_format == bundle_format
    assert [str(warning) for warning in config.warnings] == [
        (
            f"no trust bundle is configured; using {tmp_path / name}; please set "
            f'trust_bundle_path = "{tmp_path / name}" and '
            f'trust_bundle_format = "{bundle_format}" (line 1)'
        )
    ]


def test_mounted_bundle_is_not_taken_where_one_is_configured(tmp_path: Path) -> None:
    (tmp_path / "bundle.crt").write_text("")
    config = read(mounted_bundles=tmp_path)
    assert config.agent.trust_bundle_path == "b.pem"
    assert config.warnings == ()


def test_admin_socket_may_lie_anywhere_without_a_public_one() -> None:
    config = read(
        "disable_workload_api = true disable_sds_api = true "
        'admin_socket_path = "/tmp/spire-agent/public/admin.sock"'
    )
    assert config.agent.admin_socket_path


def test_same_bundle_names_are_warned_of() -> None:
    config = read('sds { default_bundle_name = "ALL" }')
    assert config.warnings[0].message.startswith(
        'The "default_bundle_name" and "default_all_bundles_name" configurables have the same value'
    )


def test_flags_win_over_the_file() -> None:
    config = read(
        'socket_path = "/a"',
        overrides={
            "joinToken": "t",
            "trustBundle": "other.pem",
            "serverPort": "9",
            "disableSDSAPI": "true",
            "disableWorkloadAPI": "false",
        },
    )
    agent = config.agent
    assert (agent.join_token, agent.trust_bundle_path, agent.server_port) == ("t", "other.pem", 9)
    assert (agent.disable_sds_api, agent.disable_workload_api) == (True, False)


def test_empty_file_tells_all_that_is_missing() -> None:
    with pytest.raises(ConfigProblems) as error:
        read_agent_config(parse(""), mounted_bundles=NOWHERE)
    assert {str(problem) for problem in error.value.problems} >= {
        "trust_domain must be configured",
        "server_address must be configured",
        "server_port must be configured",
        "plugins section must be configured",
    }


def test_join_token_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    agent = read(f'join_token_file = "{file}"').agent
    with pytest.raises(FailedPrecondition, match="unable to read join token file"):
        agent.read_join_token()
    file.write_text("x" * 1025)
    with pytest.raises(FailedPrecondition, match="larger than 1024 bytes"):
        agent.read_join_token()
    file.write_text("  \n")
    with pytest.raises(FailedPrecondition, match="join token file is empty"):
        agent.read_join_token()
    file.write_text("  abc\n")
    assert agent.read_join_token() == "abc"


IGNORED = (
    '"svc_account_key_file" in agent is ignored: no SPIRE knows it; '
    "the agent proves itself by its node attestor"
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(
            "istio-agent",
            {
                '"bind_address" in Prometheus is an older name; please use "host"': 58,
                '"bind_port" in Prometheus is an older name; please use "port"': 59,
                "telemetry.Prometheus has no function in this release": 57,
            },
            id="istio",
        ),
        pytest.param(
            "deep-dive-agent",
            {
                IGNORED: 8,
                "no trust bundle is configured; using {mounted}/bundle.crt; please set "
                'trust_bundle_path = "{mounted}/bundle.crt" and trust_bundle_format = "pem"': 1,
            },
            id="deep dive",
        ),
    ],
)
class TestPrintedConfigs:
    @pytest.fixture(autouse=True)
    def mounted(self, tmp_path: Path) -> Path:
        (tmp_path / "bundle.crt").write_text("")
        return tmp_path

    def test_hcl_loads_with_just_these_warnings(
        self, name: str, expected: dict[str, int], mounted: Path
    ) -> None:
        config = load_agent_config(printed.CONFIGS / f"{name}.conf", mounted_bundles=mounted)
        assert {warning.message: warning.line for warning in config.warnings} == {
            message.format(mounted=mounted): line for message, line in expected.items()
        }

    @pytest.mark.parametrize("form", [printed.as_json, printed.as_chart_json])
    def test_json_is_the_same(
        self, name: str, expected: dict[str, int], form: Any, mounted: Path
    ) -> None:
        config = read_agent_config(parse(form(name)), mounted_bundles=mounted)
        original = read_agent_config(parse(printed.hcl(name)), mounted_bundles=mounted)
        assert {warning.message for warning in config.warnings} == {
            message.format(mounted=mounted) for message in expected
        }
        assert all(warning.line for warning in config.warnings)
        assert config.agent == original.agent
        assert config.telemetry == original.telemetry
        assert config.health_checks == original.health_checks
        assert {str(plugin) for plugin in config.plugins} == {
            str(plugin) for plugin in original.plugins
        }
