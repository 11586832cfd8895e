"""A server of services and claims in a dictionary, that carries plans out under versions, whole or in part."""

from ipaddress import ip_address

from msgspec.structs import replace

from tests.unit.ipam.world import pool
from towpath.ipam.loadbalancer.book import World
from towpath.ipam.loadbalancer.plan import Change, Claim, LoadBalancerPlan, Publication, plan
from towpath.ipam.loadbalancer.sharing import objection
from towpath.model.balanced import ADDRESSES, CONDITION, OUR_CLASS, SHARES, Balanced, decode_balanced
from towpath.model.cluster import AddressClaim
from towpath.model.codec import to_builtins
from towpath.model.kinds.claim import AddressClaimSpec
from towpath.model.net import address_name
from towpath.model.resource import Meta, Resource


def balancing(name: str, cidr: str, **spec):
    """A pool for load balancers."""
    return pool(name, cidr, allowedUses=["LoadBalancer"], **spec)


class Server:
    """The objects as the API server has them; ``world()`` is what a controller with a fresh cache sees."""

    def __init__(self, *pools, **known) -> None:
        self.pools = {one.name: one for one in pools}
        self.known = known
        self.bodies: dict[str, dict] = {}
        self.claims: dict[str, AddressClaim] = {}
        self.version = 10

    def put(
        self,
        name: str,
        *,
        kind: str = "LoadBalancer",
        families=("IPv4",),
        policy: str = "SingleStack",
        ports=(80,),
        asks: str = "",
        key: str = "",
        our_class: bool = True,
        **spec,
    ) -> None:
        """Create a Service of the namespace ``shop``, or change it; its status stays."""
        self.version += 1
        full = name if "/" in name else f"shop/{name}"
        namespace, _, short = full.partition("/")
        before = self.bodies.get(full, {})
        annotations = {ADDRESSES: asks, SHARES: key}
        self.bodies[full] = {
            "metadata": {
                "name": short,
                "namespace": namespace,
                "uid": before.get("metadata", {}).get("uid") or f"uid-{full}-{self.version}",
                "resourceVersion": str(self.version),
                "creationTimestamp": before.get("metadata", {}).get("creationTimestamp")
                or f"2026-01-01T00:00:{self.version % 60:02}Z",
                "labels": {"app": short},
                "annotations": {field: value for field, value in annotations.items() if value},
            },
            "spec": {
                "type": kind,
                "loadBalancerClass": OUR_CLASS if our_class and kind == "LoadBalancer" else None,
                "ipFamilies": list(families),
                "ipFamilyPolicy": policy,
                "ports": [{"port": port, "protocol": "TCP"} for port in ports],
                **spec,
            },
            "status": before.get("status", {}),
        }

    def show(self, name: str, *entries: dict) -> None:
        """Somebody else writes the status of a Service."""
        self.version += 1
        body = self.bodies[f"shop/{name}"]
        body["status"] = {**body["status"], "loadBalancer": {"ingress": list(entries)}}
        body["metadata"]["resourceVersion"] = str(self.version)

    def delete(self, name: str) -> None:
        """The Service is gone."""
        del self.bodies[f"shop/{name}"]

    def services(self) -> dict[str, Balanced]:
        """All of them, as values."""
        return {name: decode_balanced(body) for name, body in self.bodies.items()}

    def world(self) -> World:
        """What is known of all this."""
        labels = {"shop": {"team": "a"}, "other": {"team": "b"}}
        return World(
            pools=self.pools, claims=dict(self.claims), services=self.services(), namespaces=labels, **self.known
        )

    def has(self, name: str) -> list[str]:
        """The addresses that a Service shows."""
        return [str(one) for one in self.services()[f"shop/{name}"].addresses]

    def says(self, name: str) -> tuple[str, str]:
        """Status and reason of our condition."""
        found = self.services()[f"shop/{name}"].condition
        assert found is not None, f"{name} has no condition"
        return found.status, found.reason

    def settle(self) -> LoadBalancerPlan:
        """Plan and carry out until there is nothing to do."""
        for _ in range(12):
            made = plan(self.world())
            if made.is_empty:
                return made
            self.carry_out(made)
            self.judge()
        raise AssertionError(f"it does not end: {made}")

    def carry_out(self, made: LoadBalancerPlan) -> None:
        """All of a plan."""
        for one in (*made.claims, *made.changes, *made.publications):
            self.write(one)

    def write(self, one: Claim | Change | Publication) -> bool:
        """One write, refused where the versions do not fit."""
        match one:
            case Claim():
                return self._create(one.spec)
            case Change():
                return self._change(one)
            case Publication():
                return self._publish(one)

    def _create(self, spec: AddressClaimSpec) -> bool:
        name = address_name(spec.address)
        if name in self.claims:
            return False
        self.version += 1
        self.claims[name] = Resource(
            "AddressClaim", Meta(name, uid=f"uid-{self.version}", resource_version=str(self.version)), spec
        )
        return True

    def _change(self, one: Change) -> bool:
        uids = {body["metadata"]["uid"] for body in self.bodies.values()}
        now = self.claims.get(one.claim.name)
        if now is None or now.meta != one.claim.meta or any(tenant.uid in uids for tenant in one.gone):
            return False
        if not one.spec.services:
            del self.claims[one.claim.name]
            return True
        self.version += 1
        meta = replace(now.meta, resource_version=str(self.version))
        self.claims[one.claim.name] = replace(now, meta=meta, spec=one.spec)
        return True

    def _publish(self, one: Publication) -> bool:
        body = self.bodies.get(one.service.key)
        if body is None or body["metadata"]["resourceVersion"] != one.service.resource_version:
            return False
        status = dict(body["status"])
        if one.ingress is not None:
            status["loadBalancer"] = {"ingress": [dict(entry.body) for entry in one.ingress]}
        others = [each for each in status.get("conditions", ()) if each["type"] != CONDITION]
        status["conditions"] = [*others, *([to_builtins(one.condition)] if one.condition else [])]
        self.version += 1
        body["status"] = status
        body["metadata"]["resourceVersion"] = str(self.version)
        return True

    def judge(self) -> None:
        """What a status shows of a pool is claimed for that Service; who is in one claim asked for it."""
        for claim in self.claims.values():
            for tenant in claim.spec.services:
                assert objection(tenant, claim.spec.services) is None, claim
        for service in self.services().values():
            if service.condition is None:
                continue
            for address in service.addresses:
                if any(address in one.spec.cidr for one in self.pools.values()):
                    claim = self.claims.get(address_name(address))
                    assert claim is not None, f"{service.key} shows {address} without a claim"
                    assert service.uid in {one.uid for one in claim.spec.services}, (service.key, claim)

    def hold(self, address: str) -> None:
        """A claim that somebody makes by hand."""
        self._create(AddressClaimSpec(ip_address(address)))
