"""Who has which address, from claims and from statuses: what a plan reads, and enters what it gives into."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from towpath.ipam.loadbalancer.places import Places, places_of, serves
from towpath.ipam.loadbalancer.sharing import objection, staying
from towpath.model.balanced import Balanced
from towpath.model.cluster import AddressClaim, IPPool
from towpath.model.kinds.claim import Tenant
from towpath.model.net import Address, Prefix, address_name, contains, family_of, host_prefix
from towpath.model.resource import version_number


class World(Struct, frozen=True):
    """What is known, each kind listed whole: pools in force, claims, services by key, and labels of namespaces."""

    pools: Mapping[str, IPPool]
    claims: Mapping[str, AddressClaim]
    services: Mapping[str, Balanced]
    namespaces: Mapping[str, Mapping[str, str]]
    takes_all: bool = True
    """Whether services that name no class are ours too, where nobody else has given them an address."""
    reserved: tuple[Prefix, ...] = ()
    """Addresses that nobody gets: kept by people, or others' already."""
    barred: frozenset[str] = frozenset()
    """Names of claims that nobody can read."""


class Book:
    """The books of one world. A Service that is *behind* is known in an older version than a claim was decided on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.by_uid = {one.uid: one for one in world.services.values()}
        self.claims = {one.spec.address: one for one in world.claims.values()}
        self.tenants: dict[Address, dict[str, Tenant]] = {}
        """Who has an address by uid, those to whom it is given from now on included."""
        self._recorded: dict[str, dict[Address, Tenant]] = {}
        self._shared: dict[tuple[str, str], set[Address]] = {}
        for address, claim in self.claims.items():
            self.tenants[address] = {}
            for tenant in claim.spec.services:
                self._recorded.setdefault(tenant.uid, {})[address] = tenant
                self._enter(address, tenant)
        self._shown: dict[Address, list[Balanced]] = {}
        for service in world.services.values():
            for address in service.addresses:
                self._shown.setdefault(address, []).append(service)
        self._stay = {address: self._staying(claim) for address, claim in self.claims.items()}
        self.places = places_of(world.pools.values(), reserved=world.reserved)
        for address in (*self.claims, *self._shown):
            place = self.place_of(address)
            if place is not None:
                place.take(address)

    def recorded(self, service: Balanced) -> Mapping[Address, Tenant]:
        """What claims say of a service."""
        return self._recorded.get(service.uid, {})

    def is_behind(self, service: Balanced) -> bool:
        """Whether a claim was decided on a newer version of the Service than is known here."""
        return any(version_number(one.resource_version) > service.version for one in self.recorded(service).values())

    def stays(self, service: Balanced, address: Address) -> bool:
        """Whether a service may have an address with the others that have it; of those that do not fit one goes."""
        return service.uid in self._stay[address]

    def leaving(self, address: Address) -> list[Tenant]:
        """Those that a claim names and that may not have the address with the others."""
        return [one for one in self.claims[address].spec.services if one.uid not in self._stay[address]]

    def may_keep(self, service: Balanced, address: Address) -> bool:
        """Whether a pool has the address for this service, and it asks for no other."""
        place = self.place_of(address)
        asked = service.requested.get(family_of(address), address)
        return place is not None and asked == address and self.serves(place, service)

    def shared_by(self, service: Balanced) -> list[Address]:
        """Addresses of services with its key, the lowest first."""
        return sorted(self._shared.get((service.namespace, service.sharing_key), ()), key=int)

    def objection(self, service: Balanced, address: Address) -> str | None:
        """Why a service cannot have an address; None: it can."""
        if address_name(address) in self._world.barred:
            return f"AddressClaim/{address_name(address)} cannot be read"
        has = self.tenants.get(address)
        if has is not None and not has:
            return f"AddressClaim/{self.claims[address].name} keeps it from all services"
        for other in self._shown.get(address, ()):
            if other.uid != service.uid and other.uid not in (has or {}):
                return f"Service/{other.key} has it"
        return objection(service.tenant(), self._as_told((has or {}).values()))

    def lowest_free(self, place: Places) -> Address | None:
        """The lowest address of a pool that anybody can have."""
        while (address := place.first_free()) is not None:
            if address_name(address) not in self._world.barred:
                return address
            place.take(address)
        return None

    def give(self, service: Balanced, address: Address) -> None:
        """A service has an address from now on."""
        place = self.place_of(address)
        assert place is not None, f"{address} is of no pool"
        place.take(address)
        self._enter(address, service.tenant())

    def place_of(self, address: Address) -> Places | None:
        """The pool for load balancers that an address lies in."""
        return among(address, self.places[family_of(address)])

    def serves(self, place: Places, service: Balanced) -> bool:
        """Whether a pool is for a service."""
        return serves(place.pool, service, self._world.namespaces)

    def _staying(self, claim: AddressClaim) -> frozenset[str]:
        pairs = []
        for tenant in claim.spec.services:
            service = self.by_uid.get(tenant.uid)
            known = service is not None and not self.is_behind(service)
            pairs.append((tenant, service.tenant() if service is not None and known else tenant))
        return staying(pairs)

    def _as_told(self, tenants: Iterable[Tenant]) -> Iterator[Tenant]:
        """Services as claims say that they are, and as they are by now: whoever comes must fit both."""
        for tenant in tenants:
            yield tenant
            service = self.by_uid.get(tenant.uid)
            if service is not None:
                yield service.tenant()

    def _enter(self, address: Address, tenant: Tenant) -> None:
        self.tenants.setdefault(address, {})[tenant.uid] = tenant
        if tenant.sharing_key:
            namespace = tenant.service.partition("/")[0]
            self._shared.setdefault((namespace, tenant.sharing_key), set()).add(address)


def among(address: Address, places: Iterable[Places]) -> Places | None:
    """The one of these pools that an address lies in."""
    one = host_prefix(address)
    return next((place for place in places if contains(place.pool.spec.cidr, one)), None)
