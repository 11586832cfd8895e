"""Which addresses of its node a pod may have: what our CNI program is told, from the node's blocks, the pod and the records.

Addresses are given out by host-local alone. What is decided here is which ranges it is given to choose from, and, of a pod
that asks for addresses of its own, that it takes these; whoever cannot have any is told why, and what would help.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from towpath.ipam.apart import Labels, may_ask, pools_here, selects, serving
from towpath.ipam.blocks import gateway
from towpath.ipam.reserved import reserved
from towpath.model.blocks import by_node, in_force, pool_holding
from towpath.model.cluster import Cluster, IPPool
from towpath.model.net import Address, Family, Prefix, family_of, host_prefix, parse_address
from towpath.model.reason import Reason, Refusal, Why, listed

ADDRESSES = "towpath.io/ip-addresses"
"""Annotation of a pod that asks for addresses: one of a family, separated by commas, or as a JSON list of strings."""


class Offer(Struct, frozen=True):
    """What a node has to give: the ranges of host-local's configuration, each of which lies in one of its blocks."""

    node: str
    cluster: Cluster
    ranges: tuple[Mapping[str, str], ...] = ()


class Asker(Struct, frozen=True):
    """A pod that is to have addresses."""

    pod: str
    """``NAMESPACE/NAME``; empty where the runtime did not say."""
    labels: Labels = {}
    """Of its namespace."""
    addresses: str = ""
    """What its annotation says."""


class Allowance(Struct, frozen=True):
    """What host-local is to choose from, a range set a family, and the addresses that it is to take."""

    ranges: tuple[tuple[Mapping[str, str], ...], ...]
    addresses: tuple[Address, ...] = ()


def allowance(offer: Offer, asker: Asker, *, taken: Mapping[Address, str]) -> Allowance | Refusal:
    """What a pod may have. ``taken``: who has each address that is not free, as a person is told (``pod a/b``)."""
    wanted = _wanted(asker)
    if isinstance(wanted, Refusal):
        return wanted
    sets: list[tuple[Mapping[str, str], ...]] = []
    pools = pools_here(offer.cluster, offer.node, _own(offer))
    for family in Family:
        candidates = [pool for pool in pools if family_of(pool.spec.cidr) is family]
        every = tuple(one for one in offer.ranges if family_of(_first(one)) is family)
        ranges = tuple(one for one in every if _is_for(offer, asker, one, candidates))
        address = wanted.get(family)
        if address is None and not ranges and (missing := _no_block(offer, asker, family, candidates)):
            return missing
        if address is not None:
            pool = pool_holding(host_prefix(address), offer.cluster.pools)
            if pool is not None and not may_ask(candidates, pool, *_namespace(asker)):
                return _annotation(
                    asker,
                    f"{address} lies in IPPool/{pool.name}, which is {_for_whom(pool, asker)}",
                    Reason.ADDRESS_OUTSIDE,
                )
            ranges = tuple(one for one in every if int(_first(one)) <= int(address) <= int(_last(one)))
            if not ranges or address in taken:
                return _refused(offer, asker, address, taken=taken)
        if ranges and all(map(taken.__contains__, _each(ranges))):
            return _full(offer, asker, family, ranges)
        if ranges:
            sets.append(ranges)
    if not sets:
        return Refusal(
            Reason.NO_POOL,
            f"no IPPool on node {offer.node} is for pods of namespace {_namespace(asker)[0]}",
            Why("Pod", asker.pod),
        )
    return Allowance(tuple(sets), tuple(wanted.values()))


def configured(configuration: Mapping[str, Any], allowed: Allowance) -> dict[str, Any]:
    """The runtime's configuration as host-local is to have it. Whatever else is in it stays."""
    arguments = configuration.get("args")
    given = arguments if isinstance(arguments, Mapping) else {}
    own = given.get("cni")
    asks = {"ips": [str(one) for one in allowed.addresses]} if allowed.addresses else {}
    return {
        **configuration,
        "ipam": {**configuration["ipam"], "type": "host-local", "ranges": [list(one) for one in allowed.ranges]},
        **({"args": {**given, "cni": {**(own if isinstance(own, Mapping) else {}), **asks}}} if asks else {}),
    }


def asked_for(text: str) -> tuple[Address, ...]:
    """The addresses that an annotation asks for; none where it says something else."""
    wanted = _wanted(Asker("", addresses=text))
    return () if isinstance(wanted, Refusal) else tuple(wanted.values())


def _wanted(asker: Asker) -> dict[Family, Address] | Refusal:
    """The addresses that a pod asks for."""
    found: dict[Family, Address] = {}
    try:
        for text in _texts(asker.addresses):
            address = parse_address(text)
            if family_of(address) in found:
                return _annotation(asker, f"{asker.addresses} has two addresses of one family: a pod has one of each")
            found[family_of(address)] = address
    except ValueError:
        return _annotation(asker, f"{asker.addresses} is no list of addresses: write one, or one of each family")
    return found


def _texts(value: str) -> Iterator[str]:
    if not value.strip():
        return
    listed = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
    for one in listed:
        if not isinstance(one, str):
            raise ValueError(value)  # noqa: TRY004  # as for every other mistake in it
        yield one.strip()


def _annotation(asker: Asker, message: str, reason: Reason = Reason.INVALID_SPEC) -> Refusal:
    return Refusal(reason, message, Why("Pod", asker.pod, f"metadata.annotations[{ADDRESSES}]"))


