"""The sessions of a plan as documents, for programs as text at once: a mesh of a thousand nodes has two million of them.

What sessions have in common is written once for all that follow one another, and what is told of a peer once for all nodes
that have it.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, fields

from towpath.controller.plan.table import SessionRows, cause
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
_ALIKE = [place for place, one in enumerate(fields(Session)) if one.name not in _PEERS]
_SHARED = slice(_ALIKE[0], _ALIKE[-1] + 1)
"""The places of all others, which are beside one another."""
_VARYING = ("name", "peerIP", "passive", "why")
"""The keys of those fields, in the order in which they are written."""
_json = msgspec.json.encode
_BOOLEANS = ("false", "true")
_NAME, _PASSIVE = attrgetter("name"), attrgetter("passive")
_TEXTS, _CAUSE = attrgetter("texts"), attrgetter("cause")


class Encoded(Struct, frozen=True):
    """A list whose items are JSON already."""

    items: list[str]


class _Peer(Struct, frozen=True):
    """What the sessions of a name say of their peer, as values, as JSON, and as a table shows it."""

    address: Address
    why: tuple[Why, ...]
    shown: str | None
    whys: list[Document]
    texts: tuple[str, str, str]
    """Of ``name``, ``peerIP`` and ``why``."""
    cause: str


class SessionWriter:
    """Writes the sessions of one node after the other."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def documents(self, found: Iterable[Session]) -> list[Document]:
        """Each session as a document."""
        return [
            {**like, "name": one.name, "peerIP": peer.shown, "passive": one.passive, "why": peer.whys}
            for like, some, peers in self._runs(found)
            for one, peer in zip(some, peers, strict=True)
        ]

    def encoded(self, found: Iterable[Session]) -> Encoded:
        """The same as JSON."""
        made: list[str] = []
        for like, some, peers in self._runs(found):
            first, second, third, fourth = _around(like)
            between = [f"{third}{passive}{fourth}" for passive in _BOOLEANS]
            made += [
                f"{first}{name}{second}{address}{between[one.passive]}{why}}}"
                for one, (name, address, why) in zip(some, map(_TEXTS, peers), strict=True)
            ]
        return Encoded(made)

    def rows(self, found: Iterable[Session]) -> list[SessionRows]:
        """The same as the rows of a table."""
        return [
            SessionRows(
                like,
                peers=[peer.shown or str(like["interface"]) for peer in peers],
                passive=list(map(_PASSIVE, some)),
                causes=list(map(_CAUSE, peers)),
            )
            for like, some, peers in self._runs(found)
        ]

    def _runs(self, found: Iterable[Session]) -> Iterator[tuple[Document, list[Session], list[_Peer]]]:
        """Sessions that follow one another and differ in their peers alone: the first as a document, they, and their peers."""
        for _, run in groupby(found, key=lambda one: astuple(one)[_SHARED]):
            some = list(run)
            peers = map(self._peers.get, map(_NAME, some))
            yield (
                _session(some[0]),
                some,
                [
                    peer
                    if peer is not None and peer.why is one.why and peer.address is one.peer_address
                    else self._new(one)
                    for one, peer in zip(some, peers, strict=True)
                ],
            )

    def _new(self, one: Session) -> _Peer:
        shown, causes = str(one.peer_address) if one.found else None, whys(one.why)
        texts = (_json(one.name).decode(), _json(shown).decode(), _json(causes).decode())
        peer = self._peers[one.name] = _Peer(one.peer_address, one.why, shown, causes, texts, cause(causes))
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
