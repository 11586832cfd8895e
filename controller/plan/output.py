"""Documents as text: JSON and YAML for programs, one node at a time, so that no plan has to fit into memory.

In JSON an item of a list is a line.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec
import yaml

from towpath.controller.plan.sessions import Encoded

Format = Literal["table", "json", "yaml"]
_ENCODER = msgspec.json.Encoder()


class _Dumper(yaml.SafeDumper):
    """Repeats what is shared instead of pointing at it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  # the signature is PyYAML's
        return True


def json_text(document: Mapping[str, Any]) -> str:
    """A field a line, of a list an item a line."""
    return (
        "{\n" + ",\n".join(f" {_json(key)}: {''.join(_lines(value, 2))}" for key, value in document.items()) + "\n}\n"
    )


def yaml_text(value: Any) -> str:
    """YAML that reads back as the JSON would."""
    plain = msgspec.json.decode(msgspec.json.encode(value))
    return str(yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


def streamed(
    style: Literal["json", "yaml"],
    head: Mapping[str, Any],
    nodes: Iterable[tuple[str, Any]],
    tail: Mapping[str, Any],
) -> Iterator[str]:
    """One object in pieces: the fields of ``head``, ``nodes`` by name, the fields of ``tail``."""
    if style == "yaml":
        yield yaml_text(dict(head))
        yield "nodes:\n"
        empty = True
        for name, document in nodes:
            empty = False
            yield "".join(f"  {line}\n" for line in yaml_text({name: document}).splitlines())
        if empty:
            yield "  {}\n"
        yield yaml_text(dict(tail)) if tail else ""
        return
    yield "{\n"
    for key, value in head.items():
        yield f" {_json(key)}: {_json(value)},\n"
    yield ' "nodes": {'
    comma = ""
    for name, document in nodes:
        yield f"{comma}\n  {_json(name)}: {{"
        within = "\n"
        for key, value in document.items():
            yield f"{within}   {_json(key)}: "
            yield from _lines(value, 4)
            within = ",\n"
        yield "}"
        comma = ","
    yield "}"
    for key, value in tail.items():
        yield f",\n {_json(key)}: "
        yield from _lines(value, 2)
    yield "\n}\n"


def _lines(value: Any, by: int) -> Iterator[str]:
    """JSON on one line, of a list one item a line: large plans stay readable, and their differences do."""
    gap = ",\n" + " " * by
    if isinstance(value, Encoded) and value.runs:
        yield f"[\n{' ' * by}"
        yield from value.text(gap)
        yield "]"
    elif isinstance(value, Encoded):
        yield "[]"
    elif not isinstance(value, list) or not value:
        yield _json(value)
    else:
        items = _ENCODER.encode_lines(value).decode()[:-1].replace("\n", gap)  # in JSON no text has a new line
        yield f"[\n{' ' * by}{items}]"


def _json(value: Any) -> str:
    return _ENCODER.encode(value).decode()
