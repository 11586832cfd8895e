"""What a definition of a kind is made of: a struct for its spec, and what no struct can say.

A field is one annotated line of a ``Struct``: its type, default, ``Meta`` with bounds, pattern and description. A rule
that spans fields is a ``Rule``: one CEL expression for the API server, one Python predicate for us, one message.
"""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from msgspec import Struct

from towpath.model.resource import Meta

S = TypeVar("S")
_ACRONYMS = {
    "ip": "IP",
    "ips": "IPs",
    "as": "AS",
    "id": "ID",
    "uid": "UID",
    "uuid": "UUID",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "mac": "MAC",
    "bgp": "BGP",
    "med": "MED",
    "ipv4": "IPV4",
    "ipv6": "IPV6",
}
GROUP = "towpath.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


def json_name(attribute: str) -> str:
    """The JSON name of a field: camelCase with the API's acronyms (``peer_ip`` is ``peerIP``, ``node_uid`` ``nodeUID``)."""
    first, *others = attribute.split("_")
    return first + "".join(_ACRONYMS.get(word, word.capitalize()) for word in others)


class Rule(Struct, frozen=True):
    """A check of a whole object that its schema cannot say.

    ``cel`` is evaluated by the API server at the schema node ``at`` (``""`` the object, ``"spec"``, or every item of a
    list below it: ``"spec.importV4[]"``); ``check`` is the same on decoded values, of an item its value: True means good. Rules about the old object (immutability) have ``check`` None and ``cel``
    with ``oldSelf``. ``field`` names the field that the message is about, ``[]`` standing for each place in a list.
    """

    cel: str
    message: str
    field: str
    at: str = "spec"
    check: Callable[[Meta, Any], bool] | None = None


class Column(Struct, frozen=True):
    """A printer column of ``kubectl get``; ``priority`` 1 shows with ``-o wide`` only."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


class Kind(Struct, Generic[S], frozen=True):
    """One kind, whole. ``status`` None: a kind that users write; its status holds conditions and nothing else."""

    name: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    description: str
    spec: type[S]
    status: type[Struct] | None = None
    rules: tuple[Rule, ...] = ()
    columns: tuple[Column, ...] = ()
    categories: tuple[str, ...] = ("towpath",)
    earlier: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    """A stored spec as this release would have it, where an earlier one had a field in another form."""


def broken(kind: Kind[Any], meta: Meta, spec: Any) -> Iterator[tuple[str, Rule]]:
    """The rules that an object breaks and the field of each, with places in lists filled in."""
    for rule in kind.rules:
        if rule.check is None:
            continue
        for places, value in _values(spec, rule.at.split(".")[1:]):
            if not rule.check(meta, value):
                field = rule.field
                for place in places:
                    field = field.replace("[]", f"[{place}]", 1)
                yield field, rule


def _values(value: Any, names: list[str]) -> Iterator[tuple[tuple[int, ...], Any]]:
    """What is found below a value by JSON names, ``name[]`` being each item of a list, with the places in the lists."""
    if not names:
        yield (), value
        return
    name = names[0].removesuffix("[]")
    found = _field(value, name)
    for place, item in enumerate(found):
        for places, inner in _values(item, names[1:]):
            yield (place, *places), inner


def _field(value: Any, name: str) -> Any:
    """The field of a struct that has this name in JSON."""
    return getattr(value, value.__struct_fields__[value.__struct_encode_fields__.index(name)])


def duration_rule(path: str, *, lowest: int, highest: int, zero: bool = False, source: str = "") -> Rule:
    """The bounds of a duration at ``path`` below the spec (JSON names), in seconds; ``zero`` is allowed besides where set."""
    names = path.split(".")
    there = [f"has(self.{'.'.join(names[: depth + 1])})" for depth in range(len(names))]
    value = f"duration(self.{path})"
    bounds = f"({value} >= duration('{lowest}s') && {value} <= duration('{highest}s'))"
    if zero:
        bounds = f"({value} == duration('0s') || {bounds})"

    def check(_meta: Meta, spec: Any) -> bool:
        for name in names:
            if spec is None:
                return True
            spec = _field(spec, name)
        return spec is None or (zero and spec == 0) or lowest <= spec <= highest

    return Rule(
        cel=f"!({' && '.join(there)}) || {bounds}",
        message=f"{names[-1]} must be {'0s or ' if zero else ''}{lowest}s to {highest}s{f' ({source})' if source else ''}",
        field=f"spec.{path}",
        check=check,
    )
