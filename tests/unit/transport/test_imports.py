from __future__ import annotations

import subprocess
import sys


def test_the_transport_is_quick_to_import() -> None:
    """A command of the CLI pays for it each time it is started."""
    code = (
        "import sys, spire_py.transport\n"
        "print([m for m in ('grpc', 'pydantic', 'sqlalchemy', 'h2') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
