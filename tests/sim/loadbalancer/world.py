"""Controllers that give addresses to services and must not be trusted, on one server in memory that judges every write."""

import json
from ipaddress import ip_address

from tests.leading import AlwaysLeading
from tests.sim.leaders import FaultyApi, InMemory, Network
from towpath.controller.cluster import KINDS as STORE_KINDS
from towpath.controller.kube.resources import RESOURCES
from towpath.controller.loadbalancer.balancers import CLAIMS, LoadBalancers
from towpath.controller.loadbalancer.followed import KINDS, Followed
from towpath.controller.store import Store
from towpath.ipam.loadbalancer.sharing import objection
from towpath.model.balanced import OUR_CLASS, Balanced, decode_balanced
from towpath.model.cluster import AddressClaim
from towpath.model.decode import decode
from towpath.model.net import address_name

WRITTEN = ("AddressClaim", "Service")
ALL = (*CLAIMS, *KINDS)


class Replica:
    """One controller with caches of its own."""

    def __init__(self, world: "World", network: Network) -> None:
        self.world = world
        self.store, self.claims = Store(STORE_KINDS), Store(CLAIMS)
        self.followed = Followed(changed=lambda: None)
        self.api = FaultyApi(world.server, network, written=WRITTEN)
        self.restart()

    def restart(self) -> None:
        """A new process; its caches are as old as the caller makes them."""
        self.part = LoadBalancers(
            self.api,
            self.store,
            self.claims,
            self.followed,
            lease=AlwaysLeading(),
            identity="one",
            told=lambda: None,
            clock=lambda: self.world.time,
        )

    def refresh(self, *kinds: str) -> None:
        """The caches of these kinds see the present; those of pools always do."""
        for kind in STORE_KINDS:
            self.store.listed(kind, self.world.page(kind).items, version=str(self.world.objects.storage.latest))
        for kind in kinds:
            if kind in CLAIMS:
                self.claims.listed(kind, self.world.page(kind).items, version=str(self.world.objects.storage.latest))
            else:
                listing = self.followed.listing(kind)
                listing.page(self.world.page(kind).items)
                listing.done(version="")

    def step(self) -> bool:
        """One pass; what it needs is known by now, though perhaps of long ago."""
        return self.world.run(self.part.step())


class World(InMemory):
    """The server and the history of claims and services, judged as it happens."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0
        self.claims: dict[str, AddressClaim] = {}
        self.services: dict[str, Balanced] = {}
        for name in ("shop", "other"):
            self.run(self.server.create("Namespace", {"metadata": {"name": name, "labels": {"team": name}}}))

    def put_pool(self, name: str, cidr: str, **spec) -> None:
        """A pool for load balancers."""
        body = {"metadata": {"name": name}, "spec": {"cidr": cidr, "allowedUses": ["LoadBalancer"], **spec}}
        self.run(self.server.create("IPPool", {"apiVersion": "towpath.io/v1alpha1", "kind": "IPPool", **body}))

    def put(self, name: str, annotations: dict | None = None, **spec) -> None:
        """Create a Service of the namespace ``shop``, or change it."""
        whole = {
            "type": "LoadBalancer",
            "loadBalancerClass": OUR_CLASS,
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80}],
            **spec,
        }
        if f"shop/{name}" in self.services:
            patch = {"metadata": {"annotations": None}, "spec": whole}
            self.run(self.server.patch("Service", name, patch, namespace="shop"))
            patch = {"metadata": {"annotations": annotations or {}}}
            self.run(self.server.patch("Service", name, patch, namespace="shop"))
        else:
            metadata = {"name": name, "namespace": "shop", "annotations": annotations or {}}
            self.run(self.server.create("Service", {"metadata": metadata, "spec": whole}, namespace="shop"))

    def delete(self, name: str) -> None:
        """Delete a Service, if it is there."""
        if f"shop/{name}" in self.services:
            self.run(self.server.delete("Service", name, namespace="shop"))

    def delete_claim(self, address: str) -> None:
        """Somebody deletes a claim."""
        self.run(self.server.delete("AddressClaim", address_name(ip_address(address))))

    def has(self, name: str) -> list[str]:
        """The addresses that a Service shows."""
        return [str(one) for one in self.services[f"shop/{name}"].addresses]

    def judge(self) -> None:
        """Look at every change since the last look, in the order in which they happened."""
        changes = sorted(
            (change.version, kind, change)
            for kind in WRITTEN
            for change in self.objects.storage.changes(RESOURCES[kind].qualified, self._seen)
        )
        for version, kind, change in changes:
            self._seen = version
            body = json.loads(change.body)
            if kind == "AddressClaim":
                self._take(self.claims, change.name, None if change.type == "DELETED" else decode(kind, body))
            else:
                key = f"{change.namespace}/{change.name}"
                self._take(self.services, key, None if change.type == "DELETED" else decode_balanced(body))
            self._judge_present()

    @staticmethod
    def _take(known, name, value) -> None:
        if value is None:
            known.pop(name, None)
        else:
            known[name] = value

    def _judge_present(self) -> None:
        """What a status shows is claimed for that Service; who is in one claim asked for it."""
        for claim in self.claims.values():
            for tenant in claim.spec.services:
                assert objection(tenant, claim.spec.services) is None, claim
        for service in self.services.values():
            for address in service.addresses:
                claim = self.claims.get(address_name(address))
                assert claim is not None, f"{service.key} shows {address} without a claim"
                assert service.uid in {one.uid for one in claim.spec.services}, (service.key, claim)
