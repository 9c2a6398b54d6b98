"""The block `federation` of the server (features A24, M1 to M5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

from spire_py.config.reader import Reader, Section
from spire_py.config.values import Flag, Text, Whole, duration, spiffe_id
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain

_KNOWN_PROFILES = 'current supported profiles are "https_spiffe" and "https_web"'
_MINIMUM_REFRESH_HINT = timedelta(minutes=1)


class Acme(Section):
    """A certificate by ACME (feature M2)."""

    section_name: ClassVar[str] = "bundle endpoint ACME"

    directory_url: Text = "https://acme-v02.api.letsencrypt.org/directory"
    domain_name: Text = ""
    email: Text = ""
    tos_accepted: Flag = False


class ServingCertFile(Section):
    """A certificate in files (feature M3)."""

    section_name: ClassVar[str] = "serving_cert_file"
    refuses_unknown_keys: ClassVar[bool] = False

    cert_file_path: Text = ""
    key_file_path: Text = ""
    file_sync_interval: Annotated[timedelta, duration("file_sync_interval: {error}")] = timedelta(
        hours=1
    )


class HttpsWebServing(Section):
    """The bundle endpoint's profile `https_web`."""

    section_name: ClassVar[str] = "https_web"
    refuses_unknown_keys: ClassVar[bool] = False

    acme: Acme | None = None
    serving_cert_file: ServingCertFile | None = None


class Empty(Section):
    """A block that has no keys."""

    refuses_unknown_keys: ClassVar[bool] = False


class ServingProfile(Section):
    """How the bundle endpoint authenticates itself; exactly one is given."""

    section_name: ClassVar[str] = "bundle endpoint profile"
    refuses_unknown_keys: ClassVar[bool] = False

    https_spiffe: Empty | None = None
    https_web: HttpsWebServing | None = None


class BundleEndpoint(Section):
    """Where this server offers its bundle (feature M1)."""

    section_name: ClassVar[str] = "bundle endpoint"

    address: Text = "0.0.0.0"  # noqa: S104 - SPIRE's default
    port: Whole = 0
    refresh_hint: Annotated[
        timedelta, duration("could not parse refresh_hint {value}: {error}")
    ] = timedelta(minutes=5)
    acme: Acme | None = None
    profile: ServingProfile | None = None


class HttpsSpiffe(Section):
    """A foreign endpoint that shows an SVID."""

    section_name: ClassVar[str] = "https_spiffe"
    refuses_unknown_keys: ClassVar[bool] = False

    endpoint_spiffe_id: Annotated[
        SpiffeID | None, spiffe_id("could not get endpoint SPIFFE ID: {error}")
    ] = None


class EndpointProfile(Section):
    """How a foreign bundle endpoint is checked; exactly one is given."""

    section_name: ClassVar[str] = "bundle_endpoint_profile"
    refuses_unknown_keys: ClassVar[bool] = False

    https_spiffe: HttpsSpiffe | None = None
    https_web: Empty | None = None


class FederatesWith(Section):
    """A foreign trust domain (feature M5)."""

    section_name: ClassVar[str] = "federates_with"
    refuses_unknown_keys: ClassVar[bool] = False

    bundle_endpoint_url: Text = ""
    bundle_endpoint_profile: EndpointProfile | None = None


class Federation(Section):
    """The bundle endpoint and the foreign trust domains, by name."""

    section_name: ClassVar[str] = "federation"
    refuses_unknown_keys: ClassVar[bool] = False

    bundle_endpoint: BundleEndpoint | None = None
    federates_with: dict[str, FederatesWith] = {}  # noqa: RUF012 - pydantic copies it


def check_federation(federation: Federation, reader: Reader) -> None:
    """SPIRE's checks and sentences."""
    if federation.bundle_endpoint:
        _check_endpoint(federation.bundle_endpoint, reader)
    for name, relation in federation.federates_with.items():
        _check_relation(name, relation, reader)


_ENDPOINT = ("server", "federation", "bundle_endpoint")


