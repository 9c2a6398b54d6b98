"""What an agent tells the one who gives out trust bundles on a Unix socket (features C7, C10)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.daemons import TRUST_DOMAIN, new_stack
from tests.integration.peers.conftest import STACKS, Halves, programs

Query = dict[str, list[str]]


class Source(BaseHTTPRequestHandler):
    bundle = b""
    asked: list[Query]
    refusals = 1

    def do_GET(self) -> None:
        self.asked.append(parse_qs(urlsplit(self.path).query))
        refused = len(self.asked) <= self.refusals
        self.send_response_only(503 if refused else 200)
        self.send_header("Content-Length", "0" if refused else str(len(self.bundle)))
        self.end_headers()
        if not refused:
            self.wfile.write(self.bundle)

    def log_message(self, *args: object) -> None:
        """Nowhere."""


@contextmanager
def serving(path: Path, bundle: str) -> Iterator[list[Query]]:
    """A source that refuses once; gives the queries."""
    asked: list[Query] = []
    handler = type("Handler", (Source,), {"bundle": bundle.encode(), "asked": asked})
    with ThreadingUnixStreamServer(str(path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("halves", STACKS)
def test_it_hears_which_attempt_it_is_and_of_whom(halves: Halves) -> None:
    with new_stack(**programs(halves)) as stack:
        stack.start_server()
        token = stack.join_token()
        stack.launch_agent(token="unused").kill()
        for file in (stack.folder / "agent-data").iterdir():
            file.unlink()
        config = stack.folder / "agent.conf"
        path = stack.folder / "bundle.sock"
        config.write_text(
            config.read_text().replace(
                f'trust_bundle_path = "{stack.folder}/bundle.pem"',
                f'trust_bundle_url = "http://localhost/b?x=1" trust_bundle_unix_socket = "{path}"',
            )
        )
        with serving(path, stack.server("bundle", "show")) as asked:
            agent = stack._start(
                *stack.agent_program, "run", "-config", str(config), "-joinToken", token
            )
            agent.wait_for("Starting agent APIs")
        first, second = asked
        assert first.pop("spire-attest-start-time") == second.pop("spire-attest-start-time")
        assert first == {
            "spiffe-trust-domain": [TRUST_DOMAIN],
            "spire-attest-mode": ["bootstrap"],
            "spire-connection-attempts": ["1"],
            "spire-server-address": ["127.0.0.1"],
            "spire-server-port": [str(stack.port)],
            "x": ["1"],
        }
        assert second == {**first, "spire-connection-attempts": ["2"]}
