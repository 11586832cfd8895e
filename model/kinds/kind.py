"""What a definition of a kind is made of: a struct for its spec, and what no struct can say.

A field is one annotated line of a ``Struct``: its type, default, ``Meta`` with bounds, pattern and description. A rule
that spans fields is a ``Rule``: one CEL expression for the API server, one Python predicate for us, one message.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from towpath.model.resource import Meta

S = TypeVar("S")
_ACRONYMS = {
    "ip": "IP",
    "as": "AS",
    "id": "ID",
    "uid": "UID",
    "uuid": "UUID",
    "cidr": "CIDR",
    "cidrs": "CIDRs",
    "mac": "MAC",
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

    ``cel`` is evaluated by the API server at the schema node ``at`` (``""`` the object, ``"spec"``); ``check`` is the
    same on decoded values: True means good. Rules about the old object (immutability) have ``check`` None and ``cel``
    with ``oldSelf``. ``field`` names the field that the message is about.
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
    """One kind, whole. ``singleton`` is the only name allowed, beside ``node_prefix`` + node name, where set."""

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
    printed_without_spec: bool = False
