"""FRR."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router, ranges_of
from towpath.model.net import Family

COMMENT = "!"
_LISTS = {"in": "from-nodes", "out": "to-nodes"}


def render(router: Router) -> Iterator[str]:
    """``frr.conf`` for bgpd."""
    for family in router.families:
        yield from _list(_LISTS["in"], family, ranges_of(router.takes, family))
        yield from _list(_LISTS["out"], family, ranges_of(router.tells, family))
    if router.port != 179:
        yield f"! bgpd has to listen on port {router.port}: its option -p {router.port}"
    yield f"router bgp {router.local_as}"
    yield f" bgp router-id {router.router_id}"
    yield " no bgp default ipv4-unicast"
    yield " bgp bestpath as-path multipath-relax"
    if router.restart_time is not None:
        yield " bgp graceful-restart"
        yield " bgp graceful-restart notification"
        yield f" bgp graceful-restart restart-time {router.restart_time}"
        yield " bgp graceful-restart preserve-fw-state"
    for one in router.neighbours:
        yield from _neighbour(one)
    for family in router.families:
        yield f" address-family {family.key} unicast"
        for one in router.neighbours:
            if family in one.families:
                yield from _in_family(router, one, family)
        yield "  maximum-paths 64"
        yield " exit-address-family"
    yield "exit"


def _list(name: str, family: Family, ranges: list[Range]) -> Iterator[str]:
    word = "ip" if family is Family.IPV4 else "ipv6"
    for number, one in enumerate(ranges, 1):
        longest = "" if one.exact else f" le {one.longest}"
        yield f"{word} prefix-list {name}-{family.value} seq {5 * number} permit {one.prefix}{longest}"
    yield f"{word} prefix-list {name}-{family.value} seq {5 * len(ranges) + 5} deny any"


def _neighbour(one: Neighbour) -> Iterator[str]:
    start = f" neighbor {one.address}"
    yield f"{start} remote-as {one.remote_as}"
    yield f"{start} description node {one.node}"
    yield f"{start} update-source {one.local}"
    if one.port != 179:
        yield f"{start} port {one.port}"
    if one.password is not None:
        yield f"{start} password {one.placeholder}"
    yield f"{start} timers {one.keepalive_time} {one.hold_time}"
    yield f"{start} timers connect 5"
    if one.hops is not None:
        yield f"{start} ttl-security hops {one.hops}"
    elif one.multihop is not None:
        yield f"{start} ebgp-multihop {one.multihop}"
    if one.restart_time is None:
        yield f"{start} graceful-restart-disable"


def _in_family(router: Router, one: Neighbour, family: Family) -> Iterator[str]:
    start = f"  neighbor {one.address}"
    yield f"{start} activate"
    for way, name in _LISTS.items():
        yield f"{start} prefix-list {name}-{family.value} {way}"
    yield f"{start} maximum-prefix {one.maximum} 80 restart 5"
    if router.reflects(one):
        yield f"{start} route-reflector-client"
