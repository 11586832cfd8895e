"""Whether the other side of a session between two of our nodes agrees, as far as the objects themselves show it (rule 11).

What a peer outside thinks is nobody's knowledge here; the session's state tells.
"""

from msgspec import Struct

from towpath.bgp.nodes import Nodes, NodeView, applies, listens, perhaps_with
from towpath.bgp.parameters import session_families, ways
from towpath.bgp.role import COUNTERPART, agree
from towpath.model.cluster import BGPPeer, Cluster
from towpath.model.kinds.bgp import SecretReference
from towpath.model.kinds.peer import BGPPeerSpec, Role
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason
from towpath.model.speaker import Session


class _Side(Struct, frozen=True):
    """What the other node's half of the session says, and where it says so."""

    local_as: int
    remote_as: int
    password: SecretReference | None
    passive: bool
    source: str
    shutdown: bool = False
    ttl_security: int | None = None
    role: Role | None = None
    strict_role: bool = False
    families: tuple[Family, ...] = ()


class Agreement:
    """The other nodes' view of sessions with one node."""

    def __init__(self, cluster: Cluster, *, nodes: Nodes, me: NodeView) -> None:
        self._config = cluster.bgp
        self._nodes = nodes
        self._me = me
        self._towards_me = {
            family: [one for one in perhaps_with(cluster.peers, own) if self._points_here(one.spec, own)]
            for family, own in me.addresses.items()
        }

    def mismatch(self, session: Session, peer: BGPPeer) -> str:
        """A sentence on what cannot work between the two nodes; empty where all is well or nothing is known."""
        node = self._nodes.by_name.get(session.peer_node or "")
        # one that is shut down still takes the mesh session's place on this side
        runs = session.state == "Active" or session.reason is Reason.SHUTDOWN
        if node is None or not runs or session.scope == "Reverse":
            return ""
        other = self._other_side(session, peer, node)
        if other is None:
            if session.remote_as != node.as_number:
                return f"node {node.name} has AS {node.as_number}, not {session.remote_as}"
            return f"node {node.name} has no session back to {self._me.name}"
        if other.shutdown and session.state == "Active":
            return f"node {node.name} has it shut down by {other.source}"
        if session.peer_port != node.listen_port:
            return f"node {node.name} listens on port {node.listen_port}, not {session.peer_port}"
        if session.remote_as != other.local_as:
            return f"node {node.name} has AS {other.local_as} by {other.source}, not {session.remote_as}"
        if session.local_as != other.remote_as:
            return f"node {node.name} expects AS {other.remote_as} by {other.source}, and ours is {session.local_as}"
        if peer.spec.password != other.password:
            return f"node {node.name} has another password by {other.source}"
        if (session.ttl_security is None) is not (other.ttl_security is None):
            return f"only one of {self._me.name} and {node.name} has ttlSecurity: see {other.source}"
        if set(session.families).isdisjoint(other.families):
            return f"node {node.name} carries only {_named(other.families)} by {other.source}, and {self._me.name} only {_named(session.families)}"
        if message := _roles(session, other, node.name):
            return message
        if session.passive and other.passive:
            return f"both {self._me.name} and {node.name} wait for the other to connect"
        return ""

    def _points_here(self, spec: BGPPeerSpec, own: Address) -> bool:
        """Whether a peer that applies to another node makes a session with this node at an address of it, right or wrong."""
        if spec.peer_ip is not None:
            return spec.peer_ip.address == own and spec.peer_ip.port in (None, self._me.listen_port)
        return spec.peer_selector is not None and spec.peer_selector.selects(self._me.name, self._me.labels)

    def _other_side(self, session: Session, peer: BGPPeer, node: NodeView) -> _Side | None:
        """What the other node runs towards us: the first explicit peer, else the reverse of ours, else the mesh."""
        family = family_of(session.peer_address)
        own = self._me.addresses.get(family)
        if own is None or family not in node.addresses:
            return None
        waits = listens(session.peer_address, own)
        common = [each for each in node.addresses if each in self._me.addresses]
        back = next(
            (
                one
                for one in self._towards_me[family]
                if applies(one.spec, node) and (one.spec.peer_ip is not None or family in ways(one.spec, common))
            ),
            None,
        )
        if back is not None:
            spec = back.spec
            both = (
                applies(spec, self._me)
                and spec.peer_selector is not None
                and spec.peer_selector.selects(node.name, node.labels)
            )
            ours = spec.as_number or ((spec.local_as_number if both else None) or self._me.as_number)
            return _Side(
                local_as=int(spec.local_as_number or node.as_number),
                remote_as=int(ours),
                password=spec.password,
                passive=spec.passive or waits,
                source=f"BGPPeer {back.name}",
                shutdown=spec.shutdown is not None,
                ttl_security=spec.ttl_security,
                role=spec.role,
                strict_role=spec.strict_role,
                families=session_families(spec, own),
            )
        reverse = peer.spec.reverse_peering == "Auto" and session.remote_as == node.as_number
        if reverse and session.peer_port == node.listen_port:
            return _Side(
                local_as=node.as_number,
                remote_as=session.local_as,
                password=peer.spec.password,
                passive=peer.spec.passive or waits,
                source=f"BGPPeer {peer.name}",
                ttl_security=peer.spec.ttl_security,
                role=COUNTERPART[peer.spec.role] if peer.spec.role is not None else None,
                strict_role=peer.spec.strict_role,
                families=session.families,
            )
        if self._config.node_to_node_mesh_enabled and not (self._me.reflector or node.reflector):
            return _Side(
                local_as=node.as_number,
                remote_as=self._me.as_number,
                password=self._config.node_mesh_password,
                passive=waits,
                source="the mesh",
                families=(family,),
            )
        return None


def _roles(session: Session, other: _Side, node: str) -> str:
    """What is wrong with the roles of an external session's two halves."""
    if not session.ebgp or agree((session.role, session.strict_role), (other.role, other.strict_role)):
        return ""
    return f"node {node} is {other.role or 'without a role'} by {other.source}, which is no counterpart of {session.role or 'none'}"


def _named(families: tuple[Family, ...]) -> str:
    return " and ".join(family.key for family in families)
