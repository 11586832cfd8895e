"""Which service has which address of a load balancer: what to claim, publish and release, from one snapshot.

A claim comes before the status that shows its address, and goes after it. Two objects are involved that no single write
changes together, so each write fences the other: an address is put into a status only in the version of the Service that
the claim names, and a service leaves a claim only when its Service has a newer version, without the address. Every write
carries the version that it was decided on. So controllers that plan from old snapshots, or at the same time, are refused,
and what a status shows is always claimed for it.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from towpath.ipam.loadbalancer.book import Book, World, among
from towpath.ipam.loadbalancer.places import Places, gives
from towpath.ipam.loadbalancer.sharing import objection, same_facts
from towpath.model.balanced import CONDITION, OUR_CLASS, Balanced, Ingress
from towpath.model.blocks import is_open
from towpath.model.cluster import AddressClaim
from towpath.model.kinds.claim import AddressClaimSpec, Tenant
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason, Refusal, Why, listed
from towpath.model.resource import Condition, version_number

ASSIGNED = "Assigned"
RELEASED = "Released"
"""Reasons of our condition beside those of refusals."""


class Claim(Struct, frozen=True):
    """A claim to create."""

    spec: AddressClaimSpec
    why: Why


class Change(Struct, frozen=True):
    """A claim to write anew, from the version that is in ``claim``; to delete where ``spec`` has no services left.

    ``gone``: those that leave because there is no such Service any more, which the API server has to confirm.
    """

    claim: AddressClaim
    spec: AddressClaimSpec
    gone: tuple[Tenant, ...] = ()


class Publication(Struct, frozen=True):
    """What to write into the status of a Service, from the version that is in ``service``."""

    service: Balanced
    ingress: tuple[Ingress, ...] | None
    """None: it stays as it is."""
    condition: Condition | None
    """None: ours goes."""


class LoadBalancerPlan(Struct, frozen=True):
    """What to write, what was refused, and how much is left."""

    claims: tuple[Claim, ...]
    changes: tuple[Change, ...]
    publications: tuple[Publication, ...]
    refusals: tuple[Refusal, ...]
    free: Mapping[str, int]
    """Addresses left, by pool."""
    given: Mapping[str, int]
    """Addresses that services have, by pool."""
    waiting: int
    """Services that have not all that they need."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.claims or self.changes or self.publications)


class _Wish(Struct):
    """One service of ours while its addresses are decided."""

    service: Balanced
    chosen: dict[Family, Address]
    """What it has, and may have."""
    spare: dict[Family, Address]
    """What it has of a family and should not: it goes as soon as there is another."""
    new: dict[Family, Address]
    refusals: list[Refusal]
    without: list[Refusal]
    """Why it has no address of a family that it prefers and does without."""


def plan(world: World) -> LoadBalancerPlan:
    """The plan for a snapshot in which all our own confirmed writes are seen."""
    return _Plan(world).made()


