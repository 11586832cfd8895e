"""OpenBGPD."""

from collections.abc import Iterator

from towpath.controller.plan.tor.router import Neighbour, Range, Router
from towpath.model.net import Family

COMMENT = "#"


def render(router: Router) -> Iterator[str]:
    """``bgpd.conf``. It keeps a node's routes while the node restarts; nobody keeps its own: its OPEN does not offer that."""
    yield f"AS {router.local_as}"
    yield f"router-id {router.router_id}"
    for address in router.addresses:
        yield f"listen on {address}" + ("" if router.port == 179 else f" port {router.port}")
    for name, ranges in (("from-nodes", router.takes), ("to-nodes", router.tells)):
        if ranges:
            yield f"prefix-set {name} {{"
            for one in ranges:
                yield f"\t{one.prefix}{_lengths(one)}"
            yield "}"
    yield 'group "nodes" {'
    for neighbour in router.neighbours:
        yield from _neighbour(router, neighbour)
    yield "}"
    yield "deny from any"
    yield "deny to any"
    if router.takes:
        yield 'allow from group "nodes" prefix-set from-nodes'
    if router.tells:
        yield 'allow to group "nodes" prefix-set to-nodes'


def _lengths(one: Range) -> str:
    if one.exact:
        return ""
    if one.longest == one.prefix.max_prefixlen:
        return " or-longer"
    return f" prefixlen {one.prefix.prefixlen} - {one.longest}"


def _neighbour(router: Router, one: Neighbour) -> Iterator[str]:
    yield f"\tneighbor {one.address} {{"
    yield f'\t\tdescr "{one.name}"'
    yield f"\t\tremote-as {one.remote_as}"
    yield f"\t\tlocal-address {one.local}"
    if one.port != 179:
        yield f"\t\tport {one.port}"
    if one.password is not None:
        yield f'\t\ttcp md5sig password "{one.placeholder}"'
    yield f"\t\tholdtime {one.hold_time}"
    if one.hops is not None:
        yield "\t\tttl-security yes"
    if (one.hops or one.multihop or 1) > 1:
        yield f"\t\tmultihop {one.hops or one.multihop}"
    for family, word in ((Family.IPV4, "IPv4"), (Family.IPV6, "IPv6")):
        yield f"\t\tannounce {word} {'unicast' if family in one.families else 'none'}"
    yield f"\t\tmax-prefix {one.maximum} restart 5"
    if router.reflects(one):
        yield "\t\troute-reflector"
    yield "\t}"
