"""What the API answers; `http.py` carries it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.kubernetes import kinds
from tests.fakes.kubernetes.errors import Refusal, bad_request, invalid
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.patches import APPLY, JSON_PATCH, MERGE, STRATEGIC
from tests.fakes.kubernetes.rbac import Action, Rules
from tests.fakes.kubernetes.selectors import matcher
from tests.fakes.kubernetes.store import Document, Key, Store
from tests.fakes.kubernetes.tokens import InvalidToken, Tokens

_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True)
class Target:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    query: dict[str, str]

    @classmethod
    def parse(cls, url: str) -> Target:
        parts = urlsplit(url)
        words = parts.path.strip("/").split("/")
        if words[0] == "api" and len(words) > 2:
            group, version, *rest = "", *words[1:]
        elif words[0] == "apis" and len(words) > 3:
            group, version, *rest = words[1:]
        else:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = kinds.find(group, version, rest[0])
        if kind is None or len(rest) > 2:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        name = rest[1] if len(rest) == 2 else ""
        return cls(kind, namespace, name, dict(parse_qsl(parts.query, keep_blank_values=True)))

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)


class API:
    """Answers requests of callers who are known."""

    def __init__(self, store: Store, tokens: Tokens, rules: Rules) -> None:
        self._store = store
        self._tokens = tokens
        self._rules = rules
        self.review_errors = True
        """Whether a review says why a token does not hold; some authenticators do not."""
        self.review_overrides: Document | None = None
        """The `status` of every token review instead of the real one."""
        self.closing = threading.Event()

    def check_access(self, user: str, verb: str, target: Target) -> None:
        if target.kind is kinds.ACCESS_REVIEWS:
            # Everybody may ask about themselves (`system:basic-user`).
            return
        fields = dict(
            term.split("=", 1)
            for term in target.query.get("fieldSelector", "").split(",")
            if "=" in term
        )
        name = target.name or fields.get("metadata.name", "")
        action = Action(verb, target.kind.group, target.kind.plural, target.namespace, name)
        if self._rules.allows(user, action):
            return
        where = f'in the namespace "{target.namespace}"' if target.namespace else ""
        raise Refusal(
            403,
            "Forbidden",
            f'{target.kind.resource} "{target.name}" is forbidden: User "{user}" cannot {verb} '
            f'resource "{target.kind.plural}" in API group "{target.kind.group}" '
            f"{where or 'at the cluster scope'}",
        )

    def answer(
        self, user: str, method: str, target: Target, body: Any, content_type: str
    ) -> tuple[int, Document]:
        """Status and object."""
        verb = _VERBS.get(method, "")
        if verb == "get" and not target.name:
            verb = "list"
        self.check_access(user, verb, target)
        manager = target.query.get("fieldManager", "")
        if verb == "get":
            return 200, self._store.get(target.key)
        if verb == "list":
            return 200, self._list(target)
        if verb == "delete":
            self._store.delete(target.key)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if verb == "patch":
            return self._patch(user, target, body, content_type, manager)
        if not isinstance(body, dict):
            raise bad_request("the object provided is unrecognized")
        if verb == "update":
            return 200, self._store.replace(target.key, body, manager or "update")
        return 201, self._create(user, target, body, manager)

    def _create(self, user: str, target: Target, body: Document, manager: str) -> Document:
        if target.kind is kinds.TOKEN_REVIEWS:
            return {**body, "status": self._review(body.get("spec") or {})}
        if target.kind is kinds.ACCESS_REVIEWS:
            wanted = (body.get("spec") or {}).get("resourceAttributes") or {}
            names = ("verb", "group", "resource", "namespace", "name")
            action = Action(*(wanted.get(name, "") for name in names))
            return {**body, "status": {"allowed": self._rules.allows(user, action)}}
        if target.kind.namespaced and not target.namespace:
            raise bad_request("the namespace is missing")
        return self._store.create(target.kind, target.namespace, body, manager or "update")

    def _review(self, spec: Document) -> Document:
        if self.review_overrides is not None:
            return self.review_overrides
        try:
            user, audiences = self._tokens.user(spec.get("token", ""), spec.get("audiences") or [])
        except InvalidToken as error:
            if not self.review_errors:
                return {"user": {}}
            reason = str(error)
            if reason != "invalid bearer token":
                reason = f"[invalid bearer token, {reason}]"
            return {"user": {}, "error": reason}
        return {"authenticated": True, "user": user, "audiences": audiences}

    def _patch(
        self, user: str, target: Target, body: Any, content_type: str, manager: str
    ) -> tuple[int, Document]:
        if content_type == APPLY:
            if not isinstance(body, dict):
                raise bad_request("the object provided is unrecognized")
            if not self._store.has(target.key):
                self.check_access(user, "create", target)
            force = target.query.get("force") == "true"
            document, is_new = self._store.apply(target.key, body, manager, force)
            return (201 if is_new else 200), document
        if content_type not in (JSON_PATCH, MERGE, STRATEGIC):
            raise Refusal(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: "
                f"{JSON_PATCH}, {MERGE}, {STRATEGIC}, {APPLY}",
            )
        return 200, self._store.patch(target.key, body, content_type, manager or "update")

    def _list(self, target: Target) -> Document:
        query = target.query
        matches = matcher(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        found, version = self._store.list(target.kind, target.namespace, matches)
        start = int(query.get("continue") or 0)
        limit = int(query.get("limit") or 0)
        end = start + limit if limit else len(found)
        metadata = {"resourceVersion": str(version)}
        if end < len(found):
            metadata["continue"] = str(end)
        return {
            "kind": f"{target.kind.kind}List",
            "apiVersion": target.kind.api_version,
            "metadata": metadata,
            "items": found[start:end],
        }

    def watch(self, user: str, target: Target) -> Iterator[Document | None]:
        """Events; None now and then, so that the carrier can see whether it is time to end."""
        self.check_access(user, "watch", target)
        query = target.query
        if "sendInitialEvents" in query:
            # As where the feature WatchList is off; clients list first then.
            raise invalid("sendInitialEvents is forbidden for watch unless WatchList is enabled")
        matches = matcher(query.get("labelSelector", ""), query.get("fieldSelector", ""))
        since = int(query.get("resourceVersion") or 0)
        if not since:
            found, since = self._store.list(target.kind, target.namespace, matches)
            for document in found:
                yield {"type": "ADDED", "object": document}
        try:
            for change in self._store.changes(target.kind, target.namespace, since):
                event = change.seen_through(matches) if change else None
                yield {"type": event[0], "object": event[1]} if event else None
        except Refusal as refusal:
            yield {"type": "ERROR", "object": refusal.document()}
