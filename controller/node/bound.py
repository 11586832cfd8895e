"""The pods of this node: how many addresses they need, those included that wait for one, which ones they ask for, and who of them may be peered with.

A sink for a reflector of the pods that are bound to this node, or for a folder; of each only these things are kept.
Growth begins before anyone waits long. What was known last stays while nobody answers, at a start from the snapshot.
"""

from collections.abc import Callable, Mapping

import structlog
from msgspec import Struct
from msgspec.structs import replace

from towpath.controller.following import Body, Follower, Gathered
from towpath.controller.node.living import Living, living_of
from towpath.controller.ports import Api, ApiError, NotFoundError
from towpath.ipam.allowance import ADDRESSES, asked_for
from towpath.ipam.apart import Bound, Labels, Needs, needs_of, pools_of
from towpath.model.cluster import Cluster
from towpath.model.net import Address
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.service import key_of
from towpath.model.workload import Workload, decode_workload, mapping

log = structlog.get_logger()
OTHER_NETWORK = "v1.multus-cni.io/default-network"
"""Annotation of a pod whose own network is not the cluster's."""


def needs_address(pod: Body) -> bool:
    """Whether a pod has an address of a node's blocks, or is to get one."""
    metadata, spec, status = mapping(pod["metadata"]), mapping(pod.get("spec")), mapping(pod.get("status"))
    if spec.get("hostNetwork") or OTHER_NETWORK in mapping(metadata.get("annotations")):
        return False
    if not _lives(pod):
        return False
    return bool(status.get("podIP")) or not metadata.get("deletionTimestamp")


def _lives(pod: Body) -> bool:
    return mapping(pod.get("status")).get("phase") not in ("Succeeded", "Failed")


class _Pod(Struct, frozen=True):
    """What is kept of a pod."""

    uid: str
    workload: Workload | None
    addresses: str
    """What it asks for, as its annotation says."""
    living: Living | None
    bound: Bound | None
    """What it needs; None: nothing."""
    differs: Refusal | None
    """That it has other addresses than it asks for."""
    unseen: bool = False
    """Its own network is another than the cluster's, and nobody says what else it has."""


def _read(body: Body) -> _Pod:
    metadata, workload = mapping(body["metadata"]), decode_workload(body)
    addresses = str(mapping(metadata.get("annotations")).get(ADDRESSES) or "")
    namespace = key_of(body).partition("/")[0]
    needs = needs_address(body)
    return _Pod(
        uid=str(metadata.get("uid") or ""),
        workload=workload,
        addresses=addresses,
        living=living_of(workload, body) if workload is not None else None,
        bound=Bound(namespace, workload is not None, asked_for(addresses)) if needs else None,
        differs=_differs(workload, addresses) if needs and workload is not None else None,
        unseen=OTHER_NETWORK in mapping(metadata.get("annotations"))
        and _lives(body)
        and not (workload and workload.beside),
    )


def _differs(workload: Workload, addresses: str) -> Refusal | None:
    """That a pod has other addresses than it asks for by now."""
    if workload.addresses and not set(asked_for(addresses)) <= set(workload.addresses):
        has = ", ".join(map(str, workload.addresses))
        message = f"asks for {addresses.strip()[:80]} and has {has}: it is read when a pod starts, so make the pod anew"
        return Refusal(Reason.ADDRESS_DIFFERS, message, Why("Pod", workload.key, f"metadata.annotations[{ADDRESSES}]"))
    return None


