"""Reading a configuration file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spire_py.config.environment import expand
from spire_py.config.hcl import MAX_BYTES, parse
from spire_py.config.tree import Body
from spire_py.errors import InvalidArgument, NotFound


@dataclass(frozen=True, slots=True)
class ConfigTree:
    """A configuration file, read but not checked."""

    path: Path
    body: Body


def read_text(path: Path) -> str:
    """The text of a configuration file; of one that is too large, no more than `parse` refuses.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is not in UTF-8.
    """
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1).decode()


def load(
    path: Path, expand_env: bool = False, environment: Mapping[str, str] | None = None
) -> ConfigTree:
    """Read a file of HCL 1 or JSON.

    Args:
        path: the file.
        expand_env: replace `$NAME` and `${NAME}` first (feature A26).
        environment: the variables; the process's own by default.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: it cannot be read or parsed.
    """
    try:
        text = read_text(path)
        if expand_env:
            text = expand(text, os.environ if environment is None else environment)
        return ConfigTree(path, parse(text))
    except FileNotFoundError as error:
        raise NotFound(
            f"could not find config file {path.absolute()}: please use the -config flag"
        ) from error
    except OSError as error:
        raise InvalidArgument(
            f'unable to read configuration at "{path}": {error.strerror}'
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f'unable to decode configuration at "{path}": it is no text in UTF-8'
        ) from error
    except InvalidArgument as error:
        raise InvalidArgument(f'unable to decode configuration at "{path}": {error}') from error
