"""BIRD 2."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router, ranges_of

COMMENT = "#"


def render(router: Router) -> Iterator[str]:
    """``bird.conf``, whole: ``bird -p -c FILE`` reads it."""
    yield f"router id {router.router_id};"
    yield "protocol device { }"
    for family in router.families:
        yield f"protocol kernel kernel{family.value} {{"
        yield "  merge paths on;"
        yield f"  {family.key} {{ import none; export where source = RTS_BGP; }};"
        yield "}"
        yield from _filter(f"from_nodes{family.value}", ranges_of(router.takes, family))
        yield from _filter(f"to_nodes{family.value}", ranges_of(router.tells, family))
    for one in router.neighbours:
        yield from _neighbour(router, one)


def _filter(name: str, ranges: list[Range]) -> Iterator[str]:
    yield f"filter {name} {{"
    for one in ranges:
        yield f"  if net ~ [ {one.prefix}{{{one.prefix.prefixlen},{one.longest}}} ] then accept;"
    yield "  reject;"
    yield "}"


def _neighbour(router: Router, one: Neighbour) -> Iterator[str]:
    yield f"protocol bgp {one.name} {{"
    port = "" if router.port == 179 else f" port {router.port}"
    yield f"  local {one.local}{port} as {router.local_as};"
    dialled = "" if one.port == 179 else f" port {one.port}"
    yield f"  neighbor {one.address}{dialled} as {one.remote_as};"
    if one.password is not None:
        yield f'  password "{one.placeholder}";'
    yield f"  hold time {one.hold_time}; keepalive time {one.keepalive_time}; connect retry time 5;"
    if one.hops is not None:
        yield "  ttl security on;"
    if (one.hops or one.multihop or 1) > 1:
        yield f"  multihop {one.hops or one.multihop};"
    if one.restart_time is None:
        yield "  graceful restart off;"
    else:
        yield f"  graceful restart on; graceful restart time {one.restart_time}; long lived graceful restart off;"
    if router.reflects(one):
        yield "  rr client;"
    for family in one.families:
        yield f"  {family.key} {{"
        yield f"    import filter from_nodes{family.value}; import limit {one.maximum} action block;"
        yield f"    export filter to_nodes{family.value};"
        yield "  };"
    yield "}"