class BoundPods(Follower):
    """The pods of one node.

    ``changed``: they need other addresses than before; ``moved``: another one may be peered with; ``asked``: pods of other
    namespaces than before ask for addresses of their own, or others than before have not what they ask for.
    """

    def __init__(
        self, *, changed: Callable[[], None], moved: Callable[[], None], asked: Callable[[], None] = lambda: None
    ) -> None:
        self._changed = changed
        self._moved = moved
        self._asked = asked
        self.asking: frozenset[str] = frozenset()
        """The namespaces of pods that ask for addresses of their own."""
        self.differing: tuple[Refusal, ...] = ()
        """Of each pod that has other addresses than it asks for, that it does."""
        self._pods: dict[str, _Pod] = {}
        self._workloads: dict[str, Workload] = {}
        self._listed_once = False
        self._not_allowed = False
        self.settled = False
        """Whether it is known what pods there are, or that it cannot be known."""

    @property
    def wanted(self) -> int:
        """Addresses of each family that the pods need."""
        return len(self.needing)

    @property
    def needing(self) -> tuple[Bound, ...]:
        """The pods that need addresses."""
        return tuple(one.bound for one in self._pods.values() if one.bound is not None)

    def needs(self, cluster: Cluster, node: str, namespaces: Mapping[str, Labels]) -> Needs:
        """What the pods need of the node's pools."""
        return needs_of(self.needing, pools_of(cluster, node), namespaces)

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """Pods with addresses of their own, by namespace and name: the same object as before while nothing changed."""
        return self._workloads

    @property
    def living(self) -> tuple[Living, ...] | None:
        """Pods in the cluster's network that have addresses; None where it is not known which there are."""
        if not self._known:
            return None
        return tuple(one.living for one in self._pods.values() if one.bound is not None and one.living is not None)

    @property
    def _known(self) -> bool:
        """Whether it is known which pods there are."""
        return self._listed_once and not self._not_allowed

    async def asks_for(self, pod: str, *, uid: str, api: Api) -> str | None:
        """The addresses that a pod (``NAMESPACE/NAME``) asks for; None: nobody can say.

        One that is not known yet, or is another by its uid (empty: any), is asked for. What does not exist asks for
        nothing: a pod of the kubelet's own, before the API server has its likeness.
        """
        known = self._pods.get(pod)
        if known is not None and uid in ("", known.uid):
            return known.addresses
        namespace, _, name = pod.partition("/")
        try:
            return _read(await api.get("Pod", name, namespace=namespace)).addresses
        except NotFoundError:
            return ""
        except ApiError as error:
            log.warning("pods.not_known", pod=pod, error=str(error), remedy="none needed once the API server answers")
            return None

    @property
    def addresses(self) -> frozenset[Address] | None:
        """What pods have addresses; None where it is not known which pods there are."""
        if not self._known:
            return None
        return frozenset(address for one in self._workloads.values() for address in one.addresses)

    @property
    def beside(self) -> frozenset[Address] | None:
        """What pods have on networks beside their own, as is written on them; None where nobody can say of all of them."""
        if not self._known or any(one.unseen for one in self._pods.values()):
            return None
        return frozenset(address for one in self._workloads.values() for address in one.beside)

    def seed(self, cluster: Cluster) -> None:
        """What was known in an earlier life counts until somebody says what there is."""
        self._workloads = dict(cluster.workloads)

    def added_to(self, cluster: Cluster) -> Cluster:
        """The picture with the pods in it that may be peers, as it is kept on disk."""
        return replace(cluster, workloads=self._workloads)

    # -- what a reflector or a folder calls -----------------------------------------------------------------------------

    def listing(self, kind: str) -> Gathered[_Pod]:
        """A list begins."""
        del kind
        return Gathered(lambda body: (key_of(body), _read(body)), self._listed)

    def upserted(self, kind: str, body: Body) -> None:
        """A pod was added or changed."""
        del kind
        self._become({**self._pods, key_of(body): _read(body)})

    def deleted(self, kind: str, name: str) -> None:
        """A pod is gone."""
        del kind
        self._become({key: one for key, one in self._pods.items() if key != name})

    def refused(self, kind: str, message: str) -> None:
        """Not allowed: growth goes by the addresses in use alone, and who was known as a peer stays one."""
        self._not_allowed = True
        log.warning("pods.refused", kind=kind, error=message, remedy="allow list and watch of pods")
        self._know()

    def contact(self, kind: str, *, connected: bool) -> None:
        """What was known last stays; whoever watches is allowed to."""
        del kind
        self._not_allowed = self._not_allowed and not connected

    def _listed(self, pods: dict[str, _Pod]) -> None:
        self._become(pods)
        self._listed_once, self._not_allowed = True, False
        self._know()

    def _become(self, pods: dict[str, _Pod]) -> None:
        before, self._pods = self.needing, pods
        if self.needing != before:
            self._changed()
        asking = frozenset(key.partition("/")[0] for key, one in pods.items() if one.addresses)
        differing = tuple(sorted(one.differs for one in pods.values() if one.differs is not None))
        if asking != self.asking or differing != self.differing:
            self.asking, self.differing = asking, differing
            self._asked()
        workloads = {key: one.workload for key, one in pods.items() if one.workload is not None}
        if workloads != self._workloads:
            self._workloads = workloads
            self._moved()

    def _know(self) -> None:
        if not self.settled:
            self.settled = True
            self._moved()
