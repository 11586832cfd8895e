"""The sessions of a plan as documents, for programs as text at once: a mesh of a thousand nodes has two million of them.

What sessions have in common is written once for all that follow one another, and what is told of a peer once for all nodes
that have it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise, repeat
from operator import attrgetter, itemgetter, ne
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
_SHARED = itemgetter(slice(_ALIKE[0], _ALIKE[-1] + 1))
"""What a session has in all others, which are beside one another."""
_VARYING = ("name", "peerIP", "passive", "why")
"""The keys of those fields, in the order in which they are written."""
_json = msgspec.json.encode
_BOOLEANS = ("false", "true")
_NAME, _PASSIVE = attrgetter("name"), attrgetter("passive")
_TEXTS, _CAUSE = attrgetter("texts"), attrgetter("cause")


class EncodedRun(Struct, frozen=True):
    """Items that follow one another, in the pieces of their text: of each what all have there, or a list of what each has."""

    count: int
    pieces: Sequence[str | list[str]]


class Encoded(Struct, frozen=True):
    """A list whose items are JSON already."""

    runs: list[EncodedRun]

    def text(self, between: str) -> Iterator[str]:
        """The items, with ``between`` each two of them, a run at a time: put together from all pieces in one go."""
        gap = ""
        for run in self.runs:
            columns = [piece if isinstance(piece, list) else repeat(piece, run.count) for piece in run.pieces]
            gaps = chain((gap,), repeat(between, run.count - 1))
            yield "".join(chain.from_iterable(zip(gaps, *columns, strict=True)))
            gap = between


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
        made: list[EncodedRun] = []
        for like, some, peers in self._runs(found):
            first, second, third, fourth = _around(like)
            between = [f"{third}{passive}{fourth}" for passive in _BOOLEANS]
            names, addresses, causes = map(list, zip(*map(_TEXTS, peers), strict=True))
            sides = [between[one.passive] for one in some]
            made.append(EncodedRun(len(some), (first, names, second, addresses, sides, causes, "}")))
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
        some = list(found)
        peers = [
            peer if peer is not None and peer.why is one.why and peer.address is one.peer_address else self._new(one)
            for one, peer in zip(some, map(self._peers.get, map(_NAME, some)), strict=True)
        ]
        shared = list(map(_SHARED, map(astuple, some)))
        ends = [place for place, differs in enumerate(map(ne, shared, shared[1:]), 1) if differs]
        for start, end in pairwise((0, *ends, len(some))) if some else ():
            yield _session(some[start]), some[start:end], peers[start:end]

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
