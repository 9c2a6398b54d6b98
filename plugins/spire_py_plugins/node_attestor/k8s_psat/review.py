"""What the API server says of a token."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spire_py.errors import Internal
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.resources import TOKEN_REVIEWS

_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"
_SERVICE_ACCOUNT = ["system", "serviceaccount"]


@dataclass(frozen=True, slots=True)
class TokenReview:
    """A token that the API server has reviewed; authentic only where `authenticated`."""

    authenticated: bool
    username: str
    extra: dict[str, Any]

    @property
    def service_account(self) -> tuple[str, str]:
        """Namespace and name.

        Raises:
            Internal: the token is not a service account's.
        """
        if not self.username:
            raise Internal("empty username")
        names = self.username.split(":")
        if len(names) != 4 or names[:2] != _SERVICE_ACCOUNT:
            raise Internal(f"unexpected username format: {self.username}")
        if not names[2]:
            raise Internal("missing namespace")
        if not names[3]:
            raise Internal("missing service account name")
        return names[2], names[3]

    @property
    def pod_name(self) -> str:
        """Of the pod that the token is bound to.

        Raises:
            Internal: it is bound to none.
        """
        return self._one(_POD_NAME, "name", "pod name")

    @property
    def pod_uid(self) -> str:
        """As `pod_name`."""
        return self._one(_POD_UID, "UID", "pod UID")

    def _one(self, key: str, short: str, what: str) -> str:
        values = self.extra.get(key)
        if values is None:
            raise Internal(f"missing {what}")
        if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
            count = len(values) if isinstance(values, list) else 0
            raise Internal(f"expected 1 {short} but got: {count}")
        if not values[0]:
            raise Internal(f"{what} is empty")
        return values[0]


async def fetch_review(
    client: KubernetesClient, token: str, audiences: Sequence[str]
) -> Mapping[str, Any]:
    """Have a token reviewed for one of the audiences, or the API server's own where none is given.

    Returns:
        The answer, for `read_review`.

    Raises:
        SpireError: the API server could not be asked.
    """
    spec: dict[str, Any] = {"token": token}
    if audiences:
        spec["audiences"] = list(audiences)
    return await client.create(TOKEN_REVIEWS, {"spec": spec})


def read_review(answer: Mapping[str, Any], audiences: Sequence[str]) -> TokenReview:
    """What the answer says.

    Raises:
        Internal: it says why the token does not hold, is for none of the audiences, or malformed.
    """
    status = answer.get("status")
    if not isinstance(status, dict):
        raise Internal("token review API response has no status")
    if status.get("error"):
        raise Internal(f"token review API response contains an error: {status['error']}")
    authenticated = status.get("authenticated") is True
    if authenticated:
        _check_audiences(audiences, status.get("audiences"))
    user = status.get("user")
    user = user if isinstance(user, dict) else {}
    username, extra = user.get("username"), user.get("extra")
    return TokenReview(
        authenticated,
        username if isinstance(username, str) else "",
        extra if isinstance(extra, dict) else {},
    )


def _check_audiences(wanted: Sequence[str], found: object) -> None:
    """An API server that knows no audiences would let a token for anybody pass."""
    listed = found if isinstance(found, list) else []
    if wanted and not any(audience in listed for audience in wanted):
        raise Internal(
            f"token review API did not validate audience: wanted one of {_quoted(wanted)} "
            f"but got {_quoted(listed)}"
        )


def _quoted(texts: Sequence[object]) -> str:
    """As Go prints a list of texts."""
    return "[" + " ".join(json.dumps(str(text), ensure_ascii=False) for text in texts) + "]"
