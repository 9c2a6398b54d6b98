"""Go's own functions, without those that compare (`logic.py`)."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

from spire_py_plugins.node_attestor.agent_path_template.formatting import (
    Writer,
    format_float,
    format_value,
    quote_text,
)
from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    ANY,
    TEXT,
    Function,
)
from spire_py_plugins.node_attestor.agent_path_template.values import (
    BigInteger,
    InvalidTemplate,
    List,
    Map,
    Value,
    Work,
    is_number,
    kind_name,
    to_bytes,
)

_MAX_WIDTH = 1000
_VERB = re.compile(
    r"%(?:(?P<flags>[-+0 #]*)(?P<width>\d{1,4})?(?:\.(?P<digits>\d{0,4}))?)(?P<verb>.)?", re.DOTALL
)
_HTML = str.maketrans(
    {'"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "\0": "\ufffd"}
)
_JS = {
    "\\": "\\\\",
    "'": "\\'",
    '"': '\\"',
    "<": "\\u003C",
    ">": "\\u003E",
    "&": "\\u0026",
    "=": "\\u003D",
}


def _index(value: Value, *keys: Value) -> Value:
    if value is None:
        raise InvalidTemplate("nil has no values")
    for key in keys:
        match value:
            case Map():
                if not isinstance(key, str):
                    raise InvalidTemplate(f"a {kind_name(key)} is no key")
                # As in Go, this is how to ask for what may not be there.
                value = value.entries.get(key, "" if value.of == "string" else None)
            case List():
                value = value.items[_position(key, len(value.items))]
            case str():
                data = to_bytes(value)
                value = data[_position(key, len(data))]
            case _:
                raise InvalidTemplate(f"a {kind_name(value)} has no values")
    return value


def _position(key: Value, length: int) -> int:
    if not is_number(key) or not 0 <= key < length:
        raise InvalidTemplate(f"there is no value {key if is_number(key) else kind_name(key)}")
    return key


def _len(value: Value) -> int:
    match value:
        case str():
            return len(to_bytes(value))
        case List():
            return len(value.items)
        case Map():
            return len(value.entries)
    raise InvalidTemplate(f"a {kind_name(value)} has no length")


def _print(work: Work, *values: Value) -> str:
    """Texts of values, with a blank between two of which none is a text."""
    writer = Writer()
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            writer.write(" ")
        writer.write(format_value(work, value))
    return writer.text


def _println(work: Work, *values: Value) -> str:
    writer = Writer()
    for index, value in enumerate(values):
        writer.write(" " if index else "")
        writer.write(format_value(work, value))
    writer.write("\n")
    return writer.text


def _one_text(work: Work, values: tuple[Value, ...]) -> str:
    return _print(work, *("<no value>" if value is None else value for value in values))


def _html(work: Work, *values: Value) -> str:
    return _one_text(work, values).translate(_HTML)


def _js(work: Work, *values: Value) -> str:
    return "".join(map(_js_character, _one_text(work, values)))


def _js_character(character: str) -> str:
    if character in _JS:
        return _JS[character]
    if "\udc80" <= character <= "\udcff":
        return character
    if character < " ":
        return f"\\u00{ord(character):02X}"
    return character if character.isprintable() else f"\\u{ord(character):04X}"


def _urlquery(work: Work, *values: Value) -> str:
    return quote_plus(to_bytes(_one_text(work, values)), safe="-_.~")


def _printf(work: Work, layout: str, *values: Value) -> str:
    """A layout with values in it. What Go marks as wrong within the text is refused here."""
    writer, position, rest = Writer(), 0, list(values)
    for verb in _VERB.finditer(layout):
        writer.write(layout[position : verb.start()])
        position = verb.end()
        if verb["verb"] == "%":
            writer.write("%")
            continue
        if not rest:
            raise InvalidTemplate(f"there is no value for {verb[0]}")
        writer.write(_formatted(work, verb, rest.pop(0)))
    writer.write(layout[position:])
    if rest:
        raise InvalidTemplate("there are more values than places for them")
    return writer.text


def _formatted(work: Work, verb: re.Match[str], value: Value) -> str:
    width = int(verb["width"] or 0)
    digits = None if verb["digits"] is None else int(verb["digits"] or 0)
    if max(width, digits or 0) > _MAX_WIDTH:
        raise InvalidTemplate(f"{verb[0]} is wider than {_MAX_WIDTH}")
    flags = verb["flags"] or ""
    text = _text_of(work, verb["verb"] or "", value, flags, digits)
    if text is None or "#" in flags or (width and isinstance(value, List | Map)):
        raise InvalidTemplate(f"{verb[0]} is not for a {kind_name(value)}")
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and not isinstance(value, str | bool) and digits is None:
        sign = text[:1] if text[:1] in set("+- ") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width, "0" if "0" in flags else " ")


def _text_of(work: Work, verb: str, value: Value, flags: str, digits: int | None) -> str | None:
    """The text of a value, not yet as wide as wanted; None where the verb is not for it."""
    if isinstance(value, BigInteger):
        value = value.value
    if isinstance(value, str):
        return _text_verb(verb, value, digits)
    if is_number(value) and (verb in set("doxXbcUq") or (verb == "v" and (flags or digits))):
        return _number_verb(verb, value, flags, digits)
    if isinstance(value, float) and (verb in set("fFeEgG") or digits is not None or "+" in flags):
        return _float_verb(verb, value, flags, digits)
    if verb == "v" or (verb == "t" and isinstance(value, bool)):
        return format_value(work, value)
    if verb == "s" and isinstance(value, List) and value.of == "string":
        return format_value(work, value)
    return None


def _text_verb(verb: str, text: str, digits: int | None) -> str | None:
    match verb:
        case "s" | "v":
            return text if digits is None else text[:digits]
        case "q":
            return quote_text(text if digits is None else text[:digits])
        case "x" | "X" if digits is None:
            return to_bytes(text).hex() if verb == "x" else to_bytes(text).hex().upper()
    return None


def _number_verb(verb: str, number: int, flags: str, digits: int | None) -> str | None:
    if verb in {"c", "U", "q"}:
        return _character_verb(verb, number)
    text = format(abs(number), {"v": "d"}.get(verb, verb)).rjust(digits or 0, "0")
    if digits == 0 and number == 0:
        text = ""
    sign = "-" if number < 0 else "+" if "+" in flags else " " if " " in flags else ""
    return sign + text


def _character_verb(verb: str, number: int) -> str | None:
    if not 0 <= number <= 0x10FFFF or 0xD800 <= number < 0xE000:
        return None
    if verb == "U":
        return f"U+{number:04X}"
    return chr(number) if verb == "c" else None


def _float_verb(verb: str, number: float, flags: str, digits: int | None) -> str | None:
    sign = "+" if "+" in flags else " " if " " in flags else "-"
    if verb in set("fFeE"):
        return format(number, f"{sign}.{6 if digits is None else digits}{verb.lower()}")
    if verb == "g" and digits is None:
        return sign.strip("-") * (number >= 0) + format_float(number)
    return None


BUILTINS: dict[str, Function] = {
    "html": Function(_html, (), ANY, works=True),
    "index": Function(_index, (ANY,), ANY),
    "js": Function(_js, (), ANY, works=True),
    "len": Function(_len, (ANY,)),
    "print": Function(_print, (), ANY, works=True),
    "printf": Function(_printf, (TEXT,), ANY, works=True),
    "println": Function(_println, (), ANY, works=True),
    "urlquery": Function(_urlquery, (), ANY, works=True),
}
