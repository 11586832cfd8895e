"""``towpath ipam check`` and ``repair`` over addresses of load balancers: claims, services, pools, each against the others."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.planning.test_ipam_check import Body, found
from tests.unit.planning.test_ipam_check import world as pods_and_blocks
from towpath.controller.plan.inputs import gathered
from towpath.controller.plan.ipam.check import everything
from towpath.controller.settings import SECRET_NAMESPACE
from towpath.ipam.repair import actions
from towpath.lab.api import custom
from towpath.model.balanced import SHARES
from towpath.model.net import address_name, parse_address

World = list[Body]
POOL = custom("IPPool", "lb", {"cidr": "198.51.100.0/28", "allowedUses": ["LoadBalancer"]})
ONE, TWO = "198.51.100.1", "198.51.100.2"


def service(name: str, *addresses: str, port: int = 80, key: str = "", uid: str = "") -> Body:
    """One of type LoadBalancer that shows addresses."""
    metadata: dict[str, Any] = {"name": name, "namespace": "default", "uid": uid or f"uid-{name}"}
    if key:
        metadata["annotations"] = {SHARES: key}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ports": [{"port": port}]},
        "status": {"loadBalancer": {"ingress": [{"ip": one} for one in addresses]}},
    }


def claim(address: str, *tenants: Body, pool: str = "lb") -> Body:
    """What says that services have an address."""
    said = [
        {
            "service": f"default/{one['metadata']['name']}",
            "uid": one["metadata"]["uid"],
            "ports": [f"TCP/{one['spec']['ports'][0]['port']}"],
            "sharingKey": one["metadata"].get("annotations", {}).get(SHARES, ""),
        }
        for one in tenants
    ]
    return custom(
        "AddressClaim", address_name(parse_address(address)), {"address": address, "pool": pool, "services": said}
    )


WEB, MAIL = service("web", ONE, key="k"), service("mail", ONE, port=25, key="k")
OTHER = service("other", TWO)


def world() -> World:
    """Two services that share an address, one with another, one that keeps an address from all, and one of another's."""
    kept = custom("AddressClaim", "198-51-100-9", {"address": "198.51.100.9"})
    foreign = service("foreign", "203.0.113.7")
    everything_else = pods_and_blocks()
    return copy.deepcopy(
        [*everything_else, POOL, WEB, MAIL, OTHER, claim(ONE, WEB, MAIL), claim(TWO, OTHER), kept, foreign]
    )


def without(kind: str, name: str) -> Callable[[World], World]:
    return lambda objects: [one for one in objects if (one["kind"], one["metadata"]["name"]) != (kind, name)]


def with_these(*more: Body) -> Callable[[World], World]:
    return lambda objects: [*objects, *copy.deepcopy(more)]


def instead(one: Body) -> Callable[[World], World]:
    remove = without(one["kind"], one["metadata"]["name"])
    return lambda objects: [*remove(objects), copy.deepcopy(one)]


CLAIM, SERVICE = "AddressClaim/198-51-100-2", "Service/default/other status.loadBalancer"
CASES: dict[str, tuple[Callable[[World], World], set[str]]] = {
    "a claim whose service is gone": (without("Service", "other"), {f"{CLAIM} spec.services ServiceMissing"}),
    "a claim whose service is another of the name": (
        instead(service("other", uid="new")),
        {f"{CLAIM} spec.services ServiceMissing"},
    ),
    "a service that no claim backs": (without("AddressClaim", "198-51-100-2"), {f"{SERVICE} AddressUnclaimed"}),
    "a service whose address is claimed for another": (
        instead(claim(TWO, WEB)),
        {f"{SERVICE} AddressUnclaimed"},
    ),
    "a claim outside of any pool": (
        with_these(claim("192.0.2.200", OTHER)),
        {"AddressClaim/192-0-2-200 spec.address NoPool"},
    ),
    "a claim in a pool of pods": (
        with_these(claim("10.244.1.200", OTHER)),
        {"AddressClaim/10-244-1-200 spec.address NoPool"},
    ),
    "a claim that names another pool": (instead(claim(TWO, OTHER, pool="b")), {f"{CLAIM} spec.pool NoPool"}),
    "two services of one claim without a key": (
        lambda objects: instead(claim(TWO, OTHER, service("more")))(with_these(service("more"))(objects)),
        {f"{CLAIM} spec.services[1] AddressTaken"},
    ),
    "two services that show one address": (
        with_these(service("thief", TWO)),
        {
            "Service/default/thief status.loadBalancer AddressUnclaimed",
            "Service/default/thief status.loadBalancer DuplicateAddress",
        },
    ),
    "two that share and want one port": (
        with_these(service("third", ONE, port=25, key="k")),
        {
            "Service/default/third status.loadBalancer AddressUnclaimed",
            "Service/default/third status.loadBalancer DuplicateAddress",
        },
    ),
}


def test_what_fits_together_is_left_alone() -> None:
    """Services that share by key, claims by hand that keep addresses from all, and addresses of another load balancer."""
    assert not found(world())


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_is_found_with_object_and_field(case: str) -> None:
    change, expected = CASES[case]
    assert set(found(change(world()))) == expected


def mended(objects: World) -> list[str]:
    inputs = gathered(objects, secret_namespace=SECRET_NAMESPACE)
    planned = actions(inputs.cluster, everything(inputs), services=inputs.balanced)
    return [f"{one.why.object.kind}/{one.why.object.name}: {one.message.partition(':')[0]}" for one in planned]


def test_a_claim_is_deleted_only_where_nobody_has_or_shows_the_address() -> None:
    """All that it names are gone: one of two is the controller's to take out; one that is shown is for people."""
    assert mended(world()) == []
    assert mended(without("Service", "other")(world())) == [f"{CLAIM}: delete it"]
    assert mended(without("Service", "web")(world())) == []
    shown = with_these(service("thief", TWO))(without("Service", "other")(world()))
    assert mended(shown) == []
    assert mended(without("AddressClaim", "198-51-100-2")(world())) == []