def _namespace(asker: Asker) -> tuple[str, Labels]:
    return asker.pod.partition("/")[0], asker.labels


def _is_for(offer: Offer, asker: Asker, entry: Mapping[str, str], candidates: Sequence[IPPool]) -> bool:
    """Whether a range is of a pool that the pod takes addresses from; what lies in no pool goes with the common ones."""
    mine = serving(candidates, *_namespace(asker))
    pool = pool_holding(host_prefix(_first(entry)), offer.cluster.pools)
    if pool is None:
        return not mine or any(one.spec.is_common for one in mine)
    return pool in mine


def _no_block(offer: Offer, asker: Asker, family: Family, candidates: Sequence[IPPool]) -> Refusal | None:
    """That the pools of the pod's namespace have given this node no block yet."""
    mine = [pool for pool in serving(candidates, *_namespace(asker)) if not pool.spec.is_common]
    if not mine:
        return None
    message = (
        f"pods of namespace {_namespace(asker)[0]} take IPv{family.value} addresses of IPPool {listed([one.name for one in mine])},"
        f" and node {offer.node} has no block of it that is in use yet: the pod waits for the controller to claim one"
    )
    return Refusal(Reason.PODS_WAITING, message, Why("Pod", asker.pod))


def _for_whom(pool: IPPool, asker: Asker) -> str:
    if pool.spec.namespace_selector and not selects(pool, *_namespace(asker)):
        return f"for other namespaces ({pool.spec.namespace_selector})"
    return f"not for namespace {_namespace(asker)[0]}, which has pools of its own, or not for this node"


def _refused(offer: Offer, asker: Asker, address: Address, *, taken: Mapping[Address, str]) -> Refusal:
    """Why a pod cannot have an address."""
    cluster, prefix = offer.cluster, host_prefix(address)
    pool = pool_holding(prefix, cluster.pools)
    block = next((one.spec for cidr, one in in_force(cluster.blocks).items() if address in cidr), None)
    if block is None and pool is None:
        return _annotation(asker, f"{address} lies in no IPPool and in no IPAMBlock", Reason.ADDRESS_OUTSIDE)
    if block is None:
        assert pool is not None
        message = (
            f"{address} lies in IPPool/{pool.name}, in no block of this node ({offer.node}) or any other yet:"
            f" the pod waits for the controller to claim one; the node has {_listed(_own(offer))}"
        )
        return _annotation(asker, message, Reason.PODS_WAITING)
    if block.node != offer.node:
        message = f"{address} lies in block {block.cidr} of node {block.node}, and this pod is on {offer.node}: it has to run there"
        return _annotation(asker, message, Reason.ADDRESS_OUTSIDE)
    if address in taken:
        return _annotation(
            asker, f"{address} is taken by {taken[address]}: this pod waits until it is free", Reason.ADDRESS_TAKEN
        )
    if not any(_first(one) in block.cidr for one in offer.ranges):
        message = f"{address} lies in block {block.cidr} ({block.state}), which this node gives out no addresses of at present"
        return _annotation(asker, message, Reason.ADDRESS_OUTSIDE)
    kept = _kept(cluster, pool.spec.cidr if pool else block.cidr, address)
    return _annotation(asker, f"{address} is given to no pod: {kept}", Reason.RESERVED_ADDRESS)


def _kept(cluster: Cluster, subnet: Prefix, address: Address) -> str:
    """Why no pod gets an address of a block that the node gives out."""
    for cidr, why in reserved(cluster.reservations).inside(host_prefix(address)):
        return f"{why} has {cidr}"
    if address == gateway(subnet):
        return f"it is the gateway of {subnet}"
    if address in (subnet.network_address, subnet.broadcast_address):
        return f"it stands for all of {subnet}"
    return "it is the node's own"


def _full(offer: Offer, asker: Asker, family: Family, ranges: Iterable[Mapping[str, str]]) -> Refusal:
    """That all addresses of a family are taken on this node."""
    own = [cidr for cidr in _own(offer) if any(_first(one) in cidr for one in ranges)]
    around = (pool_holding(cidr, offer.cluster.pools) for cidr in own)
    pools = sorted({f"IPPool/{pool.name}" for pool in around if pool is not None})
    message = (
        f"no IPv{family.value} address is free on node {offer.node}: all of {_listed(own)}"
        f"{f' of {listed(pools)}' if pools else ''} are taken."
        " The pod waits until one is, or until the node has another block;"
        " kubectl describe ippools tells whether its pools have any left"
    )
    return Refusal(Reason.PODS_WAITING, message, Why("Pod", asker.pod))


def _own(offer: Offer) -> list[Prefix]:
    """The node's blocks that are given out."""
    own = (one.spec.cidr for one in by_node(in_force(offer.cluster.blocks)).get(offer.node, ()))
    return [cidr for cidr in own if any(_first(one) in cidr for one in offer.ranges)]


def _listed(blocks: Iterable[Prefix]) -> str:
    return ", ".join(map(str, blocks)) or "none"


def _first(entry: Mapping[str, str]) -> Address:
    return ip_address(entry["rangeStart"])


def _last(entry: Mapping[str, str]) -> Address:
    return ip_address(entry["rangeEnd"])


def _each(ranges: Iterable[Mapping[str, str]]) -> Iterator[Address]:
    """Every address of these ranges, the first ones first."""
    for one in ranges:
        first, last = _first(one), _last(one)
        kind = type(first)
        for value in range(int(first), int(last) + 1):
            yield kind(value)
