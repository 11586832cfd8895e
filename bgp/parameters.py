"""What a session is made with, from the objects that say so: its name, timers, limit, TTL, and why it may not run."""

from collections.abc import Callable, Collection, Iterable

from towpath.bgp.nodes import NodeView
from towpath.model.kinds.bgp import BGPConfigurationSpec, MaxPrefixes, Timers
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.net import Address, Family, family_of
from towpath.model.reason import Reason
from towpath.model.speaker import MaxPrefix, Scope

HOLD_TIME, CONNECT_RETRY_TIME = 90, 5
NODE_HOPS = 64
"""TTL of eBGP sessions between nodes: they may be in different subnets."""


def timers(levels: tuple[Timers, ...], spec: BGPPeerSpec | None) -> tuple[int, int, int]:
    """Hold, keepalive and connect-retry time; ``levels``: what the node and the cluster say. Who sets a hold time sets the keepalive time too, to a third of it."""
    if spec is not None:
        levels = (Timers(keepalive_time=spec.keepalive_time), spec.timers or Timers(), *levels)
    hold = int(_first(levels, lambda timers: timers.hold_time, HOLD_TIME))
    third = max(hold // 3, 1) if hold else 0
    keepalive = third
    for level in levels:
        if level.keepalive_time is not None or level.hold_time is not None:
            keepalive = third if level.keepalive_time is None else int(level.keepalive_time)
            break
    retry = int(_first(levels, lambda timers: timers.connect_retry_time, CONNECT_RETRY_TIME))
    return hold, keepalive if keepalive < hold else third, retry


def session_name(scope: Scope, address: str, *, port: int | None = None) -> str:
    """``Global-10-0-0-254``, with ``-p1790`` where the object writes a port. It depends on the session's own object alone."""
    name = f"{scope}-{address.replace('.', '-').replace(':', '-')}"
    return name if port is None else f"{name}-p{port}"


def session_families(spec: BGPPeerSpec, address: Address) -> tuple[Family, ...]:
    """The families whose routes a session with this address carries."""
    return tuple(family for family in Family if family.key in spec.address_families) or (family_of(address),)


def ways(spec: BGPPeerSpec, common: Collection[Family]) -> tuple[Family, ...]:
    """Of the families in which both ends have an address those over which a peer that is not named by address has a session."""
    if not spec.address_families:
        return tuple(common)
    return tuple(family for key in spec.address_families for family in common if family.key == key)[:1]


def hops(spec: BGPPeerSpec, node: NodeView | None) -> int | None:
    """The TTL of an eBGP session; with TTL security it is given."""
    if spec.ttl_security is not None:
        return None
    return spec.ebgp_multihop or (None if node is None else NODE_HOPS)


def withheld_for(spec: BGPPeerSpec, own: Address | None) -> Reason | None:
    if spec.shutdown is not None:
        return Reason.SHUTDOWN
    return Reason.NO_ADDRESS if own is None and spec.source_address == "UseNodeIP" else None


def restart_time(config: BGPConfigurationSpec, own: int | None) -> int | None:
    """The graceful restart time that is offered: the session's ``own``, else the cluster's; None where there is none of it."""
    restart = config.graceful_restart
    if not restart.enabled:
        return None
    return int(restart.restart_time if own is None else own)


def all_paths(
    spec: BGPPeerSpec, config: BGPConfigurationSpec, *, ends: Iterable[NodeView | None], internal: bool
) -> bool:
    """Whether a session carries all paths: those of reflectors do, others if the peer says so."""
    if spec.add_paths is not None:
        return spec.add_paths
    return config.add_paths and internal and any(end is not None and end.reflector for end in ends)


def limit(asked: MaxPrefixes | None, otherwise: int) -> MaxPrefix:
    if asked is None:
        return MaxPrefix(limit=otherwise)
    after = None if asked.restart_after is None else int(asked.restart_after)
    return MaxPrefix(limit=asked.limit, warn_percent=asked.warn_percent, action=asked.action, restart_after=after)


def _first(levels: tuple[Timers, ...], value: Callable[[Timers], int | None], otherwise: int) -> int:
    return next((found for found in map(value, levels) if found is not None), otherwise)
