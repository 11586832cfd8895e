"""GoBGP 3."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router, ranges_of
from towpath.model.net import Family

COMMENT = "#"


def render(router: Router) -> Iterator[str]:
    """``gobgpd.toml``, whole. Its policies hold for all neighbours: who adds others adds statements for them."""
    yield "[global.config]"
    yield f"as = {router.local_as}"
    yield f'router-id = "{router.router_id}"'
    yield f"port = {router.port}"
    yield "[global.use-multiple-paths.config]"
    yield "enabled = true"
    yield "[global.apply-policy.config]"
    yield 'import-policy-list = ["from-nodes"]'
    yield 'default-import-policy = "reject-route"'
    yield 'export-policy-list = ["to-nodes"]'
    yield 'default-export-policy = "reject-route"'
    for name, ranges in (("from-nodes", router.takes), ("to-nodes", router.tells)):
        used = [family for family in Family if ranges_of(ranges, family)]
        for family in used:
            yield from _set(f"{name}-{family.value}", ranges_of(ranges, family))
        yield "[[policy-definitions]]"
        yield f'name = "{name}"'
        for family in used:
            yield "[[policy-definitions.statements]]"
            yield f'name = "{name}-{family.value}"'
            yield "[policy-definitions.statements.conditions.match-prefix-set]"
            yield f'prefix-set = "{name}-{family.value}"'
            yield "[policy-definitions.statements.actions]"
            yield 'route-disposition = "accept-route"'
    for one in router.neighbours:
        yield from _neighbour(router, one)


def _set(name: str, ranges: list[Range]) -> Iterator[str]:
    yield "[[defined-sets.prefix-sets]]"
    yield f'prefix-set-name = "{name}"'
    for one in ranges:
        yield "[[defined-sets.prefix-sets.prefix-list]]"
        yield f'ip-prefix = "{one.prefix}"'
        yield f'masklength-range = "{one.prefix.prefixlen}..{one.longest}"'


def _neighbour(router: Router, one: Neighbour) -> Iterator[str]:
    yield "[[neighbors]]"
    yield "[neighbors.config]"
    yield f'neighbor-address = "{one.address}"'
    yield f'description = "node {one.node}"'
    yield f"peer-as = {one.remote_as}"
    if one.password is not None:
        yield f'auth-password = "{one.placeholder}"'
    yield "[neighbors.timers.config]"
    yield f"hold-time = {one.hold_time}"
    yield f"keepalive-interval = {one.keepalive_time}"
    yield "connect-retry = 5"
    yield "idle-hold-time-after-reset = 5"
    yield "[neighbors.transport.config]"
    yield f'local-address = "{one.local}"'
    if one.port != 179:
        yield f"remote-port = {one.port}"
    if one.hops is not None:
        yield "[neighbors.ttl-security.config]"
        yield "enabled = true"
        yield f"ttl-min = {256 - one.hops}"
    elif one.multihop is not None:
        yield "[neighbors.ebgp-multihop.config]"
        yield "enabled = true"
        yield f"multihop-ttl = {one.multihop}"
    if router.reflects(one):
        yield "[neighbors.route-reflector.config]"
        yield "route-reflector-client = true"
        yield f'route-reflector-cluster-id = "{router.router_id}"'
    if one.restart_time is not None:
        yield "[neighbors.graceful-restart.config]"
        yield "enabled = true"
        yield f"restart-time = {one.restart_time}"
        yield "notification-enabled = true"
    for family in one.families:
        yield "[[neighbors.afi-safis]]"
        yield "[neighbors.afi-safis.config]"
        yield f'afi-safi-name = "{family.key}-unicast"'
        yield "[neighbors.afi-safis.prefix-limit.config]"
        yield f"max-prefixes = {one.maximum}"
        yield "shutdown-threshold-pct = 80"
        if one.restart_time is not None:
            yield "[neighbors.afi-safis.mp-graceful-restart.config]"
            yield "enabled = true"
