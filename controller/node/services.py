"""Services and EndpointSlices as an agent follows them: only while the configuration announces any, and not under a breaker.

A sink for two reflectors, or for a folder. What was known last stays while nobody answers, at a start from the snapshot.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from msgspec.structs import replace

from towpath.bgp.service_table import ServiceTable
from towpath.bgp.services import Entries
from towpath.controller.following import AtTimes, Body, Gathered
from towpath.controller.kindstore import Problem
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix
from towpath.model.reason import InvalidSpecError, Reason, Why
from towpath.model.service import EndpointSlice, Service, decode_endpoint_slice, decode_service, key_of

KINDS = ("Service", "EndpointSlice")
Read = Service | EndpointSlice | Problem | None
"""What an object says, or what is wrong with it; None: nothing that is announced."""


class WatchedServices(AtTimes):
    """What is known of services. ``changed`` is called after each change of what is announced, or of what is wrong."""

    def __init__(self, node: str, *, changed: Callable[[], None], report: Callable[[Iterable[Problem]], None]) -> None:
        super().__init__()
        self._changed = changed
        self._report = report
        self._table = ServiceTable(node)
        self._unheard = set(KINDS)
        """Kinds of which nobody has said yet which objects there are, or that we are not to know."""
        self._problems: dict[tuple[str, str], Problem] = {}
        self._told = self._table.routes()

    def want(self, entries: Entries) -> None:
        """These ranges are announced; without any, services are forgotten."""
        self._table.configure(entries)
        if not entries and (self.wanted.is_set() or self._table.services or self._table.slices):
            for key in tuple(self._table.services):
                self._table.drop_service(key)
            for key in tuple(self._table.slices):
                self._table.drop_slice(key)
            self._unheard = set(KINDS)
            self._wrong({})
        self.be_wanted(bool(entries))
        self._told = self._table.routes()

    @property
    def settled(self) -> bool:
        """Whether it is known what there is, or that it cannot be known."""
        return not self.wanted.is_set() or not self._unheard

    def routes(self) -> Mapping[Prefix, tuple[Why, ...]]:
        """The prefixes that this node announces: the same object as before while nothing changed."""
        return self._table.routes()

    def seed(self, cluster: Cluster) -> None:
        """What was known in an earlier life counts until somebody says what there is."""
        for one in cluster.endpoint_slices.values():
            self._table.put_slice(one)
        for service in cluster.services.values():
            self._table.put_service(service)

    def added_to(self, cluster: Cluster) -> Cluster:
        """The picture with what is known of services in it, as it is kept on disk."""
        return replace(cluster, services=dict(self._table.services), endpoint_slices=dict(self._table.slices))

    # -- what a reflector or a folder calls -------------------------------------------------------------------------------

    def listing(self, kind: str) -> Gathered[Read]:
        """A list begins."""
        return Gathered(lambda body: (key_of(body), _read(kind, body)), functools.partial(self.listed, kind))

    def listed(self, kind: str, found: Mapping[str, Read]) -> None:
        """What all objects of a kind say, by key."""
        for key in [key for key in self._known(kind) if key not in found]:
            self._drop(kind, key)
        problems = {place: one for place, one in self._problems.items() if place[0] != kind}
        for key, read in found.items():
            self._take(kind, key, read, problems)
        self._unheard.discard(kind)
        self._wrong(problems)
        self._changed()

    def upserted(self, kind: str, body: Body) -> None:
        """One was added or changed."""
        problems, key = dict(self._problems), key_of(body)
        problems.pop((kind, key), None)
        self._take(kind, key, _read(kind, body), problems)
        self._wrong(problems)
        self._tell()

    def deleted(self, kind: str, name: str) -> None:
        """One is gone."""
        self._drop(kind, name)
        self._wrong({place: one for place, one in self._problems.items() if place != (kind, name)})
        self._tell()

    def kind_missing(self, kind: str) -> None:
        """A server without services: a control plane for tests."""
        self._cannot(kind, Reason.KIND_MISSING, "the API server does not serve this kind")

    def refused(self, kind: str, message: str) -> None:
        """We are not to read them: what was read last stays in force."""
        self._cannot(kind, Reason.FORBIDDEN, message)

    def contact(self, kind: str, *, connected: bool) -> None:
        """A watch that is open is one that is allowed."""
        if connected and (kind, "") in self._problems:
            self._wrong({place: one for place, one in self._problems.items() if place != (kind, "")})

    # -- what is kept -------------------------------------------------------------------------------------------------------

    def _known(self, kind: str) -> Mapping[str, Service | EndpointSlice]:
        return self._table.services if kind == "Service" else self._table.slices

    def _drop(self, kind: str, key: str) -> None:
        if kind == "Service":
            self._table.drop_service(key)
        else:
            self._table.drop_slice(key)

    def _take(self, kind: str, key: str, read: Read, problems: dict[tuple[str, str], Problem]) -> None:
        """Keep what an object says; one without the shape of its kind leaves what it said last in force."""
        match read:
            case Problem():
                problems[kind, key] = read
            case Service():
                self._table.put_service(read)
            case EndpointSlice():
                self._table.put_slice(read)
            case None:
                self._drop(kind, key)
            case _:
                assert_never(read)

    def _cannot(self, kind: str, reason: Reason, message: str) -> None:
        self._unheard.discard(kind)
        problem = Problem(kind, "", reason, f"{message}; what was read last stays in force")
        self._wrong({**self._problems, (kind, ""): problem})
        self._changed()

    def _wrong(self, problems: dict[tuple[str, str], Problem]) -> None:
        if problems != self._problems:
            self._problems = problems
            self._report(problems.values())

    def _tell(self) -> None:
        before, self._told = self._told, self._table.routes()
        if self._told is not before:
            self._changed()


def _read(kind: str, body: Body) -> Read:
    try:
        return decode_service(body) if kind == "Service" else decode_endpoint_slice(body)
    except InvalidSpecError as error:
        uid = str(body["metadata"].get("uid", ""))
        return Problem(kind, key_of(body), Reason.INVALID_SPEC, error.message, error.where.field, uid)
