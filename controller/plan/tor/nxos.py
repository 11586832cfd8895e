"""Cisco NX-OS."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router, ranges_of
from towpath.model.net import Family

COMMENT = "!"
_LISTS = {"in": "towpath-from-nodes", "out": "towpath-to-nodes"}


def render(router: Router) -> Iterator[str]:
    """Lines for ``configure terminal``."""
    yield "feature bgp"
    for family in router.families:
        yield from _list(_LISTS["in"], family, ranges_of(router.takes, family))
        yield from _list(_LISTS["out"], family, ranges_of(router.tells, family))
    if router.port != 179:
        yield f"! NX-OS listens on port 179 alone: the BGPPeer cannot name port {router.port}"
    yield f"router bgp {router.local_as}"
    yield f"  router-id {router.router_id}"
    if router.restart_time is None:
        yield "  no graceful-restart"
    else:
        yield "  graceful-restart"
        yield f"  graceful-restart restart-time {router.restart_time}"
        yield f"  graceful-restart stalepath-time {max(300, router.restart_time)}"
    yield "  bestpath as-path multipath-relax"
    for family in router.families:
        yield f"  address-family {family.key} unicast"
        yield "    maximum-paths 64"
    for one in router.neighbours:
        yield from _neighbour(router, one)


def _list(name: str, family: Family, ranges: list[Range]) -> Iterator[str]:
    word = "ip" if family is Family.IPV4 else "ipv6"
    for number, one in enumerate(ranges, 1):
        longest = "" if one.exact else f" le {one.longest}"
        yield f"{word} prefix-list {name}-{family.value} seq {5 * number} permit {one.prefix}{longest}"
    everything = "0.0.0.0/0" if family is Family.IPV4 else "::/0"
    yield f"{word} prefix-list {name}-{family.value} seq {5 * len(ranges) + 5} deny {everything} le {family.bits}"


def _neighbour(router: Router, one: Neighbour) -> Iterator[str]:
    yield f"  neighbor {one.address}"
    yield f"    remote-as {one.remote_as}"
    yield f"    description node {one.node}"
    if one.port != 179:
        yield f"    ! NX-OS dials port 179 alone, and node {one.node} listens on {one.port}: let the node dial"
    if one.password is not None:
        yield f"    password 0 {one.placeholder}"
    yield f"    timers {one.keepalive_time} {one.hold_time}"
    if one.hops is not None:
        yield f"    ttl-security hops {one.hops}"
    elif one.multihop is not None:
        yield f"    ebgp-multihop {one.multihop}"
    for family in one.families:
        yield f"    address-family {family.key} unicast"
        for way, name in _LISTS.items():
            yield f"      prefix-list {name}-{family.value} {way}"
        yield f"      maximum-prefix {one.maximum} 80 restart 5"
        if one.loops:
            yield "      disable-peer-as-check"
        if router.reflects(one):
            yield "      route-reflector-client"
