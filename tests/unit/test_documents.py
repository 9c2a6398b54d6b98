"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")])
FOLDERS = "bench|deploy|docs|plugins|proto|spire_py|tests"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)`")
TESTS = re.compile(r"`((?:unit|integration)/[\w./-]+\.py)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_are_there(document: Path) -> None:
    text = document.read_text()
    named = NAMED.findall(text) + [f"tests/{name}" for name in TESTS.findall(text)]
    assert [name for name in named if not (ROOT / name).exists()] == []
