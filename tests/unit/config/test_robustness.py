"""Whatever stands in a file, it is read, or refused with `InvalidArgument`."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.config.agent import read_agent_config
from spire_py.config.hcl import parse
from spire_py.config.server import read_server_config
from spire_py.errors import InvalidArgument

from . import printed
from .test_agent import PLUGINS as AGENT_PLUGINS
from .test_server import EVERY_KEY, PLUGINS

SERVER = f'server {{ trust_domain = "example.org" data_dir = "/d" {EVERY_KEY} }} {PLUGINS}'
AGENT = (
    """agent { trust_domain = "example.org" server_address = "s" server_port = 1
  trust_bundle_path = "b" sds { default_svid_name = "d" } authorized_delegates = []
  experimental { sync_interval = "1s" ratelimit { fetch_secrets = 1 }
    broker { bind_address = "x" brokers = [{ id = "spiffe://a/b"
      allowed_reference_types = [{ type_url = "t" }] }] } } }
telemetry { Prometheus { port = 1 tls { use_spire_svid = true } } DogStatsd = [{ address = "a" }]
  InMem {} }
health_checks { bind_port = 1 }
"""
    + AGENT_PLUGINS
)

ODD = st.sampled_from(
    [None, True, 0, -1, 2**70, 1.5, "", "x", "0s", "-1h", "[", [], [[]], {}, [{}], [{}, {}], [1],
     {"": 1}, {"a": {"b": {}}}, [{"a": 1}, {"a": 2}], {"a": None}]
)  # fmt: skip


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


def _replaced(document: Any, path: tuple[Any, ...], value: Any) -> str:
    document = copy.deepcopy(document)
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        pytest.param(SERVER, read_server_config, id="server"),
        pytest.param(printed.hcl("istio-server"), read_server_config, id="printed server"),
        pytest.param(AGENT, read_agent_config, id="agent"),
        pytest.param(printed.hcl("istio-agent"), read_agent_config, id="printed agent"),
    ],
)
def test_one_odd_value_is_read_or_refused(text: str, read: Callable[..., object]) -> None:
    document = parse(text)
    paths = _paths(document)

    @given(st.sampled_from(paths), ODD)
    def check(path: tuple[Any, ...], value: Any) -> None:
        with contextlib.suppress(InvalidArgument):
            read(parse(_replaced(document, path, value)))

    check()


@given(st.text(max_size=30), st.sampled_from(["server", "plugins", "telemetry", "x"]))
def test_any_block_is_read_or_refused(text: str, key: str) -> None:
    for read in (read_server_config, read_agent_config):
        with contextlib.suppress(InvalidArgument):
            read(parse(f"{key} {{ {text} }}"))
        with contextlib.suppress(InvalidArgument):
            read(parse(f"{key} = {text}"))


def test_block_given_as_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="server: expected a block, got a text"):
        read_server_config(parse('server = "x"'))
