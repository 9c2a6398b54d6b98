"""Build hook: makes spire_py/_proto from proto/ before a wheel or an editable install."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# protoc writes imports as if proto/ were on sys.path; ours lie inside the package.
_OWN_IMPORT = re.compile(r"^(from|import) (spire_py|spire|envoy|grpc|google\.rpc)\b", re.MULTILINE)
_OWN_TOP_IMPORT = re.compile(r"^import (workload_pb2)\b", re.MULTILINE)


class ProtoBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        root = Path(self.root)
        generate(root / "proto", root / "spire_py" / "_proto")


def generate(sources: Path, target: Path) -> None:
    """Compile every .proto below `sources` into the package at `target`, which is made anew."""
    from grpc_tools import protoc

    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    well_known = files("grpc_tools") / "_proto"
    protos = sorted(str(path) for path in sources.rglob("*.proto"))
    arguments = ["protoc", f"-I{sources}", f"-I{well_known}", f"--python_out={target}"]
    if protoc.main([*arguments, f"--pyi_out={target}", *protos]) != 0:
        raise RuntimeError(f"protoc could not compile the files under {sources}")
    for path in [*target.rglob("*_pb2.py"), *target.rglob("*_pb2.pyi")]:
        text = _OWN_IMPORT.sub(r"\1 spire_py._proto.\2", path.read_text())
        path.write_text(_OWN_TOP_IMPORT.sub(r"from spire_py._proto import \1", text))
    for folder in [target, *(path for path in target.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()
