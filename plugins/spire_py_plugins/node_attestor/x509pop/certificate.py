"""What an agent's ID and selectors are made of: the facts of the node's certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any
from urllib.parse import unquote, urlsplit

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.subject import Subject
from spire_py_plugins.node_attestor.agent_path_template import BigInteger

PLUGIN_NAME = "x509pop"

_SUBJECT_NAMES = {
    "CommonName": "common_name",
    "Country": "country",
    "Locality": "locality",
    "Organization": "organization",
    "OrganizationalUnit": "organizational_unit",
    "PostalCode": "postal_code",
    "Province": "province",
    "SerialNumber": "serial_number",
    "StreetAddress": "street_address",
}

TEMPLATE_FIELDS = frozenset(
    {
        "DNSNames",
        "Fingerprint",
        "PluginName",
        "SVIDPathTrimmed",
        "SerialNumber",
        "SerialNumberHex",
        "TrustDomain",
        "URISanSelectors.*",
        *(f"Subject.{name}" for name in _SUBJECT_NAMES),
    }
)


def fingerprint(certificate: bytes) -> str:
    """The SHA-1 of a certificate's DER, in hex: a name, not a proof."""
    return hashlib.sha1(certificate, usedforsecurity=False).hexdigest()


def serial_number_hex(serial_number: int) -> str:
    """Lower-case hex, with an even number of digits."""
    text = f"{serial_number:x}"
    return text if len(text) % 2 == 0 else f"0{text}"


def template_data(
    leaf: CertificateFacts, *, trust_domain: str, svid_path: str, san: Mapping[str, str]
) -> dict[str, Any]:
    """The fields that `agent_path_template` may use."""
    return {
        "DNSNames": leaf.dns_names,
        "Fingerprint": fingerprint(leaf.der),
        "PluginName": PLUGIN_NAME,
        "SVIDPathTrimmed": svid_path,
        "SerialNumber": BigInteger(leaf.serial_number),
        "SerialNumberHex": serial_number_hex(leaf.serial_number),
        "Subject": _subject(leaf.subject),
        "TrustDomain": trust_domain,
        "URISanSelectors": dict(san),
    }


def _subject(subject: Subject) -> dict[str, Any]:
    values = {field.name: getattr(subject, field.name) for field in fields(subject)}
    return {name: values[own] for name, own in _SUBJECT_NAMES.items()}


def san_selectors(uris: Sequence[str], trust_domain: str) -> dict[str, str]:
    """Keys and values of the URI SANs `x509pop://<trust domain>/<key>/<value>`."""
    found = {}
    for uri in uris:
        if not uri.startswith(f"x509pop://{trust_domain}/"):
            continue
        try:
            path = unquote(urlsplit(uri).path, errors="strict")
        except ValueError:
            continue
        key, _, value = path.strip("/").partition("/")
        if key and value:
            found[key] = value
    return found


def selector_values(
    leaf: CertificateFacts, authorities: Sequence[bytes], san: Mapping[str, str]
) -> list[str]:
    """The selectors of a node (feature I7); `authorities` are the CAs on the path, as DER."""
    values = []
    if name := leaf.subject.common_name:
        values.append(f"subject:cn:{name}")
    values += [f"ca:fingerprint:{fingerprint(authority)}" for authority in authorities]
    values.append(f"serialnumber:{serial_number_hex(leaf.serial_number)}")
    values += [f"san:{key}:{value}" for key, value in sorted(san.items())]
    return values
