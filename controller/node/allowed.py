"""Who gets which addresses of this node: what is asked at the desk, answered from the blocks, the pods and the records."""

from collections.abc import Mapping

from towpath.controller.node.bound import BoundPods
from towpath.controller.node.desk import Question
from towpath.controller.node.namespaces import WatchedNamespaces
from towpath.controller.node.pods import CNIPods
from towpath.controller.ports import Api
from towpath.ipam.allowance import Allowance, Asker, allowance
from towpath.ipam.apart import Labels
from towpath.ipam.hostlocal import ENDPOINT, FOUND, GATEWAY, OURS
from towpath.model.net import Address
from towpath.model.reason import Reason, Refusal, Why

_HOLDERS = {
    OURS: "this node, whose block is being given back",
    ENDPOINT: "the node itself, or a router",
    FOUND: "somebody to whom no container was given it",
    GATEWAY: "the node, as the gateway of its pods",
}


class Allowances:
    """Decides for one node."""

    def __init__(self, pods: CNIPods, *, bound: BoundPods, namespaces: WatchedNamespaces, api: Api) -> None:
        self._pods = pods
        self._namespaces = namespaces
        self._bound = bound
        self._api = api

    async def decide(self, question: Question) -> Allowance | Refusal | None:
        """What a pod may have; None while nobody can say, or where an interface is free as far as is known."""
        if question.before_plugin:
            return self._has_interface(question)
        asks: str | None = ""
        labels: Labels | None = {}
        if question.pod:
            asks = await self._bound.asks_for(question.pod, uid=question.uid, api=self._api)
            labels = await self._namespaces.labels_of(question.namespace, self._api)
        offer = self._pods.offer
        if offer is None or asks is None:
            return None
        if labels is None:
            message = f"namespace {question.namespace} is not known yet, and pools are for some namespaces only: the pod waits for the API server"
            return Refusal(Reason.PODS_WAITING, message, Why("Pod", question.pod))
        asker = Asker(question.pod, addresses=asks, labels=labels)
        return allowance(offer, asker, taken=self._taken(question.container))

    def _has_interface(self, question: Question) -> Refusal | None:
        """That a pod which lives has the interface. A record alone says nothing: of one that is gone the kernel gives it."""
        found = self._pods.networks.holders(
            str(question.configuration.get("name")), container=question.container, interface=question.interface
        )
        if found is None:
            return None
        pool, holders = found[0], {one.container for one in found[1]}
        own = {one.address for one in self._pods.records() if one.container in holders}
        names = [one.key for one in self._bound.workloads.values() if own.intersection(one.addresses)]
        if not names:
            return None
        message = (
            f"passthru gives all of {pool.spec.attachment.master} to one pod, and pod {names[0]} has it on this node:"
            " this pod waits until that is gone, or runs on another node"
        )
        return Refusal(Reason.ADDRESS_TAKEN, message, Why("IPPool", pool.name, "spec.attachment.mode"))

    def _taken(self, container: str) -> Mapping[Address, str]:
        """Who has each address, but for those that the container has itself: host-local says what is wrong with that."""
        pods = {address: f"pod {one.key}" for one in self._bound.workloads.values() for address in one.addresses}
        return {
            one.address: _HOLDERS.get(one.container) or pods.get(one.address) or f"container {one.container}"
            for one in self._pods.records()
            if one.container != container
        }
