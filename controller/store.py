"""What is known of the cluster: fed by reflectors or a folder, read as one immutable snapshot.

Nothing is ever dropped because it could not be read: a kind that cannot be listed keeps what it had, a bad object its
last good version. Readers look at ``complete`` before they delete anything.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from towpath.controller.kindstore import Decode, KindStore, Problem, Seen, Value, number
from towpath.model.cluster import Cluster, Node
from towpath.model.decode import decode, decode_node
from towpath.model.net import Prefix
from towpath.model.overlap import pools_in_force
from towpath.model.reason import InvalidSpecError, Reason, Why
from towpath.model.resource import Meta
from towpath.model.selection import ACKNOWLEDGE, remember, select
from towpath.model.selection import Memory as Selections

FIELDS: Mapping[str, str] = {
    "BGPConfiguration": "configurations",
    "BGPPeer": "peers",
    "BGPFilter": "filters",
    "IPPool": "pools",
    "IPReservation": "reservations",
    "IPAMConfiguration": "ipam_configurations",
    "IPAMBlock": "blocks",
    "AddressClaim": "claims",
    "RoutingNode": "routing_nodes",
    "Node": "nodes",
    "NodeStatus": "statuses",
}
"""The kinds that a snapshot can hold, and where it holds them."""


ADDED = frozenset({"IPReservation"})
"""Kinds of which a cluster that an earlier release was installed in has no definition yet: there is nothing to wait for."""
SELECTING = frozenset({"BGPPeer", "IPPool", "IPAMConfiguration", "RoutingNode", "Node"})
"""Kinds that say which nodes are selected."""


class _Entry(Struct):
    type: str = ""
    address: str = ""
    status: str = ""


class _Taint(Struct):
    key: str = ""


class _NodeSpec(Struct):
    podCIDR: str | None = None  # noqa: N815  # the API's names
    podCIDRs: tuple[str, ...] | None = None  # noqa: N815
    unschedulable: bool | None = None
    taints: tuple[_Taint, ...] | None = None


class _NodeStatus(Struct):
    addresses: tuple[_Entry, ...] | None = None
    conditions: tuple[_Entry, ...] | None = None
    nodeInfo: dict[str, Any] | None = None  # noqa: N815


class _NodeShape(Struct):
    """What an API server guarantees of a Node and a folder does not."""

    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


def decode_any(kind: str, body: Mapping[str, Any]) -> Value:
    """An object of ours or a Node as a value; ``InvalidSpecError`` where it is none."""
    return read_node(body) if kind == "Node" else decode(kind, body)


def decode_served(kind: str, body: Mapping[str, Any]) -> Value:
    """The same of an API server, whose definitions may be of a newer release: what is of that alone is left out."""
    return read_node(body) if kind == "Node" else decode(kind, body, served=True)


def read_node(body: Mapping[str, Any]) -> Node:
    """A Node of whatever shape; ``InvalidSpecError`` where it has not the shape of one."""
    try:
        msgspec.convert(body, _NodeShape)
    except msgspec.ValidationError as error:
        raise InvalidSpecError(Why("Node", str(body["metadata"]["name"]), ""), str(error)) from None
    return decode_node(body)


class Store:
    """The objects of some kinds. Not thread-safe: it lives in one event loop."""

    def __init__(
        self, kinds: Collection[str], *, clock: Callable[[], float] = time.monotonic, decoder: Decode = decode_any
    ) -> None:
        unknown = set(kinds) - FIELDS.keys()
        assert not unknown, f"no place in a snapshot: {unknown}"
        self._clock = clock
        self._kinds = {kind: KindStore(kind, decode=decoder, clock=clock) for kind in kinds}
        self._listeners: list[Callable[[], None]] = []
        self._cluster = Cluster()
        self._losers: tuple[Problem, ...] = ()
        self._selections: Selections = {}
        self._outside: dict[str, tuple[Problem, ...]] = {}
        self._stale = set(kinds)
        self._connected: set[str] = set()
        self.last_contact = clock()
        """When a watch was last open; the start of this process at first."""
        self._last_answer = clock()
        self.went_back = False
        """A listing had an older resourceVersion than one before: the API server's store was restored from a backup."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds wanted."""
        return tuple(self._kinds)

    @property
    def complete(self) -> bool:
        """Every wanted kind was listed at least once, or is new and not served yet."""
        return all(one.listed_once or (one.missing and name in ADDED) for name, one in self._kinds.items())

    def subscribe(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` after every change that matters, completeness and problems included."""
        self._listeners.append(callback)

    def cluster(self) -> Cluster:
        """The snapshot: the same object as before while nothing changed, and sharing every kind that did not."""
        if self._stale:
            changes = {FIELDS[kind]: self._kinds[kind].in_force() for kind in self._stale}
            if "IPPool" in self._kinds and self._stale & {"IPPool", "IPAMBlock"}:
                changes["pools"] = self._kinds["IPPool"].in_force()
            cluster = msgspec.structs.replace(self._cluster, **changes)
            if "pools" in changes:
                pools, losers = pools_in_force(cluster.pools, cluster.blocks.values())
                self._losers = tuple(_overlap(cluster, name, winner) for name, winner in losers.items())
                cluster = msgspec.structs.replace(cluster, pools=pools)
            if self.complete and self._stale & SELECTING:
                cluster, self._selections = select(cluster, memory=self._selections, now=self._clock())
            self._cluster = cluster
            self._stale = set()
        return self._cluster

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong with objects and kinds, in order."""
        self.cluster()
        found = [problem for one in self._kinds.values() for problem in one.problems()]
        for others in self._outside.values():
            found += others
        return tuple(sorted([*found, *self._losers, *map(_held, self._held_selections())]))

    def _held_selections(self) -> Iterable[tuple[Why, Meta, tuple[str, ...]]]:
        for where in self._selections:
            nodes = self._cluster.held.get(str(where))
            if nodes is not None:
                yield where, getattr(self._cluster, FIELDS[where.kind])[where.name].meta, nodes

    def unreachable_for(self) -> float:
        """Seconds without any answer of the API server; 0 while a watch is open."""
        return 0.0 if self._connected else self._clock() - self.last_contact

    def unanswered_for(self) -> float:
        """Seconds without any answer of the API server, be it a refusal; 0 while a watch is open."""
        return 0.0 if self._connected else self._clock() - max(self._last_answer, self.last_contact)

    def seed(self, cluster: Cluster, *, node: str) -> None:
        """Remember an earlier life: last good versions, what was there, what selectors selected.

        The blocks of ``node`` are its agent's own affair: they are its own only if the API server says so.
        """
        for kind, one in self._kinds.items():
            values: Mapping[str, Value] = getattr(cluster, FIELDS[kind])
            one.seed(value for value in values.values() if not (kind == "IPAMBlock" and _owner(value) == node))
        self._selections = remember(cluster)
        self.service_ranges(cluster.service_ranges)

    def service_ranges(self, ranges: tuple[Prefix, ...]) -> None:
        """Where addresses of services come from."""
        if ranges != self._cluster.service_ranges:
            self._cluster = msgspec.structs.replace(self.cluster(), service_ranges=ranges)
            self._tell()

    def expect(self, kind: str, names: Collection[str]) -> None:
        """Objects of these names were there not long ago: too many of them gone at once is not believed at once."""
        one = self._kinds[kind]
        before = one.unsure()
        one.expect(names)
        self._note(kind, changed=one.unsure() != before)

    def unsure(self, kind: str) -> frozenset[str]:
        """Names of objects that may exist although the listing lacks them, and of which nothing else is known."""
        return self._kinds[kind].unsure()

    def listing(self, kind: str) -> "Listing":
        """Take in a listing page by page; nothing counts before it is complete."""
        return Listing(self._kinds[kind], self._listed)

    def listed(self, kind: str, objects: Iterable[Mapping[str, Any]], *, version: str = "") -> None:
        """A complete listing of a kind in one piece."""
        listing = self.listing(kind)
        listing.page(objects)
        listing.done(version=version)

    def _listed(self, kind: str, found: Mapping[str, Seen], version: str) -> None:
        one, was_complete = self._kinds[kind], self.complete
        if one.version and number(version) < one.version:
            self.went_back = True
            self._tell()
        self._note(kind, changed=one.listed(found, version=version) or self.complete != was_complete)

    def upserted(self, kind: str, body: Mapping[str, Any]) -> None:
        """An object was added or changed."""
        self._note(kind, changed=self._kinds[kind].upserted(body))

    def deleted(self, kind: str, name: str) -> None:
        """An object is gone."""
        self._note(kind, changed=self._kinds[kind].deleted(name))

    def kind_missing(self, kind: str) -> None:
        """The API server does not know the kind: what there was stays in force."""
        self._note(kind, changed=self._kinds[kind].gone())

    def refused(self, kind: str, message: str) -> None:
        """The API server does not let us list or watch the kind: what there was stays in force. Empty: it does again."""
        if self._kinds[kind].refused(message):
            self._tell()

    def answered(self) -> None:
        """The API server gave an answer, whatever it was."""
        self._last_answer = self._clock()

    def report(self, source: str, problems: Iterable[Problem]) -> None:
        """Problems of something else that feeds this store (files that cannot be read), replacing those before."""
        found = tuple(problems)
        if found != self._outside.get(source, ()):
            self._outside[source] = found
            self._tell()

    def look_again_in(self, kind: str) -> float | None:
        """Seconds until a new listing of the kind is needed to settle what the breaker holds; None: not needed."""
        breaker = self._kinds[kind].breaker
        at = breaker.look_again_at if breaker else None
        return None if at is None else max(0.0, at - self._clock())

    def contact(self, kind: str, *, connected: bool) -> None:
        """The API server answered for this kind (``connected``: and a watch is open), or the connection was lost."""
        if connected:
            self._connected.add(kind)
            self.last_contact = self._clock()
            self.refused(kind, "")
        elif kind in self._connected:
            self._connected.discard(kind)
            self.last_contact = self._clock()

    def _note(self, kind: str, *, changed: bool) -> None:
        self._stale.add(kind)
        if changed:
            self._tell()

    def _tell(self) -> None:
        for callback in self._listeners:
            callback()


class Listing:
    """A listing on its way: of each page only what its objects mean is kept, so that memory is bounded by one page."""

    def __init__(self, kind: KindStore, done: Callable[[str, Mapping[str, Seen], str], None]) -> None:
        self._kind = kind
        self._done = done
        self._found: dict[str, Seen] = {}

    def page(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Some of the objects."""
        for body in objects:
            self._found[str(body["metadata"]["name"])] = self._kind.read(body)

    def done(self, *, version: str) -> None:
        """That was all, as of ``version``."""
        self._done(self._kind.kind, self._found, version)


def _owner(block: Value) -> str:
    return "" if isinstance(block, Node) else str(block.spec.node)


def _held(found: tuple[Why, Meta, tuple[str, ...]]) -> Problem:
    where, meta, nodes = found
    return Problem(
        kind=where.kind,
        name=where.name,
        reason=Reason.SELECTION_HELD,
        message=(
            f"selects nothing since labels changed, and keeps {', '.join(nodes[:3])}{' and others' if nodes[3:] else ''}: "
            f"mend the labels or the selector, or give the annotation {ACKNOWLEDGE} a new value"
        ),
        field=where.field,
        uid=meta.uid,
        generation=meta.generation,
    )


def _overlap(cluster: Cluster, name: str, winner: str) -> Problem:
    pool = cluster.pools[name]
    return Problem(
        kind="IPPool",
        name=name,
        reason=Reason.OVERLAPPING_POOL,
        message=f"{pool.spec.cidr} overlaps {cluster.pools[winner].spec.cidr} of IPPool/{winner}, which stays in force",
        field="spec.cidr",
        uid=pool.meta.uid,
        generation=pool.meta.generation,
    )
