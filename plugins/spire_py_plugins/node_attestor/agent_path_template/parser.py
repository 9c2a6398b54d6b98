"""Reads a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from spire_py_plugins.node_attestor.agent_path_template.expressions import (
    Expressions,
    Shape,
    is_group,
)
from spire_py_plugins.node_attestor.agent_path_template.lexer import Piece, pieces
from spire_py_plugins.node_attestor.agent_path_template.parts import (
    Action,
    Branch,
    Include,
    Leave,
    Part,
    Range,
    Text,
)
from spire_py_plugins.node_attestor.agent_path_template.values import InvalidTemplate

_MAX_DEPTH = 16
MAIN = "agent-path"


def parse(text: str, shape: Shape) -> dict[str, tuple[Part, ...]]:
    """The templates in a text by name, and the text itself as `MAIN`.

    Raises:
        InvalidTemplate: it cannot be read, or uses what is not known.
    """
    return _Parser(list(pieces(text)), shape).parse()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a template an action stands.

    Attributes:
        dot: the shape of `.`.
        root: that of `$`.
        variables: the names that are known; inner places know those of outer ones.
        loops: whether `break` may stand here.
    """

    dot: Shape
    root: Shape
    variables: list[str] = field(default_factory=lambda: ["$"])
    loops: bool = False


class _Parser:
    def __init__(self, template: Sequence[Piece], shape: Shape) -> None:
        self._pieces = template
        self._shape = shape
        self._next = 0
        self._depth = 0
        self._templates: dict[str, tuple[Part, ...]] = {}
        self._included: set[str] = set()

    def parse(self) -> dict[str, tuple[Part, ...]]:
        parts = self._parts(_Place(self._shape, self._shape), top=True)
        if self._next < len(self._pieces):
            raise InvalidTemplate(f"unexpected {{{{{self._keyword()}}}}}")
        self._add(MAIN, parts)
        if missing := self._included - self._templates.keys():
            raise InvalidTemplate(f"template {min(missing)!r} is not defined")
        return self._templates

    def _add(self, name: str, parts: tuple[Part, ...]) -> None:
        """As in Go, a template may take the place of one without contents."""
        if not _is_empty(self._templates.get(name, ())):
            if _is_empty(parts):
                return
            raise InvalidTemplate(f"template {name!r} is defined twice")
        self._templates[name] = parts

    def _keyword(self) -> str:
        """The keyword that the next piece begins with, empty for none."""
        if self._next == len(self._pieces):
            return ""
        tokens = [each for each in self._pieces[self._next].tokens or () if each.kind != "space"]
        return tokens[0].text if tokens and tokens[0].kind == "keyword" else ""

    def _parts(self, place: _Place, *, top: bool = False) -> tuple[Part, ...]:
        """Up to the `else` or `end` that is not theirs."""
        self._depth += 1
        if self._depth > _MAX_DEPTH + 1:
            raise InvalidTemplate("parts are nested too deeply")
        parts: list[Part] = []
        while self._next < len(self._pieces) and self._keyword() not in {"else", "end"}:
            piece = self._pieces[self._next]
            keyword = self._keyword()
            self._next += 1
            if piece.tokens is None:
                parts += [Text(piece.text)] if piece.text else []
            elif keyword == "define":
                if not top:
                    raise InvalidTemplate("unexpected {{define}}")
                self._define(self._expressions(piece, place))
            else:
                parts.append(self._part(keyword, self._expressions(piece, place), place))
        self._depth -= 1
        return tuple(parts)

    def _expressions(self, piece: Piece, place: _Place) -> Expressions:
        return Expressions(piece.tokens or (), place.variables, place.dot, place.root)

    def _part(self, keyword: str, action: Expressions, place: _Place) -> Part:
        if not keyword:
            return self._action(action)
        action.take()
        match keyword:
            case "break" | "continue":
                action.finish()
                if not place.loops:
                    raise InvalidTemplate(f"{{{{{keyword}}}}} outside of range")
                return Leave(keyword == "continue")
            case "template":
                return self._include(action)
            case "block":
                return self._block(action)
        return self._control(keyword, action, place)

    def _action(self, action: Expressions) -> Action:
        pipeline = action.pipeline("command")
        if not pipeline.names and is_group(action.shape(pipeline)):
            raise InvalidTemplate("there is no text for a group of fields; name one of them")
        return Action(pipeline)

    def _control(self, keyword: str, action: Expressions, place: _Place) -> Part:
        mark = len(place.variables)
        pipeline = action.pipeline(keyword)
        dot = {"if": place.dot, "with": action.shape(pipeline)}.get(keyword)
        loops = place.loops or keyword == "range"
        body = self._parts(_Place(dot, place.root, place.variables, loops))
        otherwise = self._otherwise(keyword, place)
        del place.variables[mark:]
        if keyword == "range":
            return Range(pipeline, body, otherwise)
        return Branch(keyword == "with", pipeline, body, otherwise)

    def _otherwise(self, keyword: str, place: _Place) -> tuple[Part, ...]:
        """What comes after the body, up to and with the `end`."""
        action = self._end(keyword, place)
        if action is None:
            return ()
        again = action.peek()
        if again.kind == "keyword" and again.text == keyword != "range":
            action.take()
            self._depth += 1
            parts = (self._control(keyword, action, place),)
            self._depth -= 1
            return parts
        if again.kind != "end":
            raise InvalidTemplate(f"unexpected {again.text!r} after else")
        parts_ = self._parts(place)
        if self._end(keyword, place) is not None:
            raise InvalidTemplate(f"{keyword} has a second else")
        return parts_

    def _end(self, keyword: str, place: _Place) -> Expressions | None:
        """What comes after the `else` that is next; None for `end`."""
        word = self._keyword()
        if not word:
            raise InvalidTemplate(f"{keyword} has no end")
        action = self._expressions(self._pieces[self._next], place)
        self._next += 1
        action.take()
        if word == "else":
            return action
        if action.peek().kind != "end":
            raise InvalidTemplate(f"unexpected {action.peek().text!r} after end")
        return None

    def _name(self, keyword: str, action: Expressions) -> str:
        token = action.take()
        if token.kind != "literal" or not isinstance(token.value, str):
            raise InvalidTemplate(f"{keyword} needs a quoted name")
        return token.value

    def _define(self, action: Expressions) -> None:
        action.take()
        name = self._name("define", action)
        action.finish()
        self._add(name, self._body("define"))

    def _body(self, keyword: str) -> tuple[Part, ...]:
        """The contents of a template, which may be filled with anything."""
        place = _Place(None, None)
        parts = self._parts(place)
        if self._end(keyword, place) is not None:
            raise InvalidTemplate(f"unexpected {{{{else}}}} in {keyword}")
        return parts

    def _include(self, action: Expressions) -> Include:
        name = self._name("template", action)
        self._included.add(name)
        return Include(name, None if action.peek().kind == "end" else action.pipeline("template"))

    def _block(self, action: Expressions) -> Include:
        name = self._name("block", action)
        pipeline = action.pipeline("block")
        self._add(name, self._body("block"))
        self._included.add(name)
        return Include(name, pipeline)


def _is_empty(parts: Sequence[Part]) -> bool:
    return all(isinstance(part, Text) and not part.text.strip() for part in parts)
