from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.node_attestor.k8s_psat.review import TokenReview, read_review

from spire_py.errors import Internal
from tests.unit.plugins.strange import ANYTHING, TEXT, objects

POD_NAME, POD_UID = (f"authentication.kubernetes.io/pod-{what}" for what in ("name", "uid"))
REVIEWS = objects(
    ["authenticated", "error", "audiences", "user"],
    st.booleans()
    | st.lists(TEXT | st.just("spire-server"), max_size=3)
    | objects(
        ["username", "extra"],
        st.text("system:srvacount\n ", max_size=30)
        | objects([POD_NAME, POD_UID], st.lists(TEXT, max_size=2)),
    ),
)


@given(st.fixed_dictionaries({"status": REVIEWS}) | st.dictionaries(TEXT, ANYTHING, max_size=3))
def test_any_review_is_read_or_refused(answer: dict[str, Any]) -> None:
    try:
        review = read_review(answer, ["spire-server"])
    except Internal:
        return
    status = answer["status"]
    assert review.authenticated == (status.get("authenticated") is True)
    if review.authenticated:
        assert "spire-server" in status["audiences"]
    for fact in ("service_account", "pod_name", "pod_uid"):
        try:
            assert getattr(review, fact)
        except Internal:
            continue


@pytest.mark.parametrize(
    "audiences",
    [
        pytest.param("spire-server", id="a text that contains it"),
        pytest.param({"spire-server": True}, id="an object"),
        pytest.param(["spire-server-2", "SPIRE-SERVER", "spire-server\n"], id="like it"),
        pytest.param([["spire-server"]], id="a list in the list"),
        pytest.param([], id="none"),
        pytest.param(None, id="null"),
    ],
)
def test_an_audience_must_be_there_to_the_letter(audiences: object) -> None:
    answer = {"status": {"authenticated": True, "audiences": audiences}}
    with pytest.raises(Internal, match="did not validate audience"):
        read_review(answer, ["spire-server"])


@pytest.mark.parametrize(
    "username",
    [
        pytest.param("system:serviceaccount:spire:agent:x", id="one more part"),
        pytest.param("system:serviceaccount:spire", id="one less"),
        pytest.param("System:serviceaccount:spire:agent", id="other case"),
        pytest.param("system:node:spire:agent", id="no service account"),
        pytest.param("x:system:serviceaccount:spire:agent", id="something before"),
        pytest.param("system:serviceaccount:spire:", id="no name"),
        pytest.param("system:serviceaccount::agent", id="no namespace"),
        pytest.param("", id="nobody"),
    ],
)
def test_a_name_that_is_no_service_account_is_refused(username: str) -> None:
    with pytest.raises(Internal):
        assert TokenReview(True, username, {}).service_account


@pytest.mark.parametrize(
    "username",
    [
        "system:serviceaccount:spire:agent\n",
        "system:serviceaccount:spire\n:agent",
        "system:serviceaccount: spire:agent",
        "system:serviceaccount:spire:Agent",
        "system:serviceaccount:spire:\uff41gent",
    ],
)
def test_nothing_is_stripped_or_folded(username: str) -> None:
    assert TokenReview(True, username, {}).service_account != ("spire", "agent")
