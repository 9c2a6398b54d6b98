"""The kinds of value in a configuration, read as weakly as SPIRE reads them.

A whole number may stand in quotes (feature A27), a text may be a number. Messages never show a
value that may be secret.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, InstanceOf

from spire_py.config.durations import parse_duration
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain


class WrongShape(ValueError):
    """A value is of the wrong kind; the message lacks the key, which the reader puts before it."""


def kind_of(value: object) -> str:
    """How an error names the kind of a value."""
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        ((int, float), "a number"),
        (str, "a text"),
        (dict, "a block"),
        ((list, tuple), "a list"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "nothing")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise WrongShape(f"expected a text, got {kind_of(value)}")


def _whole(value: object) -> int:
    if isinstance(value, str):
        try:
            value = int(value, 0) if value.strip() == value and len(value) < 40 else value
        except ValueError:
            raise WrongShape("expected a whole number, got a text") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongShape(f"expected a whole number, got {kind_of(value)}")
    if not -(2**63) <= value < 2**63:
        raise WrongShape("expected a whole number of at most 64 bits")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongShape(f"expected true or false, got {kind_of(value)}")
    return value


def as_list(value: object) -> tuple[Any, ...]:
    """A list; a single text is none, as in SPIRE."""
    if not isinstance(value, (list, tuple)):
        raise WrongShape(f"expected a list, got {kind_of(value)}")
    return tuple(value)


Text: TypeAlias = Annotated[str, BeforeValidator(_text)]
Whole: TypeAlias = Annotated[int, BeforeValidator(_whole)]
Flag: TypeAlias = Annotated[bool, BeforeValidator(_flag)]
TextList: TypeAlias = Annotated[tuple[Text, ...], BeforeValidator(as_list)]


def duration(fault: str) -> BeforeValidator:
    """A validator that reads a Go duration.

    Args:
        fault: SPIRE's sentence, with `{value}` for the quoted text and `{error}` for the reason.
    """

    def read(value: object) -> timedelta:
        if isinstance(value, timedelta):
            return value
        text = _text(value)
        try:
            return parse_duration(text)
        except InvalidArgument as error:
            raise ValueError(fault.format(value=f'"{text}"', error=error)) from error

    return BeforeValidator(read)


def _trust_domain(value: object) -> TrustDomain:
    if isinstance(value, TrustDomain):
        return value
    text = _text(value)
    try:
        return TrustDomain.parse(text)
    except InvalidArgument as error:
        raise ValueError(f'could not parse trust_domain "{text}": {error}') from error


TrustDomainName: TypeAlias = Annotated[InstanceOf[TrustDomain], BeforeValidator(_trust_domain)]


def spiffe_id(fault: str) -> BeforeValidator:
    """A validator that reads a SPIFFE ID; `fault` as in `duration`."""

    def read(value: object) -> SpiffeID:
        if isinstance(value, SpiffeID):
            return value
        text = _text(value)
        try:
            return SpiffeID.parse(text)
        except InvalidArgument as error:
            raise ValueError(fault.format(value=f'"{text}"', error=error)) from error

    return BeforeValidator(read)
