"""Output and input masks: messages of bools, one for each field (feature G18)."""

from __future__ import annotations

from google.protobuf.message import Message

_ALWAYS = frozenset({"id", "trust_domain"})


def mask_fields(mask: Message | None) -> frozenset[str] | None:
    """The names of the fields a mask lets through; None, as an unset mask, lets all through."""
    if mask is None:
        return None
    return frozenset(field.name for field, _ in mask.ListFields())


def apply_mask(message: Message, fields: frozenset[str] | None) -> None:
    """Clear every field that is not among `fields`; what names the object stays."""
    if fields is None:
        return
    for field, _ in message.ListFields():
        if field.name not in fields and field.name not in _ALWAYS:
            message.ClearField(field.name)
