"""A session of ours as ExaBGP's Neighbor and OPEN, built from addresses, integers and enums alone.

ExaBGP's configuration language is never used: text that reaches it can start programs. No string of an object is passed
on, not even a description; passwords go to the socket (``tcp``), never to ExaBGP.
"""

from typing import Any

from exabgp.bgp.message import Open
from exabgp.bgp.message.open import ASN, HoldTime, RouterID, Version
from exabgp.bgp.message.open.capability import Capabilities, Capability
from exabgp.bgp.message.open.capability.graceful import Graceful
from exabgp.bgp.neighbor import Neighbor
from exabgp.protocol.family import AFI, SAFI
from exabgp.protocol.ip import IP

from towpath.bgp.exabgp import tcp
from towpath.bgp.exabgp.codec import NOTIFICATION_BIT
from towpath.bgp.exabgp.role import CODE as ROLE
from towpath.bgp.exabgp.role import role_capability
from towpath.model.net import unscoped
from towpath.model.speaker import Session, Settings

_SEND_AND_RECEIVE = 3
"""RFC 7911 section 4."""


def neighbor(session: Session, settings: Settings) -> Neighbor:
    """ExaBGP's view of a session: what its negotiation reads."""
    result = Neighbor()
    values: dict[str, Any] = {
        "peer-address": IP.create(str(unscoped(session.peer_address))),
        "local-address": IP.create(str(session.local_address)) if session.local_address else None,
        "router-id": RouterID(str(settings.router_id)),
        "local-as": ASN(session.local_as),
        "peer-as": ASN(session.remote_as),
        "hold-time": HoldTime(session.hold_time),
        "passive": session.passive,
        "connect": session.peer_port,
        "manual-eor": True,
        "adj-rib-in": False,
        "adj-rib-out": False,
    }
    result.update(values)
    result["capability"].update(
        {
            "asn4": True,
            "route-refresh": True,
            "extended-message": True,
            "nexthop": session.ipv6_next_hops,
            "graceful-restart": session.restart_time if session.restart_time is not None else False,
            "add-path": _SEND_AND_RECEIVE if session.add_paths else 0,
        },
    )
    for family in session.families:
        result.add_family((AFI.create(family.afi), SAFI.unicast))
        result.add_addpath((AFI.create(family.afi), SAFI.unicast))
    if session.ipv6_next_hops:
        result.add_nexthop(AFI.ipv4, SAFI.unicast, AFI.ipv6)
    return result


def open_message(session: Session, view: Neighbor, *, restarting: bool, preserved: bool) -> Open:
    """The OPEN of a session. ``restarting`` is R (RFC 4724 §3), ``preserved`` is F of every family."""
    capabilities = Capabilities().new(view, restarting, view["local-as"])
    # ExaBGP answers enhanced refresh (RFC 7313) in its own RIB, which is not used here
    capabilities.pop(Capability.CODE.ENHANCED_ROUTE_REFRESH, None)
    if session.restart_time is None:
        capabilities.pop(Capability.CODE.GRACEFUL_RESTART, None)
    else:
        capabilities[Capability.CODE.GRACEFUL_RESTART] = Graceful().set(
            (Graceful.RESTART_STATE if restarting else 0) | NOTIFICATION_BIT,
            session.restart_time,
            [(afi, safi, Graceful.FORWARDING_STATE if preserved else 0) for afi, safi in view.families()],
        )
    if session.role is not None:
        capabilities[ROLE] = role_capability(session.role)
    return Open(Version(Version.BGP_4), view["local-as"], view["hold-time"], view["router-id"], capabilities)


def least_hops(session: Session) -> int:
    """The TTL that what the peer sends must come with at least; 0: any (RFC 5082 section 3)."""
    return 0 if session.ttl_security is None else tcp.FARTHEST + 1 - session.ttl_security
