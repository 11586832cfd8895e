"""All kinds, in the order in which they are listed, documented and installed."""

from typing import Any

from towpath.model.kinds.bgp import BGP_CONFIGURATION
from towpath.model.kinds.claim import ADDRESS_CLAIM
from towpath.model.kinds.filter import BGP_FILTER
from towpath.model.kinds.ipam import IP_POOL, IPAM_BLOCK, IPAM_CONFIGURATION
from towpath.model.kinds.kind import Kind
from towpath.model.kinds.node import NODE_STATUS, ROUTING_NODE
from towpath.model.kinds.peer import BGP_PEER
from towpath.model.kinds.reservation import IP_RESERVATION

KINDS: dict[str, Kind[Any]] = {
    kind.name: kind
    for kind in (
        BGP_CONFIGURATION,
        BGP_PEER,
        BGP_FILTER,
        IP_POOL,
        IP_RESERVATION,
        IPAM_CONFIGURATION,
        IPAM_BLOCK,
        ADDRESS_CLAIM,
        ROUTING_NODE,
        NODE_STATUS,
    )
}
