"""`api fetch x509` and `api watch` (features F4, F7)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from spire_py._proto import workload_pb2
from spire_py.cli.agent.workload import SERVICE, timeout_seconds, workload_command
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.crash import os_reason
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import count_of, go_duration, go_time, print_messages
from spire_py.crypto.concatenated import split_certificates
from spire_py.crypto.pem import certificates_to_pem, private_key_to_pem
from spire_py.errors import SpireError
from spire_py.runtime.clock import SystemClock
from spire_py.runtime.files import write_private, write_public
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import SpiffeID
from spire_py.spiffe.x509_svid import verify_chain

_WATCH_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class FetchedSVID:
    """One identity of a response: DER certificates, and the key as PKCS#8 DER."""

    spiffe_id: str
    hint: str
    chain: list[bytes]
    key: bytes
    bundle: list[bytes]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole response, checked. Federated bundles are sorted by trust domain ID."""

    svids: list[FetchedSVID]
    federated: list[tuple[str, list[bytes]]]


async def _fetch(flags: Flags, agent: Connection) -> int:
    start = time.perf_counter()
    response = await agent.first(
        f"{SERVICE}/FetchX509SVID",
        workload_pb2.X509SVIDRequest(),
        workload_pb2.X509SVIDResponse,
        timeout=timeout_seconds(flags),
    )
    seconds = time.perf_counter() - start

    def pretty() -> int:
        fetched = check_response(response)
        if not flags.switch("silent"):
            print(response_text(fetched, seconds))
        if flags.text("write"):
            write(fetched, Path(flags.text("write")))
        return 0

    return print_messages(flags, pretty, response)


def check_response(response: workload_pb2.X509SVIDResponse) -> Fetched:
    """Take a response apart and hold each chain against its bundle.

    Raises:
        CommandFailed: a part is missing or malformed, or an SVID is not valid.
    """
    if not response.svids:
        raise CommandFailed("workload response contains no svids", prefix="")
    federated = sorted(response.federated_bundles.items())
    return Fetched(
        svids=[_check_svid(index, svid) for index, svid in enumerate(response.svids)],
        federated=[(name, split_certificates(ders)) for name, ders in federated],
    )


def _check_svid(index: int, svid: workload_pb2.X509SVID) -> FetchedSVID:
    try:
        fetched = FetchedSVID(
            spiffe_id=svid.spiffe_id,
            hint=svid.hint,
            chain=split_certificates(svid.x509_svid),
            key=svid.x509_svid_key,
            bundle=split_certificates(svid.bundle),
        )
        trust_domain = SpiffeID.parse(svid.spiffe_id).trust_domain
    except SpireError as error:
        raise CommandFailed(
            f'failed to parse svid entry {index} for spiffe id "{svid.spiffe_id}": {error}',
            prefix="",
        ) from error
    authorities = tuple(X509Authority(der) for der in fetched.bundle)
    try:
        verify_chain(
            fetched.chain,
            {trust_domain: Bundle(trust_domain, authorities)},
            SystemClock().now(),
        )
    except SpireError as error:
        raise CommandFailed(
            f'"{svid.spiffe_id}" SVID failed verification against bundle: {error}', prefix=""
        ) from error
    return fetched


def response_text(fetched: Fetched, seconds: float) -> str:
    """What SPIRE prints of a response; an empty line ends it."""
    lines = [
        f"Received {count_of(len(fetched.svids), 'svid', 'svids')} after {go_duration(seconds)}"
    ]
    for svid in fetched.svids:
        lines += ["", f"SPIFFE ID:\t\t{svid.spiffe_id}"]
        if svid.hint:
            lines.append(f"Hint:\t\t\t{svid.hint}")
        lines += _validity("SVID", svid.chain[0])
        for number, der in enumerate(svid.chain[1:], 1):
            lines += _validity(f"Intermediate #{number}", der)
        for number, der in enumerate(svid.bundle, 1):
            lines += _validity(f"CA #{number}", der)
        for name, ders in fetched.federated:
            for number, der in enumerate(ders, 1):
                lines += _validity(f"[{name}] CA #{number}", der)
    return "\n".join([*lines, ""])


def _validity(subject: str, der: bytes) -> Iterator[str]:
    certificate = x509.load_der_x509_certificate(der)
    yield f"{subject} Valid After:\t{go_time(int(certificate.not_valid_before_utc.timestamp()))}"
    yield f"{subject} Valid Until:\t{go_time(int(certificate.not_valid_after_utc.timestamp()))}"


def write(fetched: Fetched, folder: Path) -> None:
    """Write what was fetched into `folder`, under the names that SPIRE gives.

    Raises:
        CommandFailed: a file could not be written.
    """
    for index, svid in enumerate(fetched.svids):
        chain, bundle = certificates_to_pem(svid.chain), certificates_to_pem(svid.bundle)
        _write_one(f"SVID #{index}", folder / f"svid.{index}.pem", chain)
        key = private_key_to_pem(svid.key)
        _write_one(f"key #{index}", folder / f"svid.{index}.key", key, write_private)
        _write_one(f"bundle #{index}", folder / f"bundle.{index}.pem", bundle)
        for number, (name, ders) in enumerate(fetched.federated):
            subject = f"federated bundle #{number} for trust domain {name}"
            path = folder / f"federated_bundle.{index}.{number}.pem"
            _write_one(subject, path, certificates_to_pem(ders))


def _write_one(
    subject: str, path: Path, pem: str, write: Callable[[Path, bytes], None] = write_public
) -> None:
    print(f"Writing {subject} to file {path}.")
    try:
        write(path, pem.encode())
    except OSError as error:
        raise CommandFailed(f"open {path}: {os_reason(error)}", prefix="") from error


async def _watch(_flags: Flags, agent: Connection) -> int:
    failures = 0
    updated = time.perf_counter()
    while True:
        try:
            async with agent.stream(
                f"{SERVICE}/FetchX509SVID",
                workload_pb2.X509SVIDRequest(),
                workload_pb2.X509SVIDResponse,
                timeout=None,
            ) as responses:
                async for response in responses:
                    failures = 0
                    now = time.perf_counter()
                    print(response_text(check_response(response), now - updated), flush=True)
                    updated = now
        except CommandFailed as error:
            # Only this code says that no later try can do better.
            if "code = InvalidArgument" in str(error):
                raise
            print(error, file=sys.stderr)
        wait = _WATCH_RETRY_SECONDS[min(failures, len(_WATCH_RETRY_SECONDS) - 1)]
        failures += 1
        await asyncio.sleep(wait)


FETCH = workload_command(
    "fetch x509",
    "Fetches X509 SVIDs from the Workload API",
    (
        Flag("silent", "Print nothing", Kind.SWITCH),
        Flag("write", "Write SVIDs, keys and bundles into this folder (pretty output only)"),
    ),
    _fetch,
)
WATCH = workload_command(
    "api watch",
    "Prints the X.509-SVIDs of the Workload API, and each update, until stopped",
    (),
    _watch,
    bounded=False,
)
