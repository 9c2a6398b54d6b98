"""Configuration: text to checked models.

What is exported here imports no pydantic, so that a command that reads no configuration starts
fast. The models are in `config.server` and `config.agent`.
"""

from __future__ import annotations

from spire_py.config.files import ConfigTree, load
from spire_py.config.plugins import PluginConfig
from spire_py.config.problems import ConfigProblems, ConfigWarning, Problem

__all__ = ["ConfigProblems", "ConfigTree", "ConfigWarning", "PluginConfig", "Problem", "load"]
