"""Asks the kubelet of this node for its pods (features J1 and J2)."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from spire_py.errors import FailedPrecondition, InvalidArgument, SpireError, Unavailable
from spire_py.runtime.clock import Clock
from spire_py.telemetry.logs import get_logger
from spire_py_plugins.kubernetes.access import Endpoint, bearer, read_file, read_token
from spire_py_plugins.workload_attestor.k8s.json_stream import list_items
from spire_py_plugins.workload_attestor.k8s.pods import Pod, parse_pod
from spire_py_plugins.workload_attestor.k8s.settings import KubeletSettings

if TYPE_CHECKING:
    import httpx2

log = get_logger("workload_attestor")

_LOCAL = "127.0.0.1"
_HEADERS = {
    "Accept": "application/json",
    # What is not compressed cannot grow.
    "Accept-Encoding": "identity",
    "User-Agent": "spire-py",
}
_MAX_SHOWN = 300
_WARNINGS = 3
_HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the kubelet takes tokens only with --authentication-token-webhook, "
    "and no anonymous requests without --anonymous-auth",
    HTTPStatus.FORBIDDEN: "the agent's ClusterRole needs the verb get on nodes/proxy, or on "
    "nodes/pods where the kubelet has fine-grained authorization",
}


@dataclass(frozen=True, slots=True)
class KubeletLimits:
    """What one answer may cost.

    Attributes:
        seconds: from the start of the connection to the end of the answer.
        answer_bytes: of it all. It is read in pieces and costs no memory, and a tenant who may fill
            a node with pods of the largest size must not keep the others' from being found.
        pod_characters: of a pod in it; API servers store none above 1.5 MB, of which Go may write
            each character as six.
        pods: in it.
    """

    seconds: float = 10.0
    answer_bytes: int = 512 * 1024 * 1024
    pod_characters: int = 12 * 1024 * 1024
    pods: int = 10_000


@dataclass(frozen=True, slots=True)
class _Access:
    """What the files of the configuration hold."""

    endpoint: Endpoint
    token: str = field(default="", repr=False)


class Kubelet:
    """The kubelet's API. Files are read when it is first asked, and again when it is time.

    Args:
        settings: where it is, and how to show who we are.
        clock: for `reload_interval`.
        limits: of an answer.
    """

    def __init__(
        self,
        settings: KubeletSettings,
        *,
        clock: Clock,
        limits: KubeletLimits | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._limits = limits or KubeletLimits()
        self._access: _Access | None = None
        self._loaded_at = 0.0
        self._client: httpx2.AsyncClient | None = None
        self._unreadable = 0

    async def fetch_pods(self) -> Mapping[str, Pod]:
        """The pods of the node that are not over, by UID. To be called once at a time.

        Raises:
            Unavailable: the kubelet is away, too slow, not trusted, does not take us, or talks
                nonsense.
            FailedPrecondition: a file is missing or malformed.
        """
        try:
            async with asyncio.timeout(self._limits.seconds):
                return await self._fetch_pods()
        except TimeoutError as error:
            raise Unavailable(
                f"unable to perform request: no whole answer from {self._url} within "
                f"{self._limits.seconds:g} s"
            ) from error

    async def _fetch_pods(self) -> Mapping[str, Pod]:
        client, token = await self._connected()
        pods: dict[str, Pod] = {}
        with self._translated():
            request = client.build_request(
                "GET", f"{self._url}/pods", headers=_headers(token), timeout=None
            )
            answer = await client.send(request, stream=True)
            try:
                await self._check(answer)
                most = self._limits.pod_characters
                async with (
                    aclosing(self._bounded(answer)) as pieces,
                    aclosing(list_items(pieces, "items", max_characters=most)) as documents,
                ):
                    async for document in documents:
                        self._add(document, pods)
            finally:
                await answer.aclose()
        return pods

    def _add(self, document: object, pods: dict[str, Pod]) -> None:
        try:
            pod = parse_pod(document)
        except InvalidArgument as error:
            # One that cannot be read must not keep the others from being found.
            self._unreadable += 1
            tell = log.warning if self._unreadable <= _WARNINGS else log.debug
            tell("Pod cannot be read", error=error.message)
            return
        if pod is not None:
            pods[pod.uid] = pod
        if len(pods) > self._limits.pods:
            raise Unavailable(f"invalid kubelet response: more than {self._limits.pods} pods")

    async def _check(self, answer: httpx2.Response) -> None:
        encoding = answer.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise Unavailable(f"invalid kubelet response: it is encoded as {encoding[:20]!a}")
        if answer.status_code == HTTPStatus.OK:
            return
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            # A token that was replaced meanwhile: read it before the next attempt.
            self._access = None
        shown = await _beginning(answer)
        hint = _HINTS.get(answer.status_code)
        raise Unavailable(
            f"unexpected status code on pods response: {answer.status_code}"
            + (f" {shown}" if shown else "")
            + (f" ({hint})" if hint else "")
        )

    async def _bounded(self, answer: httpx2.Response) -> AsyncGenerator[bytes, None]:
        size, most = 0, self._limits.answer_bytes
        async with aclosing(answer.aiter_raw()) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size > most:
                    raise Unavailable(f"invalid kubelet response: longer than {most} bytes")
                yield piece

    async def _connected(self) -> tuple[httpx2.AsyncClient, str]:
        """A client for the files as they are now; connections are kept as long as they fit."""
        now = self._clock.monotonic()
        interval = self._settings.reload_interval.total_seconds()
        access = self._access
        if access is None or now - self._loaded_at >= interval:
            loaded = await asyncio.to_thread(_load, self._settings, self._url)
            if access is None or loaded.endpoint != access.endpoint:
                await self.aclose()
            self._access = access = loaded
            self._loaded_at = now
        if self._client is None:
            self._client = await asyncio.to_thread(_client, access.endpoint, self._settings)
        return self._client, access.token

    @property
    def _url(self) -> str:
        settings = self._settings
        if not settings.secure:
            return f"http://{_LOCAL}:{settings.port}"
        host = settings.node_name or _LOCAL
        return f"https://{f'[{host}]' if ':' in host else host}:{settings.port}"

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """The HTTP library's errors as ours."""
        import httpx2

        try:
            yield
        except SpireError:
            raise
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            reason = _reason(error)
            hint = self._hint(error)
            raise Unavailable(
                f"unable to perform request: {self._url}: {reason}" + (f" ({hint})" if hint else "")
            ) from error

    def _hint(self, error: BaseException) -> str:
        """What the operator may have forgotten."""
        cause = _innermost(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            if "ostname" in cause.verify_message or "IP address" in cause.verify_message:
                return "node_name must be a name that the kubelet's certificate has"
            return (
                f"{self._settings.authorities} did not issue the kubelet's certificate: set "
                "kubelet_ca_path, or have the kubelet use --rotate-server-certificates"
            )
        if isinstance(cause, socket.gaierror):
            return (
                "the agent's pod must be able to resolve its node's name: dnsPolicy "
                "ClusterFirstWithHostNet or Default, or MY_NODE_NAME from fieldPath status.hostIP"
            )
        if isinstance(cause, ConnectionError) and not self._settings.node_name:
            return "without a node name in MY_NODE_NAME the agent's pod needs hostNetwork: true"
        return ""

    async def aclose(self) -> None:
        """Close the connections; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _load(settings: KubeletSettings, url: str) -> _Access:
    """Read the files.

    Raises:
        FailedPrecondition: one is missing; the message says what to do about it.
    """
    if not settings.secure:
        return _Access(Endpoint(url, verify=False))
    authorities = certificate = key = token = ""
    if settings.authorities:
        with _named("unable to load kubelet CA"):
            authorities = read_file(settings.authorities, "kubelet_ca_path")
    if settings.certificate and settings.private_key:
        with _named("unable to load certificate"):
            certificate = read_file(settings.certificate, "certificate_path")
        with _named("unable to load private key"):
            key = read_file(settings.private_key, "private_key_path")
    elif settings.token:
        with _named("unable to load token"):
            token = read_token(settings.token)
    endpoint = Endpoint(
        url,
        authorities=authorities,
        verify=settings.authorities is not None,
        certificate=certificate,
        key=key,
    )
    return _Access(endpoint, token)


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except FailedPrecondition as error:
        raise FailedPrecondition(
            f"{what}: {error.message} (the agent's pod needs its service account mounted: "
            "automountServiceAccountToken)"
        ) from error


def _client(endpoint: Endpoint, settings: KubeletSettings) -> httpx2.AsyncClient:
    """In a thread: importing the library and reading certificates take some time."""
    import httpx2

    context: ssl.SSLContext | bool = False
    if settings.secure:
        context = endpoint.tls_context()
        if not settings.node_name:
            # The chain is verified; who listens on this node's own address is the node's.
            context.check_hostname = False
    return httpx2.AsyncClient(
        verify=context,
        # As SPIRE's: no proxy stands between an agent and its own node.
        trust_env=False,
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=1, keepalive_expiry=30.0),
    )


def _headers(token: str) -> dict[str, str]:
    return {**_HEADERS, "Authorization": bearer(token)} if token else _HEADERS


async def _beginning(answer: httpx2.Response) -> str:
    """The beginning of a refusal's text, as one line."""
    shown = b""
    async with aclosing(answer.aiter_raw()) as pieces:
        async for piece in pieces:
            shown += piece[:_MAX_SHOWN]
            if len(shown) >= _MAX_SHOWN:
                break
    text = shown[:_MAX_SHOWN].decode("utf-8", "replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _innermost(error: BaseException) -> BaseException:
    """The cause of all: the outer ones repeat it with less."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) and inner not in chain:
        chain.append(inner)
    known = [each for each in chain if isinstance(each, OSError)]
    return known[-1] if known else error


def _reason(error: BaseException) -> str:
    cause = _innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or cause}"
    if isinstance(cause, ConnectionError) and cause.errno:
        # asyncio puts words of its own in the place of the system's.
        return os.strerror(cause.errno)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(error) or type(error).__name__
