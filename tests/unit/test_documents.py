"""What the documents name is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")])
FOLDERS = "bench|deploy|docs|plugins|proto|spire_py|tests"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)`")
TESTS = re.compile(r"`((?:unit|integration)/[\w/]+\.py)(?:::(\w+))?")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_are_there(document: Path) -> None:
    named = NAMED.findall(document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@cache
def names_in(file: str) -> frozenset[str]:
    path = ROOT / "tests" / file
    text = path.read_text() if path.exists() else ""
    return frozenset(re.findall(r"^\s*(?:async )?def (test_\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_a_document_names_are_there(document: Path) -> None:
    named = TESTS.findall(document.read_text())
    assert [
        f"{file}::{name}"
        for file, name in named
        if not names_in(file) or (name and name not in names_in(file))
    ] == []
