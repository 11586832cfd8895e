"""The packet filters of one node: what the objects and the announcements ask to be dropped or translated, and what refuses that."""

from collections.abc import Collection, Iterable

import structlog

from towpath.bgp.nodes import BGP_PORT, node_views
from towpath.bgp.services import covering
from towpath.controller.node.outgoing import beside, excluded_ports, exclusions, translated
from towpath.controller.node.parts import Firewall, Kernel
from towpath.model.cluster import Cluster, IPPool
from towpath.model.encapsulation import by_vxlan, ipip_end
from towpath.model.memo import remembered
from towpath.model.net import Address, unscoped
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.speaker import Announcement, Session
from towpath.routes.devices.device import Ipip, Link, Vxlan
from towpath.routes.ruleset import Rules

log = structlog.get_logger()


class Guard:
    """Remembered is what was refused last."""

    def __init__(self, node: str, firewall: Firewall, kernel: Kernel) -> None:
        self._node = node
        self._kernel = kernel
        self._firewall = firewall
        self._refused = ""
        self._untranslated = ""
        self._translating: tuple[IPPool, ...] = ()
        """The pools that the last step wanted to be translated."""
        self._beside: tuple[IPPool, ...] = ()
        """The pools whose pods answer past the node."""

    @property
    def problems(self) -> tuple[Refusal, ...]:
        """What keeps packets from being dropped or translated."""
        found = []
        if self._refused:
            message = (
                "packets to services that nobody takes may go round between this node and its routers,"
                f" pods may open connections to speakers, and strangers send into tunnels: {self._refused}"
            )
            found.append(Refusal(Reason.FILTER_REFUSED, message, Why("Node", self._node)))
        if said := self._refused or self._untranslated:
            message = f"what its pods send out of the cluster has their own addresses: {said}"
            found += [
                Refusal(Reason.NAT_REFUSED, message, Why("IPPool", pool.name, "spec.natOutgoing"))
                for pool in self._translating
            ]
            message = f"its pods reach no services, which would answer past the node: {said}"
            found += [
                Refusal(Reason.NAT_REFUSED, message, Why("IPPool", pool.name, "spec.attachment.type"))
                for pool in self._beside
            ]
        return tuple(found)

    async def desire(
        self,
        cluster: Cluster,
        *,
        announcements: Iterable[Announcement],
        sessions: Iterable[Session],
    ) -> None:
        """Drop what is still for announced services when it is forwarded, and what pods send to speakers; those of ``sessions`` may, to their own node.

        Strangers send into none of the tunnels that stand, be they wanted or not.
        """
        rules = rules_of(
            cluster,
            self._node,
            announcements=announcements,
            sessions=tuple(sessions),
            links=self._kernel.tunnels(),
            outside=self._kernel.underlay(cluster),
        )
        self._translating, self._beside = translated(cluster), beside(cluster)
        try:
            said = await self._firewall.desire(rules)
        except OSError as error:
            said = error.strerror or str(error)
            if said != self._refused:
                log.warning("filters.refused", error=said, remedy="nft and a kernel with nf_tables are needed")
            self._refused = said if rules else ""
            return
        if said and said != self._untranslated:
            log.warning("nat.refused", error=said, remedy="natOutgoing needs a kernel with nft_masq and Linux 5.7")
        self._refused, self._untranslated = "", said


def rules_of(
    cluster: Cluster,
    node: str,
    *,
    announcements: Iterable[Announcement],
    sessions: Collection[Session],
    links: Collection[Link] = (),
    outside: Collection[str] = (),
) -> Rules:
    """What a node drops, and what it translates; ``links``: the tunnels that stand, ``outside``: interfaces by which other nodes are reached."""
    vxlans = {(one.vni, one.port) for one in by_vxlan(cluster)}
    vxlans |= {(one.vni, one.port) for one in links if isinstance(one, Vxlan)}
    ipip = ipip_end(cluster, node) or next((one.local for one in links if isinstance(one, Ipip)), None)
    outgoing = covering({pool.spec.cidr for pool in translated(cluster)})
    me = node_views(cluster).by_name.get(node)
    return Rules(
        services=covering({one.prefix for one in announcements if one.source == "Service"}),
        pools=covering({pool.spec.cidr for pool in cluster.pools.values()}),
        port=me.listen_port if me is not None else BGP_PORT,
        speakers=_speakers(cluster),
        peers=tuple(sorted(_peers(sessions), key=lambda pair: _order(pair[0]))),
        masqueraded=outgoing,
        kept=exclusions(cluster) if outgoing else (),
        kept_ports=excluded_ports(cluster, sessions) if outgoing else (),
        tunnels=tuple(sorted(vxlans)),
        ipip=ipip,
        masters=tuple(sorted({pool.spec.attachment.master for pool in beside(cluster) if pool.spec.attachment.master})),
        near=tuple(
            sorted({unscoped(one.peer_address) for one in sessions if one.peer_address.is_link_local}, key=_order)
        ),
        beside=covering({pool.spec.cidr for pool in beside(cluster)}),
        outside=tuple(sorted(outside)) if vxlans else (),
        own=tuple(me.addresses.values()) if me is not None and (vxlans or beside(cluster)) else (),
    )


def _peers(sessions: Iterable[Session]) -> set[tuple[Address, Address]]:
    """Pods that may dial, and what."""
    return {
        (one.peer_address, one.local_address)
        for one in sessions
        if one.workload and one.state == "Active" and one.local_address is not None
    }


@remembered
def _speakers(cluster: Cluster) -> tuple[tuple[Address, int], ...]:
    views = node_views(cluster)
    found = ((address, view.listen_port) for view in views for address in view.addresses.values())
    return tuple(sorted(set(found), key=lambda one: (*_order(one[0]), one[1])))


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
