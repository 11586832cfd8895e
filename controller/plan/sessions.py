"""The sessions of a plan as documents, for programs as text at once: a mesh of a thousand nodes has two million of them.

What sessions have in common is written once for all that follow one another, and what is told of a peer once for all nodes
that have it.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from towpath.model.codec import to_builtins
from towpath.model.kinds.kind import json_name
from towpath.model.net import Address
from towpath.model.reason import Why
from towpath.model.speaker import Session

Document = dict[str, Any]
_NAMED = {
    "name", "scope", "peer_address", "peer_port", "remote_as", "local_as", "local_address", "passive", "families",
    "hold_time", "keepalive_time", "connect_retry_time", "restart_time", "import_policy", "max_prefix",
    "allow_local_as", "filters", "advertise", "next_hop", "password_ref", "state", "reason", "why",
    "peer_node", "shared_subnet", "interface", "next_hop_beside", "own_hops",
}  # fmt: skip
"""Fields of a session that are written under names of their own, or say what other fields say."""
_FURTHER = tuple((one.name, json_name(one.name)) for one in fields(Session) if one.name not in _NAMED)
"""All others are written as they are named."""
_PLAIN = frozenset({bool, int, str})
_PEERS = frozenset({"name", "peer_address", "passive", "why", "peer_node"})
"""Fields in which the sessions of a mesh differ."""
_SHAPE: Callable[[Session], tuple[object, ...]] = attrgetter(
    *(one.name for one in fields(Session) if one.name not in _PEERS)
)
_VARYING = ("name", "peerIP", "passive", "why")
"""The keys of those fields, in the order in which they are written."""
_json = msgspec.json.encode
_BOOLEANS = ("false", "true")


class Encoded(Struct, frozen=True):
    """A list whose items are JSON already."""

    items: list[str]


class _Peer(Struct, frozen=True):
    """What the sessions of a name say of their peer, as values and as JSON."""

    address: Address
    why: tuple[Why, ...]
    shown: str | None
    whys: list[Document]
    texts: tuple[str, str, str]
    """Of ``name``, ``peerIP`` and ``why``."""


class SessionWriter:
    """Writes the sessions of one node after the other."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def documents(self, found: Iterable[Session]) -> list[Document]:
        """Each session as a document."""
        last: Document = {}
        made: list[Document] = []
        for one, peer, differs in self._walked(found):
            if differs:
                last = _session(one)
            made.append({**last, "name": one.name, "peerIP": peer.shown, "passive": one.passive, "why": peer.whys})
        return made

    def encoded(self, found: Iterable[Session]) -> Encoded:
        """The same as JSON."""
        first = second = third = fourth = ""
        made: list[str] = []
        for one, peer, differs in self._walked(found):
            if differs:
                first, second, third, fourth = _around(_session(one))
            name, address, why = peer.texts
            made.append(f"{first}{name}{second}{address}{third}{_BOOLEANS[one.passive]}{fourth}{why}}}")
        return Encoded(made)

    def _walked(self, found: Iterable[Session]) -> Iterator[tuple[Session, _Peer, bool]]:
        """Each session, what it says of its peer, and whether more than that differs from the one before it."""
        shape: tuple[object, ...] = ()
        for one in found:
            peer = self._peers.get(one.name)
            if peer is None or peer.address is not one.peer_address or peer.why is not one.why:
                peer = self._new(one)
            now = _SHAPE(one)
            yield one, peer, now != shape
            shape = now

    def _new(self, one: Session) -> _Peer:
        shown, causes = str(one.peer_address) if one.found else None, whys(one.why)
        texts = (_json(one.name).decode(), _json(shown).decode(), _json(causes).decode())
        peer = self._peers[one.name] = _Peer(one.peer_address, one.why, shown, causes, texts)
        return peer


def _around(document: Document) -> Iterator[str]:
    """The JSON of a document in pieces: what comes before each of the values that vary; the last of them ends it."""
    text = "{"
    for key, value in document.items():
        text += f"{_json(key).decode()}:"
        if key in _VARYING:
            yield text
            text = ","
        else:
            text += f"{_json(value).decode()},"


def _session(one: Session) -> Document:
    made: Document = {
        "name": one.name,
        "scope": one.scope,
        "state": one.state,
        "reason": one.reason,
        "peerIP": None,
        "interface": one.interface,
        "port": one.peer_port,
        "remoteAS": one.remote_as,
        "localAS": one.local_as,
        "type": "eBGP" if one.ebgp else "iBGP",
        "localAddress": None if one.local_address is None else str(one.local_address),
        "passive": one.passive,
        "password": {"secret": one.password_ref.name, "key": one.password_ref.key} if one.password_ref else None,
        "holdTime": one.hold_time,
        "keepaliveTime": one.keepalive_time,
        "connectRetryTime": one.connect_retry_time,
        "gracefulRestart": None if one.restart_time is None else {"restartTime": one.restart_time},
        "nextHop": one.next_hop,
        "allowLocalAS": one.allow_local_as,
        "addressFamilies": [family.key for family in one.families],
        "filters": list(one.filters),
        "advertise": one.advertise,
        "importPolicy": one.import_policy,
        "maxPrefixes": {
            "limit": one.max_prefix.limit,
            "warnPercent": one.max_prefix.warn_percent,
            "action": one.max_prefix.action,
            "restartAfter": one.max_prefix.restart_after,
        },
    }
    for name, key in _FURTHER:
        value = getattr(one, name)
        made[key] = value if value is None or type(value) in _PLAIN else to_builtins(value)
    made["why"] = []
    return made


def whys(causes: Iterable[Why]) -> list[Document]:
    """Why an item is there."""
    return [{"kind": why.kind, "name": why.name, "field": why.field or None} for why in causes]
