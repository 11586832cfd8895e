"""Our values to plain data and back: one pair of hooks for msgspec, used for objects, frames and files alike."""

from typing import Any, TypeVar

import msgspec

from towpath.model.kinds.values import PARSERS
from towpath.model.net import Address, parse_scoped
from towpath.model.secret import Secret

T = TypeVar("T")


def encode_hook(value: Any) -> Any:
    """A value that msgspec does not know, as plain data: numbers stay numbers, the rest becomes its text."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, int) and type(value).__str__ is int.__str__:
        return int(value)
    return str(value)


def decode_hook(kind: Any, value: Any) -> Any:
    """Plain data as a value of ``kind``; a bad one raises ``ValueError`` with a sentence for the user."""
    if kind is Secret:
        return Secret(value)
    return PARSERS[kind](value)


def frame_hook(kind: Any, value: Any) -> Any:
    """``decode_hook`` for what processes of ours say to each other: an address may say on whose link it is."""
    return parse_scoped(value) if kind is Address else decode_hook(kind, value)


def to_builtins(value: Any) -> Any:
    """Any of our values as JSON-compatible data."""
    return msgspec.to_builtins(value, enc_hook=encode_hook)


def from_builtins(data: Any, kind: type[T]) -> T:
    """JSON-compatible data as a value; ``msgspec.ValidationError`` names the place."""
    return msgspec.convert(data, kind, dec_hook=decode_hook)


def packer() -> msgspec.msgpack.Encoder:
    """An encoder to msgpack."""
    return msgspec.msgpack.Encoder(enc_hook=encode_hook)


def unpacker(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    """A decoder from msgpack."""
    return msgspec.msgpack.Decoder(kind, dec_hook=frame_hook)