def _check_endpoint(endpoint: BundleEndpoint, reader: Reader) -> None:
    if not 0 < endpoint.port < 65536:
        reader.fault("federation.bundle_endpoint.port must be configured", *_ENDPOINT)
    if endpoint.acme and endpoint.profile:
        reader.fault(
            "either bundle endpoint 'acme' or 'profile' can be set, but not both", *_ENDPOINT
        )
    if endpoint.acme:
        for key in ("domain_name", "email"):
            if not getattr(endpoint.acme, key):
                message = f"federation.bundle_endpoint.acme.{key} must be configured"
                reader.fault(message, *_ENDPOINT, "acme")
    if endpoint.profile and (fault := _profile_fault(endpoint.profile)):
        reader.fault(fault, *_ENDPOINT, "profile")


def _profile_fault(profile: ServingProfile) -> str:
    web = profile.https_web
    if web and profile.https_spiffe:
        return "exactly one bundle endpoint profile is expected"
    if not web and not profile.https_spiffe:
        return f"unknown bundle endpoint profile configured; {_KNOWN_PROFILES}"
    if web and not web.acme and not web.serving_cert_file:
        return (
            "malformed https_web profile configuration: 'acme' or 'serving_cert_file' is required"
        )
    return ""


def _check_relation(name: str, relation: FederatesWith, reader: Reader) -> None:
    path = ("server", "federation", "federates_with", name)
    where = f'federation.federates_with["{name}"]'
    try:
        TrustDomain.parse(name)
    except InvalidArgument as error:
        reader.fault(f"{where}: {error}", *path)
    url = relation.bundle_endpoint_url
    if not url:
        reader.fault(f"{where}.bundle_endpoint_url must be configured", *path)
    elif not url.lower().startswith("https://"):
        reader.fault(
            f'{where}.bundle_endpoint_url must use the HTTPS protocol; URL found: "{url}"',
            *(*path, "bundle_endpoint_url"),
        )
    if relation.bundle_endpoint_profile is None:
        reader.fault(
            f'federation configuration for trust domain "{name}": '
            "missing bundle endpoint configuration",
            *path,
        )
    elif fault := _relation_fault(relation.bundle_endpoint_profile):
        reader.fault(
            f'error parsing federation relationship for trust domain "{name}": {fault}', *path
        )


def _relation_fault(profile: EndpointProfile) -> str:
    if profile.https_web and profile.https_spiffe:
        return "exactly one bundle endpoint profile is expected"
    if profile.https_spiffe and profile.https_spiffe.endpoint_spiffe_id is None:
        return "could not get endpoint SPIFFE ID: cannot be empty"
    if not profile.https_web and not profile.https_spiffe:
        return f"no bundle endpoint profile defined; {_KNOWN_PROFILES}"
    return ""


def warn_of_federation(federation: Federation, reader: Reader) -> None:
    """What SPIRE warns of."""
    endpoint = federation.bundle_endpoint
    if endpoint is None:
        return
    if endpoint.acme:
        reader.warn(
            "ACME configuration within the bundle_endpoint is deprecated. Please use ACME "
            "configuration as part of the https_web profile instead.",
            *_ENDPOINT,
            deprecated=True,
        )
    elif endpoint.profile is None:
        reader.warn(
            "Bundle endpoint is configured but has no profile set, using https_spiffe as default; "
            "please configure a profile explicitly. This will be fatal in a future release.",
            *_ENDPOINT,
            deprecated=True,
        )
    if endpoint.refresh_hint >= timedelta(hours=24):
        reader.warn(
            "Bundle endpoint refresh hint set to a high value. To cover the case of unscheduled "
            "trust bundle updates, it's recommended to have a smaller value, e.g. 5m",
            *(*_ENDPOINT, "refresh_hint"),
        )
    if endpoint.refresh_hint < _MINIMUM_REFRESH_HINT:
        reader.warn(
            "Bundle endpoint refresh hint set too low. SPIRE will not refresh more often than "
            "1 minute",
            *(*_ENDPOINT, "refresh_hint"),
        )
