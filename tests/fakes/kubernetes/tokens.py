"""Service account tokens, bound to pods, and the review of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.kubernetes.errors import Refusal
from tests.fakes.kubernetes.kinds import PODS
from tests.fakes.kubernetes.store import Document, Key, Store

API_AUDIENCE = "https://kubernetes.default.svc"
ISSUER = "https://kubernetes.default.svc.cluster.local"
_EXTRA = "authentication.kubernetes.io/"


class InvalidToken(Exception):
    """Why a token does not hold, as the API server says it."""


class Tokens:
    """Signs and checks the tokens of one cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = ec.generate_private_key(ec.SECP256R1())

    def issue(
        self,
        namespace: str,
        service_account: str,
        *,
        audiences: Sequence[str],
        pod: Document | None = None,
        seconds: float = 600,
    ) -> str:
        """A token as the TokenRequest API gives it; expired already with negative seconds."""
        now = int(time.time())
        private: dict[str, Any] = {
            "namespace": namespace,
            "serviceaccount": {"name": service_account, "uid": f"uid-of-{service_account}"},
        }
        if pod is not None:
            metadata = pod["metadata"]
            private["pod"] = {"name": metadata["name"], "uid": metadata["uid"]}
        claims = {
            "aud": list(audiences),
            "exp": int(now + seconds),
            "iat": now - 1,
            "nbf": now - 1,
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{service_account}",
            "kubernetes.io": private,
        }
        return jwt.encode(claims, self._key, algorithm="ES256")

    def user(self, token: str, audiences: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Whose token it is, and for which of the audiences.

        Raises:
            InvalidToken: it does not hold.
        """
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["ES256"],
                issuer=ISSUER,
                options={"verify_aud": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise InvalidToken("service account token has expired") from error
        except jwt.PyJWTError as error:
            raise InvalidToken("invalid bearer token") from error
        wanted = list(audiences) or [API_AUDIENCE]
        shared = [audience for audience in wanted if audience in claims["aud"]]
        if not shared:
            raise InvalidToken(
                f"token audiences {_go(claims['aud'])} is invalid for the target audiences "
                f"{_go(wanted)}"
            )
        return self._user(claims), shared

    def _user(self, claims: dict[str, Any]) -> dict[str, Any]:
        private = claims["kubernetes.io"]
        namespace = private["namespace"]
        user: dict[str, Any] = {
            "username": claims["sub"],
            "uid": private["serviceaccount"]["uid"],
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
        }
        pod = private.get("pod")
        if pod:
            self._check_pod(namespace, pod)
            user["extra"] = {
                f"{_EXTRA}pod-name": [pod["name"]],
                f"{_EXTRA}pod-uid": [pod["uid"]],
            }
        return user

    def _check_pod(self, namespace: str, bound: dict[str, str]) -> None:
        try:
            pod = self._store.get(Key(PODS, namespace, bound["name"]))
        except Refusal as error:
            raise InvalidToken("service account token has been invalidated") from error
        if pod["metadata"]["uid"] != bound["uid"]:
            raise InvalidToken("service account token has been invalidated")


def _go(texts: Sequence[str]) -> str:
    return "[" + " ".join(f'"{text}"' for text in texts) + "]"
