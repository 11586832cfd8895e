"""Addresses that pods of one node have of another's block, as Calico lets nodes borrow: nobody finds such a pod here."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from towpath.controller.calico.carry import Body, Report, carried, object_of
from towpath.model.net import Address, Prefix, host_prefix, parse_prefix
from towpath.model.workload import decode_workload

RESERVATION = "borrowed-addresses"
"""What is borrowed is given to nobody else by its owner meanwhile."""
_HOST = "host:"


class Borrowed(Struct, frozen=True, order=True):
    """An address, the block that it is of, and who has it."""

    address: Address
    block: str
    """The name of Calico's IPAMBlock."""
    field: str
    node: str
    pod: str
    """``NAMESPACE/NAME``; empty where the block does not say."""


def borrowed(found: Iterable[Body], pods: Iterable[Body], report: Report) -> list[Body]:
    """The reservation that keeps all of them, if there are any; the report names each."""
    blocks = [one for one in found if _owner(one)]
    addresses: dict[Address, Borrowed] = {}
    for one in (*_allocated(blocks), *_seen(blocks, pods)):
        known = addresses.get(one.address)
        if known is None or (one.pod and not known.pod):
            addresses[one.address] = one
    for one in addresses.values():
        who = f"pod {one.pod} on node {one.node}" if one.pod else f"node {one.node}"
        message = (
            f"{one.address} is borrowed by {who}, which does not move to towpath before that pod is started anew;"
            f" IPReservation/{RESERVATION} keeps it from others: take it out there afterwards"
        )
        report.add("IPAMBlock", one.block, one.field, message)
    if not addresses:
        return []
    cidrs = [str(host_prefix(one)) for one in sorted(addresses, key=lambda one: (one.version, int(one)))]
    made = carried("IPReservation", {"name": RESERVATION}, {"reservedCIDRs": cidrs}, report)
    return [made] if made else []


def _owner(block: Body) -> str:
    spec = object_of(block.get("spec"))
    affinity = str(spec.get("affinity") or "")
    return affinity.removeprefix(_HOST) if affinity.startswith(_HOST) and _cidr(spec) is not None else ""


def _cidr(spec: Mapping[str, Any]) -> Prefix | None:
    try:
        return parse_prefix(str(spec.get("cidr")))
    except ValueError:
        return None


def _allocated(blocks: Iterable[Body]) -> Iterator[Borrowed]:
    """As blocks say: for each of their addresses the number of its attributes, or null."""
    for block in blocks:
        spec, owner = object_of(block.get("spec")), _owner(block)
        cidr, allocations, attributes = _cidr(spec), spec.get("allocations"), spec.get("attributes")
        if cidr is None or not isinstance(allocations, list) or not isinstance(attributes, list):
            continue
        for place, number in enumerate(allocations[: cidr.num_addresses]):
            if not isinstance(number, int) or not 0 <= number < len(attributes):
                continue
            said = object_of(object_of(attributes[number]).get("secondary"))
            node, pod = str(said.get("node") or ""), str(said.get("pod") or "")
            if node in ("", owner) or str(said.get("type") or "").endswith("TunnelAddress"):
                continue
            named = f"{said.get('namespace')}/{pod}" if pod else ""
            yield Borrowed(cidr[place], block["metadata"]["name"], f"spec.allocations[{place}]", node, named)


def _seen(blocks: Iterable[Body], pods: Iterable[Body]) -> Iterator[Borrowed]:
    """As pods say."""
    owned = [(_cidr(object_of(one.get("spec"))), one) for one in blocks]
    for pod in pods:
        workload = decode_workload(pod)
        for address in workload.addresses if workload else ():
            for cidr, block in owned:
                if workload and cidr is not None and address in cidr and _owner(block) != workload.node:
                    yield Borrowed(address, block["metadata"]["name"], "spec.cidr", workload.node, workload.key)
