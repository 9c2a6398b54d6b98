"""The rules of paths are in the tests of X509-SVIDs; here is what only the path itself shows."""

from __future__ import annotations

import pytest

from spire_py.crypto.certificate import InvalidCertificate
from spire_py.crypto.certificate_path import verify_path
from tests.unit.spiffe.certificates import HOUR, NOW, Issuer

ROOT, MIDDLE = Issuer("root"), Issuer("middle")
ANCHORS = (Issuer("other").root(), ROOT.root())
LEAF = MIDDLE.leaf()
BETWEEN = ROOT.intermediate(MIDDLE)


def test_the_path_goes_from_the_leaf_to_the_anchor() -> None:
    path = verify_path(LEAF, [BETWEEN, ANCHORS[0]], anchors=ANCHORS, now=NOW, max_intermediates=3)
    assert path == (LEAF, BETWEEN, ANCHORS[1])


def test_a_leaf_that_is_an_anchor_is_a_path_of_one() -> None:
    assert verify_path(LEAF, [], anchors=(LEAF,), now=NOW, max_intermediates=3) == (LEAF,)


def test_no_anchors_mean_no_trust() -> None:
    with pytest.raises(InvalidCertificate, match="no CA certificate to trust"):
        verify_path(LEAF, [BETWEEN], anchors=(), now=NOW, max_intermediates=3)


@pytest.mark.parametrize("shift", [-2 * HOUR, 2 * HOUR], ids=["too early", "too late"])
def test_the_time_that_is_given_counts(shift: object) -> None:
    with pytest.raises(InvalidCertificate, match="not valid at validation time"):
        verify_path(LEAF, [BETWEEN], anchors=ANCHORS, now=NOW + shift, max_intermediates=3)  # type: ignore[operator]


def test_the_path_is_no_longer_than_asked_for() -> None:
    with pytest.raises(InvalidCertificate, match="exceeds max depth"):
        verify_path(LEAF, [BETWEEN], anchors=ANCHORS, now=NOW, max_intermediates=0)


@pytest.mark.parametrize("where", ["leaf", "intermediate", "only anchor"])
def test_a_malformed_certificate_is_refused(where: str) -> None:
    leaf = b"junk" if where == "leaf" else LEAF
    more = [b"junk"] if where == "intermediate" else []
    anchors = (b"junk",) if where == "only anchor" else ANCHORS
    with pytest.raises(
        InvalidCertificate, match=r"malformed|no CA certificate to trust can be read"
    ):
        verify_path(leaf, [BETWEEN, *more], anchors=anchors, now=NOW, max_intermediates=3)
