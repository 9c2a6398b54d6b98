from __future__ import annotations

from tests import conformance


def test_every_spec_check_has_a_test() -> None:
    shown = conformance.tests_by_check()
    missing = [
        check["number"] for check in conformance.checks() if int(check["number"]) not in shown
    ]
    assert missing == []


def test_no_test_names_a_check_that_does_not_exist() -> None:
    assert set(conformance.tests_by_check()) <= {int(row["number"]) for row in conformance.checks()}


def test_the_document_is_current() -> None:
    assert conformance.DOCUMENT.read_text() == conformance.document(), (
        "run `python -m tests.conformance`"
    )
