from __future__ import annotations

from pathlib import Path

import pytest

from spire_py.config import agent, agent_section, datastore, federation, server, shared
from spire_py.config.reader import Section

DOCS = Path(__file__).parents[3] / "docs" / "config"
SHARED = (shared, federation, datastore)


def _keys(*modules: object) -> set[str]:
    return {
        key
        for module in modules
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, Section) and model.__name__[0] != "_"
        for key in model.model_fields
    } - {"warnings", "server", "agent", "plugins", "agent_plugins", "datastore"}


@pytest.mark.parametrize(
    ("page", "modules"),
    [("server.md", (server, *SHARED)), ("agent.md", (agent, agent_section))],
)
def test_every_key_is_documented(page: str, modules: tuple[object, ...]) -> None:
    # What both files have is explained on the server's page.
    text = (DOCS / page).read_text() + (DOCS / "server.md").read_text()
    assert [key for key in sorted(_keys(*modules)) if key not in text] == []
