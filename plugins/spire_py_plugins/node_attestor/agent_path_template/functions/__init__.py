"""The functions that templates may call: Go's own, and those of sprig that SPIRE takes."""

from __future__ import annotations

from collections.abc import Mapping

from spire_py_plugins.node_attestor.agent_path_template.functions.builtins import BUILTINS
from spire_py_plugins.node_attestor.agent_path_template.functions.cases import CASES
from spire_py_plugins.node_attestor.agent_path_template.functions.encodings import ENCODINGS
from spire_py_plugins.node_attestor.agent_path_template.functions.function import Function
from spire_py_plugins.node_attestor.agent_path_template.functions.lists import LISTS
from spire_py_plugins.node_attestor.agent_path_template.functions.logic import LOGIC
from spire_py_plugins.node_attestor.agent_path_template.functions.maps import MAPS
from spire_py_plugins.node_attestor.agent_path_template.functions.regexes import REGEXES
from spire_py_plugins.node_attestor.agent_path_template.functions.texts import TEXTS
from spire_py_plugins.node_attestor.agent_path_template.functions.urls import URLS

FUNCTIONS: Mapping[str, Function] = {
    **BUILTINS,
    **LOGIC,
    **TEXTS,
    **CASES,
    **ENCODINGS,
    **LISTS,
    **MAPS,
    **REGEXES,
    **URLS,
}
"""By name. `and` and `or`, which may leave arguments alone, are the parser's."""
