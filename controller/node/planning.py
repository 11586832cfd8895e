"""What the speaker of this node is to do: planned from the objects and from what machine, pods and passwords are at the moment."""

from collections.abc import Mapping

from towpath.bgp.nodes import node_views
from towpath.bgp.origins import SpeakerPlan, speaker_plan
from towpath.bgp.workloads import asked
from towpath.controller.node.parts import Kernel, Speaker, Workloads
from towpath.controller.secrets import Passwords
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import SecretKey
from towpath.model.speaker import SpeakerState
from towpath.model.workload import Workload


class Planning:
    """Gives the same plan as before where nothing changed that it is made from."""

    def __init__(
        self, node: str, *, kernel: Kernel, speaker: Speaker, workloads: Workloads, passwords: Passwords
    ) -> None:
        self._node = node
        self._kernel = kernel
        self._speaker = speaker
        self._workloads = workloads
        self._passwords = passwords
        self._made: tuple[Cluster, tuple[object, ...], SpeakerPlan] | None = None

    def plan(self, cluster: Cluster, *, told: SpeakerState | None, provisional: bool) -> SpeakerPlan:
        """The plan. ``told``: what the speaker was told last; ``provisional``: paths of unknown origin count."""
        secrets = self._passwords.usable(in_use=lambda key: self._runs_with(key, told))
        severed, addresses, gateways = self._kernel.severed(), self._kernel.own_addresses(), self._kernel.gateways()
        routers = self._kernel.routers()
        pods: Mapping[str, Workload] = self._workloads.workloads if self.peers_with_pods(cluster) else {}
        inputs = (secrets, provisional, severed, addresses, gateways, routers, pods)
        if self._made is not None and self._made[0] is cluster and self._made[1] == inputs:
            return self._made[2]
        plan = speaker_plan(
            cluster,
            self._node,
            secrets=secrets,
            forwarding_preserved=False,  # what only the bridge knows, it fills in
            provisional=provisional,
            severed=severed,
            own_addresses=addresses,
            gateways=gateways,
            routers=routers,
            workloads=pods.values(),
        )
        self._made = (cluster, inputs, plan)
        return plan

    def peers_with_pods(self, cluster: Cluster) -> bool:
        """Whether any pod of this node may be a peer."""
        me = node_views(cluster).by_name.get(self._node)
        return me is not None and asked(cluster, me)

    def _runs_with(self, key: SecretKey, told: SpeakerState | None) -> bool:
        """Whether a session that uses this password is up, or may be, as far as the speaker has said."""
        report = self._speaker.report
        if report is None or told is None:
            return True
        up = {one.name for one in report.sessions if one.state == "Established"}
        return any(one.name in up for one in told.sessions.values() if one.password_ref == key)
