"""Arista EOS."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router, ranges_of
from towpath.model.net import Family

COMMENT = "!"
_LISTS = {"in": "towpath-from-nodes", "out": "towpath-to-nodes"}


def render(router: Router) -> Iterator[str]:
    """Lines for ``configure``."""
    for family in router.families:
        yield from _list(_LISTS["in"], family, ranges_of(router.takes, family))
        yield from _list(_LISTS["out"], family, ranges_of(router.tells, family))
    yield f"router bgp {router.local_as}"
    yield f"   router-id {router.router_id}"
    yield "   no bgp default ipv4-unicast"
    if router.port != 179:
        yield f"   bgp transport listen-port {router.port}"
    if router.restart_time is not None:
        yield f"   graceful-restart restart-time {router.restart_time}"
        yield "   graceful-restart"
    yield "   maximum-paths 64"
    for one in router.neighbours:
        yield from _neighbour(router, one)
    for family in router.families:
        yield f"   address-family {family.key}"
        for one in router.neighbours:
            if family in one.families:
                yield f"      neighbor {one.address} activate"
                for way, name in _LISTS.items():
                    yield f"      neighbor {one.address} prefix-list {name}-{family.value} {way}"
        yield "   exit"
    yield "exit"


def _list(name: str, family: Family, ranges: list[Range]) -> Iterator[str]:
    yield f"{'ip' if family is Family.IPV4 else 'ipv6'} prefix-list {name}-{family.value}"
    for number, one in enumerate(ranges, 1):
        longest = "" if one.exact else f" le {one.longest}"
        yield f"   seq {10 * number} permit {one.prefix}{longest}"
    everything = "0.0.0.0/0" if family is Family.IPV4 else "::/0"
    yield f"   seq {10 * len(ranges) + 10} deny {everything} le {family.bits}"
    yield "exit"


def _neighbour(router: Router, one: Neighbour) -> Iterator[str]:
    start = f"   neighbor {one.address}"
    yield f"{start} remote-as {one.remote_as}"
    yield f"{start} description node {one.node}"
    if one.port != 179:
        yield f"{start} transport remote-port {one.port}"
    if one.password is not None:
        yield f"{start} password 0 {one.placeholder}"
    yield f"{start} timers {one.keepalive_time} {one.hold_time}"
    if one.hops is not None:
        yield f"{start} ttl maximum-hops {one.hops}"
    elif one.multihop is not None:
        yield f"{start} ebgp-multihop {one.multihop}"
    if one.restart_time is not None:
        yield f"{start} graceful-restart"
    yield f"{start} maximum-routes {one.maximum} warning-limit 80 percent"
    if router.reflects(one):
        yield f"{start} route-reflector-client"