class _Plan:
    def __init__(self, world: World) -> None:
        self._world = world
        self._book = Book(world)
        self._updates: dict[Address, dict[str, Tenant]] = {}
        """Of each claim, by uid, what it is to say of a service."""
        self._leaves: dict[Address, set[str]] = {}
        """Of each claim who is to be taken out of it."""
        self._publications: list[Publication] = []
        self._exhausted: dict[str, list[str]] = {}
        """Of each full pool who waits for it."""

    def made(self) -> LoadBalancerPlan:
        """Everything, in the order of what depends on what."""
        wishes = [
            self._wish(service)
            for service in sorted(self._world.services.values(), key=lambda one: (one.created, one.key))
            if self._is_ours(service) and not self._book.is_behind(service)
        ]
        for wish in sorted(wishes, key=_turn):
            self._look(wish)
        for wish in wishes:
            self._settle(wish)
        for service in self._world.services.values():
            if not self._is_ours(service) and not self._book.is_behind(service):
                self._let_go(service)
        claims = tuple(self._creations())
        changes = tuple(self._changes())
        given = {place.pool.name: 0 for places in self._book.places.values() for place in places}
        for address in self._book.tenants:
            place = self._book.place_of(address)
            if place is not None:
                given[place.pool.name] += 1
        return LoadBalancerPlan(
            claims=claims,
            changes=changes,
            publications=tuple(self._publications),
            refusals=(*(one for wish in wishes for one in wish.refusals), *self._full_pools()),
            free={place.pool.name: place.free for places in self._book.places.values() for place in places},
            given=given,
            waiting=sum(bool(wish.refusals) for wish in wishes),
        )

    # -- who is ours, and what it has -------------------------------------------------------------------------------------

    def _is_ours(self, service: Balanced) -> bool:
        if not service.is_balanced:
            return False
        if service.load_balancer_class is not None:
            return service.load_balancer_class == OUR_CLASS
        mine = self._book.recorded(service)
        strange = any(
            one.address is None or (one.address not in mine and self._book.place_of(one.address) is None)
            for one in service.ingress
        )
        if mine or service.condition is not None:
            return not strange  # else another one has taken it over
        if service.ingress:  # by another one, unless it is handed to us with the address that it has
            return service.has_request and set(service.addresses) == set(service.requested.values())
        return self._world.takes_all or service.has_request

    def _wish(self, service: Balanced) -> _Wish:
        """What a service has already, of each family the one that its status shows, else the lowest."""
        wish = _Wish(service, chosen={}, spare={}, new={}, refusals=[], without=[])
        shown = set(service.addresses)
        own = sorted(self._book.recorded(service), key=lambda one: (one not in shown, int(one)))
        for address in own:
            family = family_of(address)
            if family not in service.families or not self._book.stays(service, address):
                continue
            where = wish.chosen if self._book.may_keep(service, address) else wish.spare
            where.setdefault(family, address)
        return wish

    # -- what it gets -----------------------------------------------------------------------------------------------------

    def _look(self, wish: _Wish) -> None:
        """Find an address of each family that is lacking; none at all where all are needed and one is not to be had."""
        service = wish.service
        lacking = [family for family in service.families if family not in wish.chosen]
        if not lacking:
            return
        if service.mistake is not None:
            field, message = service.mistake
            wish.refusals.append(Refusal(Reason.INVALID_SPEC, message, Why("Service", service.key, field)))
            return
        refused: list[Refusal] = []
        found: dict[Family, Address] = {}
        for family in lacking:
            one = self._find(service, family)
            if isinstance(one, Refusal):
                refused.append(one)
            else:
                found[family] = one
        needs_all = service.family_policy == "RequireDualStack"
        if needs_all or not (found or wish.chosen):
            wish.refusals += refused
        else:
            wish.without += refused
        if refused and needs_all:
            return
        wish.new = found
        for address in found.values():
            self._book.give(service, address)
            if address in self._book.claims:
                self._updates.setdefault(address, {})[service.uid] = service.tenant()

    def _find(self, service: Balanced, family: Family) -> Address | Refusal:
        serving = [one for one in self._book.places[family] if self._book.serves(one, service)]
        usable = [one for one in serving if gives(one.pool)]
        asked = service.requested.get(family)
        if asked is not None:
            return self._asked(service, asked, serving)
        for address in service.addresses:  # it had one, and the claim is gone
            if among(address, serving) and self._book.objection(service, address) is None:
                return address
        if service.sharing_key:
            for address in self._book.shared_by(service):
                if among(address, usable) and self._book.objection(service, address) is None:
                    return address
        for place in usable:
            free = self._book.lowest_free(place)
            if free is not None:
                return free
        why = Why("Service", service.key)
        if not usable:
            text = f"no IPPool with allowedUses LoadBalancer gives it an IPv{family.value} address"
            if serving:
                state = "gives only what is asked for" if is_open(serving[0].pool) else "is disabled or deleted"
                text += f" (IPPool/{serving[0].pool.name} {state})"
            return Refusal(Reason.NO_POOL, text, why)
        for place in usable:
            self._exhausted.setdefault(place.pool.name, []).append(service.key)
        names = ", ".join(f"IPPool/{place.pool.name}" for place in usable)
        return Refusal(Reason.POOL_EXHAUSTED, f"no address is free in {names}", why)

    def _asked(self, service: Balanced, asked: Address, serving: Iterable[Places]) -> Address | Refusal:
        why = Why("Service", service.key)
        place = among(asked, serving)
        if place is None:
            text = f"{asked} is in no IPPool with allowedUses LoadBalancer that is for this service"
            return Refusal(Reason.ADDRESS_OUTSIDE, text, why)
        objecting = self._book.objection(service, asked)
        if objecting is not None:
            return Refusal(Reason.ADDRESS_TAKEN, f"{asked} is not free: {objecting}", why)
        if asked in service.addresses:
            return asked  # it had it, and the claim is gone
        if not is_open(place.pool):
            return Refusal(Reason.NO_POOL, f"{asked} is in IPPool/{place.pool.name}, which is disabled or deleted", why)
        if place.is_kept(asked):
            return Refusal(Reason.RESERVED_ADDRESS, f"{asked} is given to no service", why)
        return asked

    # -- what is written ----------------------------------------------------------------------------------------------------

    def _settle(self, wish: _Wish) -> None:
        """What becomes of the status and the claims of a service of ours."""
        service, recorded = wish.service, self._book.recorded(wish.service)
        has = {**wish.spare, **wish.chosen, **wish.new}
        wanted = [has[family] for family in service.families if family in has]
        if service.family_policy == "RequireDualStack" and len(wanted) < len(service.families):
            wanted = [one for one in wanted if one in service.addresses]
        tenant = service.tenant()
        shows = len(service.ingress) == len(wanted) and set(service.addresses) == set(wanted)
        ready = True
        for address in wanted:
            before = recorded.get(address)
            if before is None or (same_facts(before, tenant) and (shows or wish.new or _is_fenced(before, service))):
                continue
            ready = False
            if objection(tenant, self._book.leaving(address)) is None:  # else when they have gone
                self._updates.setdefault(address, {})[service.uid] = tenant
        if wish.new:
            return  # everything else when it has them
        publishing = False
        if ready:
            ingress = None if shows else tuple(Ingress(one, {"ip": str(one), "ipMode": "VIP"}) for one in wanted)
            publishing = self._publish(service, ingress, self._condition(wish, wanted))
        self._leave(service, [one for one in recorded if one not in wanted], publishing=publishing)

    def _let_go(self, service: Balanced) -> None:
        """Nothing of ours stays with a service that is not ours, and all of others' does."""
        recorded = self._book.recorded(service)
        if not recorded and service.condition is None:
            return
        others = tuple(one for one in service.ingress if one.address not in recorded)
        ingress = None if len(others) == len(service.ingress) else others
        self._leave(service, list(recorded), publishing=self._publish(service, ingress, None))

    def _publish(self, service: Balanced, ingress: tuple[Ingress, ...] | None, condition: Condition | None) -> bool:
        """Write a status where it differs; whether it does."""
        if ingress is None and _says(service.condition) == _says(condition):
            return False
        self._publications.append(Publication(service, ingress, condition))
        return True

    def _leave(self, service: Balanced, addresses: Iterable[Address], *, publishing: bool) -> None:
        """Take a service out of claims, once nobody can write their addresses into its status any more."""
        for address in addresses:
            if address in service.addresses:
                continue  # it goes from there first
            if _is_past(self._book.recorded(service)[address], service):
                self._leaves.setdefault(address, set()).add(service.uid)
            elif not publishing:
                # somebody may be about to publish it: the Service has to have another version first
                fence = None if service.condition else _condition("False", RELEASED, f"{address} goes to others")
                publishing = self._publish(service, None, fence)

    def _condition(self, wish: _Wish, wanted: Iterable[Address]) -> Condition:
        if wish.refusals:
            message = "; ".join(f"{one.object.field}: {one.message}".removeprefix(": ") for one in wish.refusals)
            return _condition("False", wish.refusals[0].reason.value, message)
        has = ", ".join(f"{one} of {self._pool_named(one)}" for one in wanted)
        return _condition("True", ASSIGNED, "; ".join((has, *(one.message for one in wish.without))))

    def _pool_named(self, address: Address) -> str:
        place = self._book.place_of(address)
        return f"IPPool/{place.pool.name}" if place is not None else "no pool"

    def _creations(self) -> Iterator[Claim]:
        for address, tenants in sorted(self._book.tenants.items(), key=lambda item: (item[0].version, int(item[0]))):
            place = self._book.place_of(address)
            if address in self._book.claims or place is None:
                continue
            services = tuple(tenants.values())
            spec = AddressClaimSpec(address, pool=place.pool.name, services=services)
            yield Claim(spec, Why("Service", services[0].service))

    def _changes(self) -> Iterator[Change]:
        for address, claim in self._book.claims.items():
            updates, leaves = self._updates.get(address, {}), self._leaves.get(address, set())
            before = claim.spec.services
            gone = tuple(one for one in before if one.uid not in self._book.by_uid)
            kept = [
                updates.get(one.uid, one) for one in before if one.uid not in leaves and one.uid in self._book.by_uid
            ]
            known = {one.uid for one in before}
            after = (*kept, *(one for uid, one in updates.items() if uid not in known))
            place = self._book.place_of(address)
            pool = place.pool.name if place is not None and before else claim.spec.pool  # one by hand is of none
            changed = after != before or pool != claim.spec.pool
            if changed and not claim.meta.deletion_timestamp:
                yield Change(claim, replace(claim.spec, services=after, pool=pool), gone)

    def _full_pools(self) -> Iterator[Refusal]:
        for pool, services in sorted(self._exhausted.items()):
            message = f"no address is left for {listed([f'Service/{one}' for one in sorted(set(services))])}"
            yield Refusal(Reason.POOL_EXHAUSTED, message, Why("IPPool", pool, "spec.cidr"))


def _is_fenced(tenant: Tenant, service: Balanced) -> bool:
    """Whether an address may be put into the status of a Service as it is known: no claim that names this version goes unseen."""
    return tenant.resource_version == service.resource_version


def _is_past(tenant: Tenant, service: Balanced) -> bool:
    """Whether nobody can put the address into the status any more: it could be into another version alone."""
    return service.version > version_number(tenant.resource_version)


def _turn(wish: _Wish) -> int:
    """Who has an address in its status comes first, then who asks for a certain one: nobody takes it by chance."""
    return 0 if wish.service.addresses else 1 if wish.service.requested else 2


def _condition(status: str, reason: str, message: str) -> Condition:
    return Condition(CONDITION, status, reason, message[:1024])


def _says(condition: Condition | None) -> tuple[str, str, str] | None:
    return None if condition is None else (condition.status, condition.reason, condition.message)
