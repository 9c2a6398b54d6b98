"""Masks: which fields of a message are asked for, or given (feature G18)."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)

Fields = frozenset[str]
"""The names that are true in a mask. None where a mask is absent: everything."""


def mask_fields(message: Message, name: str) -> Fields | None:
    """The fields chosen by the mask that `message` has under `name`; None when it has none."""
    if not message.HasField(name):
        return None
    return fields_of(getattr(message, name))


def fields_of(mask: Message) -> Fields:
    """The names of the fields that are true in a mask."""
    return frozenset(field.name for field, chosen in mask.ListFields() if chosen)


def apply_mask(message: M, mask: Message | None) -> M:
    """The message itself, less what an output mask does not choose.

    What the mask has no field for, such as an ID, always stays. A mask's field may name a oneof.
    """
    for field in mask.DESCRIPTOR.fields if mask is not None else ():
        if not getattr(mask, field.name):
            message.ClearField(field.name)
    return message


def output_mask(request: Message) -> Message | None:
    """The output mask of a request; None when it has none."""
    if not request.HasField("output_mask"):
        return None
    mask: Message = request.output_mask  # type: ignore[attr-defined] # not of every message
    return mask
