from __future__ import annotations

import pytest

from spire_py.crypto.subject_alt_name import subject_alt_name
from spire_py.errors import InvalidArgument


def test_dns_names_stand_before_the_uri() -> None:
    encoded = subject_alt_name(["a", "b"], "c:d", critical=False)
    assert encoded.hex() == "30140603551d11040d300b82016182016286" + "03633a64"


def test_it_may_be_critical_and_without_uri() -> None:
    assert (
        subject_alt_name(["a"], None, critical=True).hex() == "300f0603551d110101ff04053003820161"
    )


@pytest.mark.parametrize(("names", "uri"), [(["é"], "c:d"), ([""], "c:d"), ([], ""), ([], "c:é")])
def test_a_name_that_is_empty_or_not_ascii_is_refused(names: list[str], uri: str) -> None:
    with pytest.raises(InvalidArgument, match="must be ASCII and not empty"):
        subject_alt_name(names, uri, critical=False)
