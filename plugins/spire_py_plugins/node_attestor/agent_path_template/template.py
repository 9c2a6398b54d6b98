"""A template as a whole."""

from __future__ import annotations

from spire_py_plugins.node_attestor.agent_path_template.nodes import Run, execute
from spire_py_plugins.node_attestor.agent_path_template.parser import parse
from spire_py_plugins.node_attestor.agent_path_template.values import Data, InvalidTemplate

MAX_TEMPLATE_CHARACTERS = 2048
MAX_PATH_CHARACTERS = 2048


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
        self._parts = parse(text, fields)

    def execute(self, data: Data) -> str:
        """The path for `data`; whether it is a legal one is for the caller to check.

        Raises:
            InvalidTemplate: a field has no value, or the path grows too long.
        """
        texts: list[str] = []
        length = 0
        for text in execute(self._parts, Run(data), ""):
            texts.append(text)
            length += len(text)
            if length > MAX_PATH_CHARACTERS:
                raise InvalidTemplate(f"path is longer than {MAX_PATH_CHARACTERS} characters")
        return "".join(texts)
