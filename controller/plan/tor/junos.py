"""Junos, as ``set`` lines for ``load set``."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router
from towpath.model.net import Family, family_of

COMMENT = "#"
_POLICIES = {"import": "towpath-from-nodes", "export": "towpath-to-nodes"}
_TABLE = {Family.IPV4: "inet", Family.IPV6: "inet6"}


def render(router: Router) -> Iterator[str]:
    """A group of neighbours, its policies, and what graceful restart needs."""
    yield f"set routing-options router-id {router.router_id}"
    yield f"set routing-options autonomous-system {router.local_as}"
    if router.restart_time is not None:
        yield "set routing-options graceful-restart"
    yield "set policy-options policy-statement towpath-ecmp then load-balance per-packet"
    yield "set routing-options forwarding-table export towpath-ecmp"
    yield from _policy(_POLICIES["import"], router.takes)
    yield from _policy(_POLICIES["export"], router.tells)
    if router.port != 179:
        yield f"# Junos listens on port 179 alone: the BGPPeer cannot name port {router.port}"
    # of several neighbours in a group each would say what holds for all
    yield from dict.fromkeys(line for one in router.neighbours for line in _neighbour(router, one))


def _policy(name: str, ranges: tuple[Range, ...]) -> Iterator[str]:
    start = f"set policy-options policy-statement {name}"
    for family in Family:
        mine = [one for one in ranges if family_of(one.prefix) is family]
        for one in mine:
            length = "exact" if one.exact else f"upto /{one.longest}"
            yield f"{start} term {family.key} from route-filter {one.prefix} {length}"
        if mine:
            yield f"{start} term {family.key} from family {_TABLE[family]}"
            yield f"{start} term {family.key} then accept"
    yield f"{start} term rest then reject"


def _neighbour(router: Router, one: Neighbour) -> Iterator[str]:
    internal = one.remote_as == router.local_as
    group = "set protocols bgp group " + ("towpath-internal" if internal else "towpath")
    start = f"{group} neighbor {one.address}"
    yield f"{group} type {'internal' if internal else 'external'}"
    if not internal:
        yield f"{group} multipath multiple-as"
    if router.reflects(one):
        yield f"{group} cluster {router.router_id}"
    yield f'{start} description "node {one.node}"'
    yield f"{start} local-address {one.local}"
    if not internal:
        yield f"{start} peer-as {one.remote_as}"
    if one.port != 179:
        yield f"# Junos dials port 179 alone, and node {one.node} listens on {one.port}: let the node dial"
    if one.password is not None:
        yield f'{start} authentication-key "{one.placeholder}"'
    yield f"{start} hold-time {one.hold_time}"
    if one.hops is not None:
        yield f"{start} {'ttl 255' if one.hops == 1 else 'multihop ttl 255'}"
        yield f"# a firewall filter on lo0 has to drop BGP from {one.address} with a TTL below {256 - one.hops} (RFC 5082)"
    elif one.multihop is not None and not internal:
        yield f"{start} multihop ttl {one.multihop}"
    if one.restart_time is None:
        yield f"{start} graceful-restart disable"
    else:
        yield f"{start} graceful-restart restart-time {one.restart_time}"
    if one.loops and not internal:
        yield f"{start} advertise-peer-as"
    for family in one.families:
        limit = f"{start} family {_TABLE[family]} unicast prefix-limit"
        yield f"{limit} maximum {one.maximum}"
        yield f"{limit} teardown 80 idle-timeout 5"
    for way, name in _POLICIES.items():
        yield f"{start} {way} {name}"
