"""`-expandEnv`: variables of the environment in a configuration file (feature A26)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(
    r"\$(?:\{(?P<braced>[^}]*)\}|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<special>[0-9*#$@!?-]))?"
)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}` as Go's `os.Expand` does, before the text is parsed.

    A variable that is not set becomes nothing. `$$` becomes `$`. A `$` that begins no name stays.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["braced"] or match["name"] or match["special"]
        if name is None:
            # Go drops `${}` and keeps a lone `$`.
            return "" if match["braced"] is not None else match[0]
        return "$" if name == "$" else environment.get(name, "")

    return _VARIABLE.sub(replace, text)
