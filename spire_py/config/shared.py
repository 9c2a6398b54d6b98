"""The blocks that the server's and the agent's file have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, InstanceOf

from spire_py.config.plugins import PluginConfig
from spire_py.config.problems import ConfigWarning
from spire_py.config.reader import Reader, Section
from spire_py.config.values import Flag, Text, TextList, Whole

LOG_LEVELS = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")
FEATURE_FLAGS = ("i_am_a_test_flag", "wit-svid")

EXPERIMENTAL_NOTICE = (
    "Experimental features have been enabled. Please see doc/upgrading.md for upgrade and "
    "compatibility considerations for experimental features."
)
"""SPIRE's sentence, which people look for in logs."""


def _log_level(value: str) -> str:
    if value.lower() not in LOG_LEVELS:
        raise ValueError(f'could not start logger: not a valid logrus Level: "{value}"')
    return value


def _log_format(value: str) -> str:
    if value.lower() not in ("", "text", "json"):
        raise ValueError(f'could not start logger: unknown logger format: "{value}"')
    return value.lower()


def _feature_flags(value: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(value) - set(FEATURE_FLAGS)):
        raise ValueError(
            f"error loading feature flags: unknown feature flag(s): [{' '.join(unknown)}]"
        )
    return value


class LoggingKeys(Section):
    """Logging and profiling (features A17, A19, C21, C22)."""

    log_file: Text = ""
    """Empty for standard output."""
    log_level: Annotated[Text, AfterValidator(_log_level)] = "INFO"
    log_format: Annotated[Text, AfterValidator(_log_format)] = ""
    """`text`, `json`, or empty for text whose times have no fraction."""
    log_source_location: Flag = False
    profiling_enabled: Flag = False
    profiling_port: Whole = 0
    profiling_freq: Whole = 0
    profiling_names: TextList = ()


class Experimental(Section):
    """What `experimental` has in both files; unknown keys in it are no fault (feature A25)."""

    section_name: ClassVar[str] = "experimental"
    refuses_unknown_keys: ClassVar[bool] = False

    require_pq_kem: Flag = False
    feature_flags: Annotated[TextList, AfterValidator(_feature_flags)] = ()
    named_pipe_name: Text = ""


class HealthChecks(Section):
    """The listener for live and ready (features B9, C31)."""

    section_name: ClassVar[str] = "health_checks"

    listener_enabled: Flag = False
    bind_address: Text = "localhost"
    bind_port: Text = "80"
    live_path: Text = "/live"
    ready_path: Text = "/ready"

    @property
    def host(self) -> str:
        return self.bind_address.strip("[]")

    @property
    def port(self) -> int:
        """The port number; `check_shared` has made sure that there is one."""
        return int(self.bind_port)


class PrometheusTls(Section):
    """TLS of the Prometheus endpoint (feature D2)."""

    section_name: ClassVar[str] = "Prometheus.tls"
    refuses_unknown_keys: ClassVar[bool] = False

    cert_file: Text = ""
    key_file: Text = ""
    client_ca_file: Text = ""
    use_spire_svid: Flag = False
    authorized_spiffe_ids: TextList = ()


class PrometheusSink(Section):
    """The Prometheus endpoint (feature D1)."""

    section_name: ClassVar[str] = "Prometheus"
    older_names: ClassVar[Mapping[str, str]] = {"bind_address": "host", "bind_port": "port"}

    host: Text = "localhost"
    port: Whole = 0
    tls: PrometheusTls | None = None


class DogStatsdSink(Section):
    """A DogStatsd sink (feature D3)."""

    section_name: ClassVar[str] = "DogStatsd"
    address: Text = ""


class StatsdSink(Section):
    """A Statsd sink (feature D4)."""

    section_name: ClassVar[str] = "Statsd"
    address: Text = ""


class M3Sink(Section):
    """An M3 sink (feature D5)."""

    section_name: ClassVar[str] = "M3"
    address: Text = ""
    env: Text = ""


class InMemSink(Section):
    """The in-memory sink (feature D6)."""

    section_name: ClassVar[str] = "InMem"


class Telemetry(Section):
    """Sinks, names and labels of the metrics (features D1 to D7)."""

    section_name: ClassVar[str] = "telemetry"
    refuses_unknown_keys: ClassVar[bool] = False

    Prometheus: PrometheusSink | None = None
    DogStatsd: tuple[DogStatsdSink, ...] = ()
    Statsd: tuple[StatsdSink, ...] = ()
    M3: tuple[M3Sink, ...] = ()
    InMem: InMemSink | None = None
    MetricPrefix: Text = ""
    EnableTrustDomainLabel: Flag = False
    EnableHostnameLabel: Flag = True
    AllowedPrefixes: TextList = ()
    BlockedPrefixes: TextList = ()
    AllowedLabels: TextList = ()
    BlockedLabels: TextList = ()


class FileSection(Section):
    """The top level of a daemon's file, as it stands there."""

    section_name: ClassVar[str] = "top-level"

    plugins: Any = None
    telemetry: Telemetry = Telemetry()
    health_checks: HealthChecks = HealthChecks()


class DaemonConfig(Section):
    """What the whole of a daemon's file comes to, checked."""

    plugins: tuple[InstanceOf[PluginConfig], ...] = ()
    """All but the datastore, disabled ones included."""
    telemetry: Telemetry = Telemetry()
    health_checks: HealthChecks = HealthChecks()
    warnings: tuple[InstanceOf[ConfigWarning], ...] = ()
    """What works and should be known: `run` logs it, `validate` prints it."""


def check_shared(health: HealthChecks, telemetry: Telemetry, reader: Reader) -> None:
    """Faults of `health_checks` and `telemetry` beyond the kinds of their values."""
    if not (health.bind_port.isascii() and health.bind_port.isdecimal()) or not (
        0 < int(health.bind_port[:10]) < 65536
    ):
        reader.fault(
            "health_checks: bind_port: expected a port between 1 and 65535",
            *("health_checks", "bind_port"),
        )
    for key in ("live_path", "ready_path"):
        if not getattr(health, key).startswith("/"):
            reader.fault(
                f'health_checks: {key}: expected a path that begins with "/"', "health_checks", key
            )
    if health.live_path == health.ready_path:
        reader.fault("health_checks: live_path and ready_path must differ", "health_checks")
    if telemetry.Prometheus:
        check_port(reader, telemetry.Prometheus.port, "telemetry", "Prometheus", "port")


def check_port(reader: Reader, port: int, *path: str) -> None:
    """A fault where `port` is none."""
    if not 0 < port < 65536:
        name = f"{path[-2]}: {path[-1]}"
        reader.fault(f"{name}: expected a port between 1 and 65535", *path)


def check_durations(reader: Reader, section: Section, *path: str) -> None:
    """A fault for each duration without which something would run or end at once."""
    for key in section.zero_means_default:
        value: timedelta | None = getattr(section, key)
        if value is not None and value <= timedelta(0):
            reader.fault(f"{path[-1]}: {key}: expected a duration longer than 0", *path, key)


def warn_of_experimental(experimental: Experimental, reader: Reader, section: str) -> None:
    """What SPIRE logs where anything experimental is on."""
    if experimental != type(experimental)():
        reader.warn(EXPERIMENTAL_NOTICE, section, "experimental")
    for flag in experimental.feature_flags:
        reader.warn(
            f'Developer feature flag "{flag}" has been enabled',
            *(section, "experimental", "feature_flags"),
        )
