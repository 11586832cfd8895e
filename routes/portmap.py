"""What the CNI project's portmap plugin leaves in nftables when no port leads to a pod any more, and how it goes.

It makes the same chains for every network that calls it, by nft itself or by iptables on top of it, and removes none of
them. Those that were there before our network was are somebody else's; so is what other rules beside them do. A pod's own
rules go when a runtime takes the pod away; of one that is gone without that they are known by its container.
"""

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from towpath.routes.nft import listing, run

_TABLES = ("ip nat", "ip6 nat", "ip cni_hostport", "ip6 cni_hostport")
_MAPPING = frozenset({"CNI-HOSTPORT-DNAT", "hostports", "hostip_hostports"})
"""Chains with a rule for each port that leads to a pod."""
_OWN = " cni_hostport"
"""The table of the plugin alone, in which each rule for a port names its container in a comment."""
_LONGEST_NAME = 28
_PREFIXES = ("CNI-HOSTPORT-", "CNI-DN-")
_HOOKED = frozenset({"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"})
"""Chains that iptables makes where it needs one of them."""
Item = dict[str, Any]


async def remove(before: Collection[str], *, network: str, gone: Collection[str] = ()) -> tuple[str, ...]:
    """Take away the plugin's chains but for those of ``before`` (as ``firewall.chains`` has them).

    ``gone``: containers of the ``network`` that are no more; ports that lead to these go first. Answers with the tables that
    stay as they are because ports of theirs still lead to pods. ``OSError`` where nft refuses.
    """
    busy = []
    dead = frozenset(_chain(network, one) for one in gone)
    for table in _TABLES:
        try:
            listed = await listing(table, "--handle")
            if lines := list(_forgetting(table, listed, dead, gone)):
                await run("-f", "-", stdin="\n".join(lines) + "\n")
                listed = await listing(table, "--handle")
        except FileNotFoundError:
            continue
        rules = [one["rule"] for one in listed if "rule" in one]
        if any(rule["chain"] in _MAPPING for rule in rules):
            busy.append(table)
            continue
        lines = list(_removal(table, listed, rules, before))
        if lines:
            await run("-f", "-", stdin="\n".join(lines) + "\n")
    return tuple(busy)


def _chain(network: str, container: str) -> str:
    """What the plugin calls a container's own chain of iptables: a digest, cut where iptables ends names."""
    return f"CNI-DN-{hashlib.sha512((network + container).encode()).hexdigest()}"[:_LONGEST_NAME]


def _forgetting(table: str, listed: Collection[Item], dead: Collection[str], gone: Collection[str]) -> Iterator[str]:
    """What nft is told of containers that are gone: their chains, the jumps there, and what the plugin's own rules say of them."""
    chains = sorted({one["chain"]["name"] for one in listed if "chain" in one}.intersection(dead))
    rules = [one["rule"] for one in listed if "rule" in one]
    for rule in rules:
        own = table.endswith(_OWN) and rule.get("comment") in gone
        if own or _target(rule) in chains:
            yield f"delete rule {table} {rule['chain']} handle {rule['handle']}"
    yield from (f"flush chain {table} {name}" for name in chains)
    yield from (f"delete chain {table} {name}" for name in chains)


def _removal(table: str, listed: Collection[Item], rules: Collection[Item], before: Collection[str]) -> Iterator[str]:
    """What nft is told: the table goes if nothing else is in it."""
    every = {one["chain"]["name"] for one in listed if "chain" in one}
    new = {name for name in every if f"{table} {name}" not in before}
    own = new if table.endswith(_OWN) else {name for name in new if name.startswith(_PREFIXES)}
    if not own:
        return
    calls = [rule for rule in rules if rule["chain"] not in own and _target(rule) in own]
    busy = {rule["chain"] for rule in rules if rule not in calls}
    gone = own | {name for name in new & _HOOKED if name not in busy}
    if gone == every and not any(one.keys() & {"set", "map"} for one in listed if table.endswith(" nat")):
        yield f"delete table {table}"
        return
    yield from (f"delete rule {table} {rule['chain']} handle {rule['handle']}" for rule in calls)
    yield from (f"flush chain {table} {name}" for name in sorted(own))
    yield from (f"delete chain {table} {name}" for name in sorted(gone))


def _target(rule: Item) -> str | None:
    """The chain that a rule jumps to."""
    return next((part["jump"]["target"] for part in rule["expr"] if "jump" in part), None)
