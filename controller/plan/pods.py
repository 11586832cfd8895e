"""How pods are attached, in a plan: the CNI configuration of a node, and the devices that its pods hang on or beside."""

from collections.abc import Mapping

from towpath.controller.node.ground import by_node_of, own_by_master, shim_of
from towpath.controller.plan.sessions import Document, whys
from towpath.controller.settings import RUN_DIR
from towpath.ipam.attachment import Attached, attached_to
from towpath.ipam.blocks import gateway
from towpath.ipam.cni import BRIDGE, Places, conflist
from towpath.ipam.reserved import reserved
from towpath.ipam.underlay import Ground, ground
from towpath.model.blocks import by_node, in_force, node_addresses, pool_around
from towpath.model.cluster import Cluster
from towpath.model.encapsulation import own_endpoints
from towpath.model.kinds.ipam import IPAMBlockSpec
from towpath.model.links import NodeLink
from towpath.model.reason import Why
from towpath.routes.shim import SHIM


def pod_devices(cluster: Cluster, node: str) -> list[Document]:
    """Those of the node that its pods hang on, and the one by which it reaches pods on its own network."""
    return [*_bridge(cluster, node), *_shim(cluster, node)]


def cni(cluster: Cluster, node: str) -> Document:
    """The conflist once all blocks of the node serve; where its files lie and which plugins there are only the node knows."""
    way = attached_to(cluster, node)
    blocks = _serving(cluster, node, way)
    if not blocks:
        return {}
    grounds = _grounds(cluster, node)
    return conflist(
        blocks,
        cluster.pools,
        data_dir=Places(RUN_DIR, RUN_DIR).data_dir,
        way=way.attachment,
        mtu=way.attachment.mtu,
        endpoints=own_endpoints(cluster, node),
        grounds=grounds,
        by_node=by_node_of(cluster, node, grounds) if way.attachment.on_underlay else (),
        kept=reserved(cluster.reservations),
    )


def networks(cluster: Cluster, node: str) -> list[Document]:
    """The same of each network beside that of all pods, in name order: the subnet is the pool, unless its master has the node's address."""
    own = by_node(in_force(cluster.blocks)).get(node, ())
    link = _master(cluster, node)
    found: list[Document] = []
    for pool in sorted(attached_to(cluster, node).beside, key=lambda one: one.name):
        blocks = [block.spec for block in own if pool_around(block.spec, cluster.pools) is pool]
        way = pool.spec.attachment
        judged = ground(pool, {str(way.master): link})
        places = Places(RUN_DIR, RUN_DIR).beside(pool.name, conf_dir=RUN_DIR)
        if blocks:
            found.append(
                conflist(
                    blocks,
                    cluster.pools,
                    data_dir=places.data_dir,
                    network=places.network,
                    way=way,
                    mtu=way.mtu,
                    grounds={pool.name: judged if isinstance(judged, Ground) else Ground(pool.spec.cidr, None)},
                    kept=reserved(cluster.reservations),
                )
            )
    return found


def _master(cluster: Cluster, node: str) -> NodeLink:
    """The interface with the node's addresses."""
    found = cluster.routing_nodes.get(node)
    return NodeLink(addresses=tuple(node_addresses(found).values()) if found is not None else ())


def _grounds(cluster: Cluster, node: str) -> Mapping[str, Ground]:
    """Of pools on the node's own network, by name, taking their master for the interface with the node's addresses."""
    link = _master(cluster, node)
    pools = {pool.name: pool for _, pool in own_by_master(cluster, node)}
    judged = {name: ground(pool, {str(pool.spec.attachment.master): link}) for name, pool in pools.items()}
    return {name: one for name, one in judged.items() if isinstance(one, Ground)}


def _shim(cluster: Cluster, node: str) -> list[Document]:
    """The device by which the node reaches its pods on its own network."""
    wanted, way = shim_of(cluster, node, _grounds(cluster, node)), attached_to(cluster, node)
    if wanted is None:
        return []
    return [
        {
            "name": SHIM,
            "kind": wanted.kind,
            "mtu": way.attachment.mtu,
            "attributes": {
                "master": wanted.master,
                "mode": wanted.mode,
                "mac": wanted.mac,
                "routes": [{"prefix": str(block), "source": str(own)} for block, own in wanted.routes.items()],
            },
            "why": whys((Why("IPPool", way.pool, "spec.attachment.type"),)),
        }
    ]


def _serving(cluster: Cluster, node: str, way: Attached) -> list[IPAMBlockSpec]:
    """The blocks whose pool attaches pods as the node does."""
    own = (block.spec for block in by_node(in_force(cluster.blocks)).get(node, ()))
    return [spec for spec in own if way.takes(pool_around(spec, cluster.pools))]


def _bridge(cluster: Cluster, node: str) -> list[Document]:
    """The bridge that pods hang on, with the addresses that the node has on it once all its blocks serve."""
    way = attached_to(cluster, node)
    blocks = [spec.cidr for spec in _serving(cluster, node, way) if spec.state == "Active"]
    if way.attachment.type != "bridge" or not blocks:
        return []
    return [
        {
            "name": BRIDGE,
            "kind": "bridge",
            "mtu": way.attachment.mtu,
            "attributes": {
                "addresses": [f"{gateway(one)}/{one.prefixlen}" for one in blocks],
            },
            "why": whys((Why("IPPool", way.pool, "spec.attachment.type"),)),
        }
    ]
