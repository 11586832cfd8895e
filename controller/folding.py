"""The same said by many nodes, as one sentence that names them: a condition is for people, and short."""

from collections.abc import Iterable

from msgspec import Struct

from towpath.controller.reports import Loss
from towpath.model.reason import Reason, Refusal, Why

NODES = 3
"""Nodes that are named, before the others are counted."""
SENTENCES = 4
"""Different sentences about one object for one reason, before the others are counted."""

Key = tuple[str, str, Reason]
"""Kind and name of an object, and a reason."""


class Folded(Struct, frozen=True):
    """What is said of one object for one reason."""

    refusals: tuple[Refusal, ...]
    """For a condition: with the nodes, few of them."""
    told: Refusal
    """For an event: the first of it, without the nodes, so that it stays the same while more nodes say so."""


def folded(said: Iterable[tuple[str, Refusal]]) -> dict[Key, Folded]:
    """What nodes say of objects, by object and reason; ``said``: pairs of a node and a refusal."""
    nodes: dict[Refusal, set[str]] = {}
    for node, refusal in said:
        nodes.setdefault(refusal, set()).add(node)
    groups: dict[Key, list[Refusal]] = {}
    for refusal in sorted(nodes):
        groups.setdefault((refusal.object.kind, refusal.object.name, refusal.reason), []).append(refusal)
    found: dict[Key, Folded] = {}
    for key, group in groups.items():
        shown = [
            Refusal(one.reason, f"{one.message} ({named(nodes[one])})", one.object)
            for one in (group if len(group) <= SENTENCES else group[: SENTENCES - 1])
        ]
        if rest := group[len(shown) :]:
            others = named({node for one in rest for node in nodes[one]})
            shown.append(Refusal(key[2], f"and {len(rest)} more of that kind ({others})", Why(key[0], key[1])))
        found[key] = Folded(tuple(shown), group[0])
    return found


def losses(found: Iterable[Loss]) -> dict[str, str]:
    """By BGPPeer: a sentence on the sessions that were lost."""
    by_peer: dict[str, list[Loss]] = {}
    for one in sorted(found):
        by_peer.setdefault(one.peer, []).append(one)
    return {peer: _lost(several) for peer, several in by_peer.items()}


def named(nodes: Iterable[str]) -> str:
    """A list of nodes for people."""
    names = sorted(nodes)
    more = f" and {len(names) - NODES} more" if len(names) > NODES else ""
    return ", ".join(names[:NODES]) + more


def _lost(several: list[Loss]) -> str:
    first = several[0]
    addresses = {one.address for one in several}
    peer = first.address if len(addresses) == 1 else f"{first.address} and {len(addresses) - 1} other addresses"
    why = f": {first.reason}" if first.reason else ""
    return f"lost the session with {peer} on {named({one.node for one in several})}{why}"
