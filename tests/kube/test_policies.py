"""Network policies on the real API server, of Kubernetes and of Calico: pools say that they are not enforced until it is acknowledged."""

from typing import Any

from tests.leading import AlwaysLeading
from towpath.controller import cluster
from towpath.controller.kube.client import KubeApi
from towpath.controller.kube.connect import connect
from towpath.controller.store import Store
from towpath.controller.unenforced import Unenforced
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.lab.process import wait_for
from towpath.model.selection import ACKNOWLEDGE

POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CALICO = "/apis/crd.projectcalico.org/v1/globalnetworkpolicies"
TYPE, REASON = "PoliciesAcknowledged", "PolicyNotEnforced"


def calico(kubernetes: RealKubernetes) -> None:
    """Its own kind of policy, as its manifests define it."""
    names = {"kind": "GlobalNetworkPolicy", "plural": "globalnetworkpolicies", "singular": "globalnetworkpolicy"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "crd.projectcalico.org", "names": names, "scope": "Cluster", "versions": [version]}
    kubernetes.request(
        "POST", CRDS, body={"metadata": {"name": "globalnetworkpolicies.crd.projectcalico.org"}, "spec": spec}
    )

    def made() -> bool:
        body = {"apiVersion": "crd.projectcalico.org/v1", "kind": "GlobalNetworkPolicy"}
        try:
            kubernetes.request("POST", CALICO, body={**body, "metadata": {"name": "deny"}})
        except OSError:
            return False
        return True

    wait_for(made, deadline=30, what="Calico's kind is served", interval=0.2)


class Controller:
    """A controller that leads, with what it knows of policies."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.changes = 0
        self.now = 0.0
        self.policies = Unenforced(api, changed=self._changed)
        self.store = Store(cluster.KINDS)
        self.part = cluster.ClusterController(
            api,
            self.store,
            lease=AlwaysLeading(),
            clock=lambda: self.now,
            others=lambda: self.policies.refusals(self.store.cluster().pools),
        )

    def _changed(self) -> None:
        self.changes += 1

    async def step(self) -> None:
        """Look at everything, and say what is to be said: words alone change twice a minute at most."""
        self.now += 60.0
        assert await self.policies.refresh()
        for kind in self.store.kinds:
            page = await self.api.list(kind)
            self.store.listed(kind, page.items, version=page.resource_version)
        await self.part.step()


async def condition(api: KubeApi, pool: str) -> dict[str, Any] | None:
    """What a pool says of policies."""
    conditions = (await api.get("IPPool", pool))["status"]["conditions"]
    return next((one for one in conditions if one["type"] == TYPE), None)


async def told(api: KubeApi) -> list[str]:
    """The pools that events about policies are about."""
    found = (await api.list("Event", namespace="default")).items
    return sorted(one["involvedObject"]["name"] for one in found if one["reason"] == REASON)


async def test_policies_are_told_of_every_pool_for_pods_until_they_are_acknowledged() -> None:
    """How many, where, which, and what to do; each goes with its annotation, and the condition with the last of them."""
    with RealKubernetes() as kubernetes:
        kubernetes.install_crds()
        async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
            for name, spec in (
                ("pods", {"cidr": "10.244.0.0/16"}),
                ("services", {"cidr": "198.51.100.0/24", "allowedUses": ["LoadBalancer"]}),
            ):
                await api.create("IPPool", custom("IPPool", name, spec))
            controller = Controller(api)
            await controller.step()
            found = await condition(api, "pods")
            assert found is not None
            assert (found["status"], await told(api), controller.changes) == ("True", [], 0)

            for name in ("web", "db"):
                kubernetes.request("POST", POLICIES, body={"metadata": {"name": name}, "spec": {"podSelector": {}}})
            calico(kubernetes)
            for _ in range(2):
                await controller.step()
            found = await condition(api, "pods")
            assert found is not None
            assert (found["status"], found["reason"]) == ("False", REASON)
            assert f"annotation {ACKNOWLEDGE}" in found["message"]
            named = "3 without it: GlobalNetworkPolicy deny, NetworkPolicy default/db, NetworkPolicy default/web"
            assert f"{named}; in namespaces default (2)" in found["message"]
            assert await condition(api, "services") is None
            assert (await told(api), controller.changes) == (["pods"], 1)

            known = {"metadata": {"annotations": {ACKNOWLEDGE: "2026-01-01"}}}
            await api.patch("NetworkPolicy", "web", known, namespace="default")
            await api.patch("StoredCalicoGlobalNetworkPolicy", "deny", known)
            await controller.step()
            found = await condition(api, "pods")
            assert found is not None
            assert "1 without it: NetworkPolicy default/db" in found["message"]
            await api.delete("NetworkPolicy", "db", namespace="default")
            await controller.step()
            found = await condition(api, "pods")
            assert found is not None
            assert (found["status"], controller.policies.policies) == ("True", ())
