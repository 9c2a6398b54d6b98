"""The settings of the workload attestor `k8s` (features J1 to J9)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from spire_py.config.durations import parse_duration
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings

_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_SECURE_PORT = 10250
_NODE_NAME_ENV = "MY_NODE_NAME"
_POLL_ATTEMPTS = 60
_POLL_RETRY_INTERVAL = timedelta(milliseconds=500)
_RELOAD_INTERVAL = timedelta(minutes=1)
_KUBELET_KEYS = (
    "kubelet_read_only_port",
    "kubelet_secure_port",
    "kubelet_ca_path",
    "skip_kubelet_verification",
    "token_path",
    "certificate_path",
    "private_key_path",
    "use_anonymous_authentication",
    "node_name_env",
    "node_name",
    "reload_interval",
)


@dataclass(frozen=True, slots=True)
class KubeletSettings:
    """How to reach the kubelet of this node.

    Attributes:
        node_name: its name, which its certificate must have too; empty for 127.0.0.1, where any
            name will do.
        unset_variable: the variable of `node_name_env`, where it was to tell the name and does not.
        port: of its API.
        secure: TLS; else plain HTTP, on 127.0.0.1 only, and nothing below counts.
        authorities: PEM file of CA certificates for the kubelet's; None lets any pass.
        token: file of a bearer token; None for none.
        certificate: PEM file of a client certificate, with `private_key`; None for none.
        private_key: PEM file.
        reload_interval: how long what the files hold counts.
    """

    node_name: str = ""
    unset_variable: str = ""
    port: int = _SECURE_PORT
    secure: bool = True
    authorities: Path | None = Path(_SERVICE_ACCOUNT, "ca.crt")
    token: Path | None = Path(_SERVICE_ACCOUNT, "token")
    certificate: Path | None = None
    private_key: Path | None = None
    reload_interval: timedelta = _RELOAD_INTERVAL


@dataclass(frozen=True, slots=True)
class K8sSettings:
    """All settings. `kubelet` is None where the kubelet is not to be asked."""

    kubelet: KubeletSettings | None
    max_poll_attempts: int = _POLL_ATTEMPTS
    poll_retry_interval: timedelta = _POLL_RETRY_INTERVAL
    disable_container_selectors: bool = False
    enable_namespace_labels: bool = False
    use_new_container_locator: bool = True
    verbose_container_locator_logs: bool = False


def parse_settings(data: Mapping[str, Any], context: PluginContext) -> K8sSettings:
    """Read the plugin's data.

    Raises:
        InvalidArgument: something is wrong with it; the message names all of it.
    """
    settings = Settings(data, context)
    attempts = settings.integer("max_poll_attempts", 0)
    read = K8sSettings(
        kubelet=_kubelet(settings),
        max_poll_attempts=attempts if attempts > 0 else _POLL_ATTEMPTS,
        poll_retry_interval=_duration(
            settings, "poll_retry_interval", "poll retry interval", _POLL_RETRY_INTERVAL
        ),
        disable_container_selectors=settings.flag("disable_container_selectors"),
        enable_namespace_labels=settings.flag("enable_namespace_labels"),
        use_new_container_locator=settings.flag("use_new_container_locator", True),
        verbose_container_locator_logs=settings.flag("verbose_container_locator_logs"),
    )
    _check_disabled(settings, data)
    _check_unavailable(settings, context)
    settings.finish()
    return read


def _kubelet(settings: Settings) -> KubeletSettings | None:
    port, secure = _port(settings)
    authorities = Path(settings.text("kubelet_ca_path") or f"{_SERVICE_ACCOUNT}/ca.crt")
    token, certificate, private_key = _credentials(settings)
    skip = settings.flag("skip_kubelet_verification")
    node_name, unset_variable = _node_name(settings)
    reload_interval = _duration(settings, "reload_interval", "reload interval", _RELOAD_INTERVAL)
    if settings.flag("disable_kubelet_client"):
        return None
    return KubeletSettings(
        node_name=node_name,
        unset_variable=unset_variable,
        port=port,
        secure=secure,
        authorities=None if skip else authorities,
        token=token,
        certificate=certificate,
        private_key=private_key,
        reload_interval=reload_interval,
    )


def _port(settings: Settings) -> tuple[int, bool]:
    """The port, and whether it is the secure one. 0 and less count as unset."""
    read_only = settings.integer("kubelet_read_only_port", 0)
    secure = settings.integer("kubelet_secure_port", 0)
    if read_only > 0 and secure > 0:
        settings.fault("cannot use both the read-only and secure port")
    port = read_only if read_only > 0 else secure if secure > 0 else _SECURE_PORT
    if port > 65535:
        settings.fault(f"{port} is no port of the kubelet")
    return port, read_only <= 0


def _credentials(settings: Settings) -> tuple[Path | None, Path | None, Path | None]:
    """The files of the token, or of the certificate and its key."""
    token = settings.text("token_path") or f"{_SERVICE_ACCOUNT}/token"
    certificate = settings.text("certificate_path")
    private_key = settings.text("private_key_path")
    if settings.flag("use_anonymous_authentication"):
        return None, None, None
    if certificate and private_key:
        return None, Path(certificate), Path(private_key)
    if certificate:
        settings.fault("the private key path is required with the certificate path")
    if private_key:
        settings.fault("the certificate path is required with the private key path")
    return Path(token), None, None


def _node_name(settings: Settings) -> tuple[str, str]:
    """The name, and the variable that the configuration names where that does not tell it.

    Without the default variable the kubelet may still be on 127.0.0.1.
    """
    name, variable = settings.text("node_name"), settings.text("node_name_env")
    name = name or os.environ.get(variable or _NODE_NAME_ENV, "")
    return name, "" if name else variable


def _duration(settings: Settings, key: str, what: str, default: timedelta) -> timedelta:
    """A duration; what is not above zero counts as unset."""
    text = settings.text(key)
    if not text:
        return default
    try:
        duration = parse_duration(text)
    except InvalidArgument as error:
        settings.fault(f"unable to parse {what}: {error.message}")
        return default
    return duration if duration > timedelta() else default


def _check_disabled(settings: Settings, data: Mapping[str, Any]) -> None:
    if settings.flag("disable_kubelet_client"):
        for key in _KUBELET_KEYS:
            if data.get(key):
                settings.fault(f"disable_kubelet_client cannot be used with {key}")


def _check_unavailable(settings: Settings, context: PluginContext) -> None:
    """What SPIRE has and this plugin does not: nobody should find out by what does not happen."""
    if settings.has("sigstore"):
        settings.fault(
            "sigstore is not available in this release, which would attest pods whose images "
            "nobody signed"
        )
    if settings.has("experimental"):
        context.warnings.append("experimental has no function in this release")
