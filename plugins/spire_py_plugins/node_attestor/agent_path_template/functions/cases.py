"""Upper and lower case, and words. Go maps each letter to one letter: `ß` has no upper case."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from spire_py_plugins.node_attestor.agent_path_template.functions.function import TEXT, Function
from spire_py_plugins.node_attestor.agent_path_template.functions.texts import BLANKS
from spire_py_plugins.node_attestor.agent_path_template.values import to_bytes

_CONNECTORS = frozenset("-_" + BLANKS)


def _upper(letter: str) -> str:
    return next((each for each in (letter.upper(), letter.title()) if len(each) == 1), letter)


def _title(letter: str) -> str:
    title = letter.title()
    return title if len(title) == 1 else letter


def _lower(letter: str) -> str:
    return letter.lower()[0]


def _is_upper(letter: str) -> bool:
    return unicodedata.category(letter) == "Lu"


def _each(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(map(change, text))


def _title_words(text: str) -> str:
    result, before = [], " "
    for letter in text:
        result.append(_title(letter) if _separates(before) else letter)
        before = letter
    return "".join(result)


def _separates(letter: str) -> bool:
    if letter == "_" or unicodedata.category(letter)[0] == "L":
        return False
    if unicodedata.category(letter) == "Nd":
        return False
    return letter.isascii() or letter in BLANKS


def _untitle(text: str) -> str:
    result, first = [], True
    for letter in text:
        result.append(_lower(letter) if first else letter)
        first = letter in BLANKS
    return "".join(result)


def _swapcase(text: str) -> str:
    result, first = [], True
    for letter in text:
        category = unicodedata.category(letter)
        if category in {"Lu", "Lt"}:
            result.append(_lower(letter))
        elif category == "Ll":
            result.append(_title(letter) if first else _upper(letter))
        else:
            result.append(letter)
            first = letter in BLANKS
            continue
        first = False
    return "".join(result)


def _bytes_as_letters(text: str) -> str:
    # goutils takes each byte for a letter; only what is not ASCII shows it.
    return to_bytes(text).decode("latin-1")


def _initials(text: str) -> str:
    return "".join(word[0] for word in re.split(f"[{BLANKS}]+", _bytes_as_letters(text)) if word)


def _nospace(text: str) -> str:
    kept = "".join(each for each in _bytes_as_letters(text) if each not in BLANKS)
    return text if len(kept) == len(to_bytes(text)) else kept


def _camelcase(text: str) -> str:
    """Words with a capital each, without what joined them; what joins at both ends stays."""
    start = next((at for at, each in enumerate(text) if each not in _CONNECTORS), None)
    if start is None:
        # What only joins has its last once more there.
        return text + text[-1:]
    result = [text[:start]]
    last, shouts = _upper(text[start]), _is_upper(text[start])
    for letter in text[start + 1 :]:
        before, last = last, letter
        if before in _CONNECTORS and letter in _CONNECTORS:
            result.append(before)
        elif before in _CONNECTORS:
            shouts, last = _is_upper(letter), _upper(letter)
        else:
            shouts = shouts and _is_upper(letter)
            last = _lower(letter) if shouts else letter
            result.append(before)
    return "".join([*result, last])


def _kind(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter in _CONNECTORS:
        return "_" if letter in "-_" else "-"
    if category[0] == "P":
        return "."
    if category == "Lu":
        return "A"
    if category[0] == "L":
        return "a"
    return "1" if category[0] == "N" else "?"


_WORD = re.compile(r"[-_]+|\.[._]*|A+(?=Aa)|Aa+|A+|a+|1+|\?+")


def _words(text: str) -> list[tuple[str, str]]:
    """The words, each with the kind of its first letter; the last is empty."""
    kinds = "".join(map(_kind, text))
    found = [
        (word[0][0].replace("_", "-"), text[word.start() : word.end()])
        for word in _WORD.finditer(kinds)
    ]
    return [*found, ("", ""), ("", "")]


def _joiner(connector: str) -> Callable[[str], str]:
    def lowered(kind: str, word: str) -> str:
        if kind == "-":
            return connector * len(word)
        return _each(_lower)(word) if kind == "A" else word

    def run(text: str) -> str:
        words, at, result = _words(text), 0, list[str]()
        while (kind := words[at][0]) and words[at + 1][0]:
            result.append(lowered(*words[at]))
            at += 1
            follows = words[at][0]
            if kind == "1":
                at = _run_on(words, at, result)
                result.append(connector if words[at][0] not in {"", ".", "-"} else "")
            elif kind in "Aa?" and follows == "1" and words[at + 1][0]:
                # A number belongs to the word after it, if that has no capital.
                if words[at + 1][0] == "a":
                    result.append(connector)
                    at = _run_on(words, at, result)
                else:
                    result.append(words[at][1])
                    at += 1
                result.append(connector if words[at][0] not in {"", ".", "-"} else "")
            elif kind in "Aa?" and follows not in {"1", "-", "."}:
                result.append(connector)
        result.append(lowered(*words[at]))
        return "".join(result)

    return run


def _run_on(words: list[tuple[str, str]], at: int, result: list[str]) -> int:
    """Takes the words of small letters and the numbers that come now."""
    while words[at][0] in {"a", "1"}:
        result.append(words[at][1])
        at += 1
    return at


CASES: dict[str, Function] = {
    "camelcase": Function(_camelcase, (TEXT,)),
    "initials": Function(_initials, (TEXT,)),
    "kebabcase": Function(_joiner("-"), (TEXT,)),
    "lower": Function(_each(_lower), (TEXT,)),
    "nospace": Function(_nospace, (TEXT,)),
    "snakecase": Function(_joiner("_"), (TEXT,)),
    "swapcase": Function(_swapcase, (TEXT,)),
    "title": Function(_title_words, (TEXT,)),
    "untitle": Function(_untitle, (TEXT,)),
    "upper": Function(_each(_upper), (TEXT,)),
}
