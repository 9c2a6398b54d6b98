from __future__ import annotations

import subprocess
import sys


def test_what_needs_no_model_imports_no_pydantic() -> None:
    code = (
        "import sys, spire_py.config, spire_py.config.hcl, spire_py.config.durations, "
        "spire_py.telemetry.logs; assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
