"""A template as a whole."""

from __future__ import annotations

from spire_py_plugins.node_attestor.agent_path_template.expressions import shape_of
from spire_py_plugins.node_attestor.agent_path_template.nodes import Scope
from spire_py_plugins.node_attestor.agent_path_template.parser import MAIN, parse
from spire_py_plugins.node_attestor.agent_path_template.parts import Run, execute
from spire_py_plugins.node_attestor.agent_path_template.values import (
    Data,
    InvalidTemplate,
    checked,
    from_data,
)

MAX_TEMPLATE_CHARACTERS = 2048


class AgentPathTemplate:
    """A template, read and checked.

    Args:
        text: as in the configuration.
        fields: the names it may use, without the leading dot, such as `Subject.CommonName`; one
            that ends in `.*` allows any name in its place, and the mapping itself.

    Raises:
        InvalidTemplate: the text cannot be read, or uses what is not known.
    """

    def __init__(self, text: str, fields: frozenset[str]) -> None:
        if len(text) > MAX_TEMPLATE_CHARACTERS:
            raise InvalidTemplate(f"template is longer than {MAX_TEMPLATE_CHARACTERS} characters")
        self._shape = shape_of(fields)
        self._templates = parse(text, self._shape)

    def execute(self, data: Data) -> str:
        """The path for `data`; whether it is a legal one is for the caller to check.

        Raises:
            InvalidTemplate: a field has no value, or the path or the work for it grows too much.
        """
        run = Run(self._templates)
        root = from_data(data, self._shape)
        execute(self._templates[MAIN], run, Scope(root, [("$", root)], run.work))
        path = checked(run.path)
        if any("\ud800" <= character <= "\udfff" for character in path):
            raise InvalidTemplate("path is no UTF-8")
        return path
