"""Encodings, sums, and names by chance."""

from __future__ import annotations

import base64
import binascii
import hashlib
import uuid
import zlib
from collections.abc import Callable

from spire_py_plugins.node_attestor.agent_path_template.functions.function import TEXT, Function
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    from_bytes,
    to_bytes,
)


def _decoded(decode: Callable[[bytes], bytes]) -> Callable[[str], str]:
    def run(text: str) -> str:
        try:
            # As Go reads them, over any number of lines.
            return from_bytes(decode(to_bytes(text.replace("\r", "").replace("\n", ""))))
        except (binascii.Error, ValueError) as error:
            # sprig has the error's text as the result, which is no part of a path.
            raise InvalidTemplate("a text is not encoded as it should be") from error

    return run


def _encoded(encode: Callable[[bytes], bytes]) -> Callable[[str], str]:
    return lambda text: encode(to_bytes(text)).decode()


ENCODINGS: dict[str, Function] = {
    "adler32sum": Function(lambda text: str(zlib.adler32(to_bytes(text))), (TEXT,)),
    "b32dec": Function(_decoded(base64.b32decode), (TEXT,)),
    "b32enc": Function(_encoded(base64.b32encode), (TEXT,)),
    "b64dec": Function(_decoded(lambda text: base64.b64decode(text, validate=True)), (TEXT,)),
    "b64enc": Function(_encoded(base64.b64encode), (TEXT,)),
    "sha1sum": Function(
        lambda text: hashlib.sha1(to_bytes(text), usedforsecurity=False).hexdigest(), (TEXT,)
    ),
    "sha256sum": Function(lambda text: hashlib.sha256(to_bytes(text)).hexdigest(), (TEXT,)),
    "uuidv4": Function(lambda: str(uuid.uuid4())),
}
