"""Where an API server is and how one shows who one is: what all forms of configuration give."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from spire_py.errors import FailedPrecondition
from spire_py.transport.tls import memory_file

MAX_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An HTTPS server and the client certificate to show to it. Equal ones can share connections.

    Attributes:
        server: its URL, without a slash at the end.
        authorities: PEM; the system's where None.
        verify: False lets any server pass.
        server_name: expected in the server's certificate instead of the URL's host.
        proxy: URL of the HTTP proxy to go through; else the environment says.
        certificate: PEM chain of the client.
        key: PEM, of the client.
    """

    server: str
    authorities: str | None = None
    verify: bool = True
    server_name: str = ""
    proxy: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)

    def tls_context(self) -> ssl.SSLContext:
        """A new context, which TLS 1.2 or newer and no renegotiation pass.

        Raises:
            FailedPrecondition: the certificates or the key cannot be used.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        # As Go has it: an intermediate among the authorities is trusted by itself.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.authorities is None:
            context.load_default_certs()
        else:
            self._load_authorities(context, self.authorities)
        if self.certificate:
            self._load_certificate(context)
        return context

    def _load_authorities(self, context: ssl.SSLContext, authorities: str) -> None:
        try:
            context.load_verify_locations(cadata=authorities)
        except (ssl.SSLError, ValueError) as error:
            raise FailedPrecondition(
                f"no CA certificate for {self.server} can be read in what is configured"
            ) from error

    def _load_certificate(self, context: ssl.SSLContext) -> None:
        try:
            with memory_file(f"{self.key}\n{self.certificate}".encode()) as path:
                # Without a password function, an encrypted key would ask at the terminal.
                context.load_cert_chain(path, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            raise FailedPrecondition(
                f"the client certificate and key for {self.server} cannot be used"
            ) from error


@dataclass(frozen=True, slots=True)
class Access:
    """An endpoint, and what goes into the header `Authorization` (a secret; may be empty)."""

    endpoint: Endpoint
    authorization: str = field(default="", repr=False)


class AccessSource(Protocol):
    """A form of configuration."""

    async def load(self) -> Access:
        """The access as it is now; files are read anew.

        Raises:
            FailedPrecondition: something is missing; the message says what.
        """
        ...

    def forget(self) -> bool:
        """The server did not take the credentials: whether `load` may now give others."""
        ...


def is_token(text: str) -> bool:
    """Whether it can stand in a header. What else it is, only the server can tell."""
    return text.isascii() and text.isprintable()


def bearer(token: str) -> str:
    """The header for a token.

    Raises:
        FailedPrecondition: it cannot stand in a header; the message does not show it.
    """
    if not is_token(token):
        # The HTTP library would refuse it too, and quote it in its error.
        raise FailedPrecondition("the token has characters that no token can have")
    return f"Bearer {token}"


def basic(username: str, password: str) -> str:
    """The header for a name and a password."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def read_file(path: Path, what: str) -> str:
    """The text of a file that configuration names.

    Raises:
        FailedPrecondition: it cannot be read, or is no text, or too long.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise FailedPrecondition(f"unable to read {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FailedPrecondition(f"{what} {path} is no text") from error
    if len(content) > MAX_FILE_BYTES:
        raise FailedPrecondition(f"{what} {path} is longer than {MAX_FILE_BYTES} bytes")
    return text


def read_token(path: Path) -> str:
    """A token from a file, such as a projected one, which Kubernetes replaces before it expires.

    Raises:
        FailedPrecondition: there is none.
    """
    token = read_file(path, "token file").strip()
    if not token:
        raise FailedPrecondition(f"token file {path} is empty")
    if not is_token(token):
        raise FailedPrecondition(f"token file {path} holds no token")
    return token
