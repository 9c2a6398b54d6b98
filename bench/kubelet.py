"""A kubelet in a process of its own, so that its CPU time is not counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.pods import pod_list
from tests.fakes.kubelet import FakeKubelet
from tests.fakes.kubernetes.certificates import ClusterCA

_NODE = "localhost"
_PIECE = 16_384


@dataclass(frozen=True, slots=True)
class Kubelet:
    """A running one, and the files that an agent needs for it."""

    port: int
    folder: Path

    @property
    def plugin(self) -> str:
        """The block of an agent's configuration."""
        return f"""
            WorkloadAttestor "k8s" {{ plugin_data {{
              node_name = "{_NODE}"
              kubelet_secure_port = {self.port}
              kubelet_ca_path = "{self.folder}/kubelet-ca.crt"
              token_path = "{self.folder}/kubelet-token"
            }} }}
        """


@contextmanager
def kubelet(folder: Path, pods: int) -> Iterator[Kubelet]:
    """One with so many pods, until the block ends."""
    process = subprocess.Popen(
        (sys.executable, "-m", "bench.kubelet", str(folder), str(pods)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield Kubelet(json.loads(process.stdout.readline())["port"], folder)
    finally:
        process.kill()
        process.communicate()


def _serve(folder: Path, pods: int) -> None:
    ca = ClusterCA()
    (folder / "kubelet-ca.crt").write_text(ca.pem)
    (folder / "kubelet-token").write_text("projected\n")
    body = pod_list(pods)
    with FakeKubelet(ca, names=[_NODE]) as server:
        server.token = "projected"
        server.keeps_connections = True
        server.body = [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]
        print(json.dumps({"port": server.port}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
