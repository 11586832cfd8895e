"""The service prefixes of one node, kept up to date: a Service or a slice that changes costs a look at that Service alone."""

from collections.abc import Mapping
from itertools import chain

from msgspec import Struct

from towpath.bgp.services import Entries, announcements_of, configured, outcomes, standing
from towpath.model.cluster import Cluster
from towpath.model.net import Prefix, host_prefix
from towpath.model.reason import Reason, Why
from towpath.model.service import EndpointSlice, Service
from towpath.model.speaker import Announcement


class _Claims(Struct, frozen=True):
    """What one Service does to what its node announces."""

    announced: Mapping[Prefix, tuple[Why, ...]]
    withheld: frozenset[Prefix]
    """Single cluster addresses that the configuration lists and that this node has no endpoint for."""


_NOTHING = _Claims({}, frozenset())


class ServiceTable:
    """Services, their endpoints, and what follows for ``node``."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._entries = Entries()
        self._services: dict[str, Service] = {}
        self._slices: dict[str, EndpointSlice] = {}
        self._of_service: dict[str, dict[str, EndpointSlice]] = {}
        self._claims: dict[str, _Claims] = {}
        self._announced: dict[Prefix, dict[str, tuple[Why, ...]]] = {}
        self._withheld: dict[Prefix, set[str]] = {}
        self._routes: dict[Prefix, tuple[Why, ...]] | None = None

    @property
    def services(self) -> Mapping[str, Service]:
        """All services by key."""
        return self._services

    @property
    def slices(self) -> Mapping[str, EndpointSlice]:
        """All slices by key, as seen from the node."""
        return self._slices

    def configure(self, entries: Entries) -> None:
        """These ranges are announced; where they are others than before, every Service is looked at."""
        if entries == self._entries:
            return
        self._entries, self._routes = entries, None
        for key in self._services:
            self._judge(key)

    def put_service(self, service: Service) -> None:
        """A Service was added or changed."""
        if self._services.get(service.key) != service:
            self._services[service.key] = service
            self._judge(service.key)

    def drop_service(self, key: str) -> None:
        """A Service is gone."""
        if self._services.pop(key, None) is not None:
            self._judge(key)

    def put_slice(self, found: EndpointSlice) -> None:
        """A slice was added or changed; it may be another Service's by now."""
        seen, old = found.seen_from(self._node), self._slices.get(found.key)
        if seen == old:
            return
        if old is not None and old.service != seen.service:
            self.drop_slice(old.key)
        self._slices[seen.key] = seen
        self._of_service.setdefault(seen.service, {})[seen.key] = seen
        self._judge(seen.service)

    def drop_slice(self, key: str) -> None:
        """A slice is gone."""
        old = self._slices.pop(key, None)
        if old is None:
            return
        left = self._of_service[old.service]
        del left[key]
        if not left:
            del self._of_service[old.service]
        self._judge(old.service)

    def routes(self) -> Mapping[Prefix, tuple[Why, ...]]:
        """The prefixes and what causes each: the same object as before while nothing changed."""
        if self._routes is None:
            whole = {prefix: (why,) for prefix, why in self._entries.whole().items() if not self._withheld.get(prefix)}
            found = {prefix: tuple(chain.from_iterable(each.values())) for prefix, each in self._announced.items()}
            self._routes = {prefix: tuple(dict.fromkeys(why)) for prefix, why in (whole | found).items()}
        return self._routes

    def _judge(self, key: str) -> None:
        """Look at one Service anew."""
        service, before = self._services.get(key), self._claims.get(key, _NOTHING)
        now = _NOTHING
        if service is not None:
            now = _claims(service, self._of_service.get(key, {}), node=self._node, entries=self._entries)
        if now == before:
            return
        self._routes = None
        for prefix in before.announced:
            del self._announced[prefix][key]
            if not self._announced[prefix]:
                del self._announced[prefix]
        for prefix in before.withheld:
            self._withheld[prefix].discard(key)
        for prefix, why in now.announced.items():
            # by key, so that the order of arrival shows nowhere
            self._announced[prefix] = dict(sorted({**self._announced.get(prefix, {}), key: why}.items()))
        for prefix in now.withheld:
            self._withheld.setdefault(prefix, set()).add(key)
        if now is _NOTHING:
            self._claims.pop(key, None)
        else:
            self._claims[key] = now


def service_routes(cluster: Cluster, node: str) -> Mapping[Prefix, tuple[Why, ...]]:
    """The service prefixes of a node, from a whole cluster."""
    table = ServiceTable(node)
    table.configure(configured(cluster.bgp))
    for one in cluster.endpoint_slices.values():
        table.put_slice(one)
    for service in cluster.services.values():
        table.put_service(service)
    return table.routes()


def service_announcements(cluster: Cluster, node: str, *, drained_for: float = 0.0) -> dict[Prefix, Announcement]:
    """What a node announces of services, which was asked to drain so many seconds ago, if it is asked to."""
    stands = standing(cluster, node, drained_for=drained_for)
    return announcements_of(service_routes(cluster, node), config=cluster.bgp, node=stands)


def _claims(service: Service, slices: Mapping[str, EndpointSlice], *, node: str, entries: Entries) -> _Claims:
    announced: dict[Prefix, tuple[Why, ...]] = {}
    withheld: set[Prefix] = set()
    for entry, outcome in outcomes(service, tuple(slices.values()), node=node, entries=entries):
        prefix = host_prefix(outcome.address)
        if outcome.announced:
            announced[prefix] = (*announced.get(prefix, ()), *outcome.why)
        elif (
            outcome.reason is Reason.NO_LOCAL_ENDPOINT
            and entry is not None
            and entry.kind == "Cluster"
            and entry.single
        ):
            withheld.add(prefix)
    return _Claims(announced, frozenset(withheld)) if announced or withheld else _NOTHING
