from __future__ import annotations

import pytest

from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.spiffe.id import TrustDomain


@pytest.fixture
def context() -> PluginContext:
    return PluginContext(TrustDomain("example.org"))


def test_numbers_and_flags_may_stand_as_text(context: PluginContext) -> None:
    settings = Settings({"size": "-1", "on": "true", "name": 7}, context)
    assert settings.integer("size", 0) == -1
    assert settings.flag("on") is True
    assert settings.text("name") == "7"
    settings.finish()


def test_what_is_not_set_has_its_default(context: PluginContext) -> None:
    settings = Settings({}, context)
    assert (settings.text("a"), settings.integer("b", 3), settings.flag("c")) == ("", 3, False)
    assert settings.texts("d") == ()
    assert not settings.has("e")
    settings.finish()


def test_a_single_text_is_a_list_of_one(context: PluginContext) -> None:
    assert Settings({"paths": "a"}, context).texts("paths") == ("a",)


def test_all_faults_are_told_at_once(context: PluginContext) -> None:
    settings = Settings({"a": [], "b": "x", "c": 2, "d": [1], "e": ""}, context)
    settings.text("a")
    settings.integer("b", 0)
    settings.flag("c")
    settings.texts("d")
    settings.text("e", required=True)
    with pytest.raises(InvalidArgument) as faults:
        settings.finish()
    assert str(faults.value) == (
        "a must be a string; b must be an integer; c must be true or false; "
        "d must be a list of strings; e is required"
    )


def test_unknown_keys_are_warnings(context: PluginContext) -> None:
    settings = Settings({"drectory": "x", "zzz": 1}, context)
    settings.text("directory")
    settings.finish()
    assert context.warnings == [
        'unknown setting "drectory" encountered; did you mean "directory"?',
        'unknown setting "zzz" encountered',
    ]
