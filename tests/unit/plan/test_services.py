"""Which service addresses a node announces: a table of RULES, the order of arrival, and what one change costs."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.effort import examples
from tests.unit.plan import worlds
from towpath.bgp import service_table
from towpath.bgp.service_table import ServiceTable, service_announcements
from towpath.bgp.services import DRAIN, EXCLUDED, LEAVES_FOR, configured, covering, outcomes, standing
from towpath.model.cluster import Cluster, Node
from towpath.model.decode import decode_node
from towpath.model.net import parse_prefix
from towpath.model.reason import InvalidSpecError
from towpath.model.resource import Meta
from towpath.model.service import EndpointSlice, Service, decode_endpoint_slice, decode_service

RANGES = {
    "serviceClusterIPs": [{"cidr": "10.96.0.0/16"}, {"cidr": "fd00:96::/112"}, {}],
    "serviceExternalIPs": [{"cidr": "192.0.2.0/24"}, {"cidr": "203.0.113.1/32"}],
    "serviceLoadBalancerIPs": [{"cidr": "198.51.100.0/24"}, {"cidr": "203.0.113.7/32"}],
}
WHOLE = ["10.96.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "fd00:96::/112"]
APART = ["10.96.0.0/16", "192.0.2.0/24", "fd00:96::/112"]
"""What is left of it without aggregation of load balancer addresses."""


def service(name: str = "web", *, ingress: Iterable[Any] = (), **spec: Any) -> dict[str, Any]:
    status = {"loadBalancer": {"ingress": [{"ip": one} if isinstance(one, str) else one for one in ingress]}}
    return {"kind": "Service", "metadata": {"name": name, "namespace": "apps"}, "spec": spec, "status": status}


def slice_of(
    name: str = "web", *endpoints: tuple[str | None, bool | None], key: str = "", family: str = "IPv4"
) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "metadata": {
            "name": key or f"{name}-{family}",
            "namespace": "apps",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": family,
        "endpoints": [
            {
                "addresses": ["10.244.0.9"],
                **({"nodeName": node} if node else {}),
                "conditions": {} if ready is None else {"ready": ready},
            }
            for node, ready in endpoints
        ],
    }


def cluster(*objects: dict[str, Any], node: Node | None = None, **config: Any) -> Cluster:
    world = worlds.cluster(worlds.config(**(config or RANGES)))
    services = [decode_service(one) for one in objects if one["kind"] == "Service"]
    slices = [decode_endpoint_slice(one) for one in objects if one["kind"] == "EndpointSlice"]
    return replace(
        world,
        nodes={"a": node or Node(Meta(name="a"))},
        services={one.key: one for one in services},
        endpoint_slices={one.key: one for one in slices if one is not None},
    )


def announced(world: Cluster, node: str = "a", **more: Any) -> list[str]:
    return sorted(map(str, service_announcements(world, node, **more)))


HERE, THERE, SICK = ("a", True), ("b", True), ("a", False)
CLUSTER_IP = {"type": "ClusterIP", "clusterIPs": ["10.96.0.10"]}
LOCAL = {"externalTrafficPolicy": "Local"}
BALANCER = {"type": "LoadBalancer", "clusterIPs": ["10.96.0.10"]}


@pytest.mark.parametrize(
    ("objects", "more"),
    [
        pytest.param((), [], id="the ranges whatever there is"),
        pytest.param((service(**CLUSTER_IP), slice_of("web", HERE)), [], id="a cluster address lies in its range"),
        pytest.param(
            (service(**CLUSTER_IP, internalTrafficPolicy="Local"), slice_of("web", HERE)),
            ["10.96.0.10/32"],
            id="internal local",
        ),
        pytest.param(
            (service(**CLUSTER_IP, internalTrafficPolicy="Local"), slice_of("web", THERE)), [], id="internal elsewhere"
        ),
        pytest.param(
            (service(**BALANCER, **LOCAL, externalIPs=["192.0.2.9"], ingress=["198.51.100.9"]), slice_of("web", HERE)),
            ["10.96.0.10/32", "192.0.2.9/32", "198.51.100.9/32"],
            id="external local: external, balancer and cluster addresses",
        ),
        pytest.param(
            (
                service(**BALANCER, **LOCAL, externalIPs=["192.0.2.9"], ingress=["198.51.100.9"]),
                slice_of("web", THERE, SICK),
            ),
            [],
            id="external local, none ready here",
        ),
        pytest.param(
            (service(**BALANCER, internalTrafficPolicy="Local", externalIPs=["192.0.2.9"]), slice_of("web", HERE)),
            ["10.96.0.10/32"],
            id="internal local says nothing of external addresses",
        ),
        pytest.param(
            (service(**BALANCER, **LOCAL), slice_of("web", ("a", None))), ["10.96.0.10/32"], id="ready unset is ready"
        ),
        pytest.param(
            (service(**BALANCER, **LOCAL), slice_of("web", SICK), slice_of("web", HERE, key="other")),
            ["10.96.0.10/32"],
            id="two slices",
        ),
        pytest.param((service(**BALANCER, **LOCAL), slice_of("other", HERE)), [], id="endpoints of another service"),
        pytest.param(
            (
                service(type="LoadBalancer", clusterIPs=["10.96.0.10", "fd00:96::a"], **LOCAL),
                slice_of("web", HERE),
                slice_of("web", THERE, family="IPv6"),
            ),
            ["10.96.0.10/32"],
            id="each family by its own endpoints",
        ),
        pytest.param(
            (service(type="ClusterIP", externalIPs=["203.0.113.1"]),),
            ["203.0.113.1/32"],
            id="a single external address",
        ),
        pytest.param(
            (service(type="NodePort", externalIPs=["203.0.113.1", "203.0.113.2"]),),
            ["203.0.113.1/32"],
            id="only what is listed",
        ),
        pytest.param(
            (service(**BALANCER, ingress=["203.0.113.7"]),), ["203.0.113.7/32"], id="a single balancer address"
        ),
        pytest.param(
            (service(**BALANCER, **LOCAL, ingress=["203.0.113.7"]), slice_of("web", THERE)),
            [],
            id="single and local, elsewhere",
        ),
        pytest.param((service(type="NodePort", ingress=["203.0.113.7"]),), [], id="no balancer, no balancer address"),
        pytest.param(
            (
                service(
                    **BALANCER,
                    ingress=[{"ip": "203.0.113.7", "ipMode": "Proxy"}, {"hostname": "x.example"}, {"ip": "x"}],
                ),
            ),
            [],
            id="addresses that no packet arrives with",
        ),
        pytest.param(
            (service(clusterIPs=["None"], externalIPs=["203.0.113.1"], **LOCAL), slice_of("web", HERE)),
            [],
            id="headless",
        ),
        pytest.param((service(type="ExternalName", externalIPs=["203.0.113.1"]),), [], id="a name is no address"),
        pytest.param(
            (service(clusterIP="10.96.0.11", internalTrafficPolicy="Local"), slice_of("web", HERE)),
            ["10.96.0.11/32"],
            id="clusterIP alone",
        ),
        pytest.param(
            (service(**BALANCER, ingress=["198.51.101.1"], externalIPs=["198.51.100.1"]),),
            [],
            id="each list for its kind",
        ),
    ],
)
def test_what_a_node_announces(objects: tuple[dict[str, Any], ...], more: list[str]) -> None:
    """Beside the ranges, a service's own address is announced exactly where RULES say so."""
    assert announced(cluster(*objects)) == sorted([*WHOLE, *more])


@pytest.mark.parametrize(
    ("objects", "more"),
    [
        ((service(**BALANCER, ingress=["198.51.100.9"]), slice_of("web", THERE)), ["198.51.100.9/32"]),
        ((service(**BALANCER, ingress=["198.51.100.9"]), slice_of("web", ("b", False))), []),
        ((service(**BALANCER, ingress=["198.51.100.9"]), slice_of("web", (None, True))), ["198.51.100.9/32"]),
        ((service(**BALANCER, **LOCAL, ingress=["198.51.100.9"]), slice_of("web", THERE)), []),
        ((service(**BALANCER, externalIPs=["192.0.2.9"]), slice_of("web", THERE)), []),
        ((service(**BALANCER, ingress=["203.0.113.7"]),), ["203.0.113.7/32"]),
    ],
)
def test_without_aggregation(objects: tuple[dict[str, Any], ...], more: list[str]) -> None:
    """Ranges of balancer addresses are not announced whole: each address while any endpoint is ready, other lists as ever."""
    world = cluster(*objects, **RANGES, serviceLoadBalancerAggregation="Disabled")
    assert announced(world) == sorted([*APART, *more])


def test_an_address_of_several_services_stays_until_the_last_one_goes() -> None:
    """Each of them is named as a cause; without any the address is withdrawn."""
    address = {"type": "ClusterIP", "externalIPs": ["203.0.113.1"]}
    one, other = service("one", **address), service("other", **address, **LOCAL)
    both = service_announcements(cluster(one, other, slice_of("other", HERE)), "a")[parse_prefix("203.0.113.1/32")]
    assert {why.name for why in both.why if why.kind == "Service"} == {"apps/one", "apps/other"}
    assert "203.0.113.1/32" in announced(cluster(other, slice_of("other", HERE)))
    assert announced(cluster(other, slice_of("other", THERE))) == WHOLE == announced(cluster())


def test_a_single_cluster_address_follows_a_local_service() -> None:
    """Listed alone it is every node's, unless the service that has it can be reached only where its endpoints are."""
    ranges = {"serviceClusterIPs": [{"cidr": "10.96.0.10/32"}]}
    local = service(**CLUSTER_IP, internalTrafficPolicy="Local")
    assert announced(cluster(**ranges)) == ["10.96.0.10/32"]
    assert announced(cluster(service(**CLUSTER_IP), **ranges)) == ["10.96.0.10/32"]
    assert announced(cluster(local, slice_of("web", HERE), **ranges)) == ["10.96.0.10/32"]
    assert announced(cluster(local, slice_of("web", THERE), **ranges)) == []


def test_every_announcement_says_why() -> None:
    """A range names its entry; an address its service, the entry that lists it and the policy that decides."""
    made = service_announcements(cluster(service(**BALANCER, **LOCAL), slice_of("web", HERE)), "a")
    assert list(map(str, made[parse_prefix("10.96.0.0/16")].why)) == [
        "BGPConfiguration/default spec.serviceClusterIPs[0].cidr"
    ]
    assert list(map(str, made[parse_prefix("10.96.0.10/32")].why)) == [
        "Service/apps/web spec.clusterIPs",
        "BGPConfiguration/default spec.serviceClusterIPs[0].cidr",
        "Service/apps/web spec.externalTrafficPolicy",
    ]
    assert {one.local_preference for one in made.values()} == {2147483647 - 1024}


def test_every_address_that_is_not_announced_has_a_reason() -> None:
    """Not listed, in a range that is announced whole, or without the endpoint that it needs."""
    config = worlds.cluster(worlds.config(**RANGES, serviceLoadBalancerAggregation="Disabled")).bgp
    one = decode_service(
        service(**BALANCER, externalIPs=["192.0.2.9", "8.8.8.8"], ingress=["198.51.100.9", "203.0.113.7"])
    )
    found = {str(each.address): str(each.reason) for _, each in outcomes(one, (), node="a", entries=configured(config))}
    assert found == {
        "10.96.0.10": "InServiceRange",
        "192.0.2.9": "InServiceRange",
        "8.8.8.8": "NotListed",
        "198.51.100.9": "NoReadyEndpoint",
        "203.0.113.7": "OwnService",
    }
    local = replace(one, external_policy="Local")
    reasons = [str(each.reason) for _, each in outcomes(local, (), node="a", entries=configured(config))]
    assert set(reasons) == {"NoLocalEndpoint", "NotListed"}


def test_a_node_with_the_exclusion_label_announces_no_services() -> None:
    """Whatever the label's value; the Node's own labels count, else those that its RoutingNode copied."""
    excluded = Node(Meta(name="a", labels={EXCLUDED: ""}))
    world = cluster(service(**BALANCER, **LOCAL), slice_of("web", HERE), node=excluded)
    assert announced(world) == []
    assert standing(world, "a", drained_for=0).reason == "NodeExcluded"
    copied = worlds.cluster(worlds.config(**RANGES), worlds.node("a", "10.0.0.1", labels={EXCLUDED: "false"}))
    assert announced(copied) == []


@pytest.mark.parametrize(
    "node",
    [
        {"metadata": {"name": "a", "annotations": {DRAIN: ""}}},
        {"metadata": {"name": "a"}, "spec": {"taints": [{"key": DRAIN, "effect": "NoSchedule"}]}},
    ],
)
def test_a_drained_node_leaves_in_two_steps(node: dict[str, Any]) -> None:
    """First every service is announced as the last choice (RFC 8326), then none; cordoning changes nothing."""
    world = cluster(node=decode_node(node))
    leaving = service_announcements(world, "a", drained_for=LEAVES_FOR - 0.1)
    assert sorted(map(str, leaving)) == WHOLE
    assert {(one.local_preference, one.communities) for one in leaving.values()} == {(0, ("65535:0",))}
    assert {one.why[-1].name for one in leaving.values()} == {"a"}
    assert announced(world, drained_for=LEAVES_FOR) == []
    cordoned = decode_node({"metadata": {"name": "a"}, "spec": {"unschedulable": True}})
    assert announced(cluster(node=cordoned), drained_for=LEAVES_FOR) == WHOLE


def test_without_ranges_nothing_is_announced() -> None:
    """Empty lists and empty entries mean that services are not announced."""
    objects = service(**BALANCER, **LOCAL, externalIPs=["192.0.2.9"]), slice_of("web", HERE)
    assert announced(cluster(*objects, serviceClusterIPs=[{}], serviceExternalIPs=[])) == []


def test_ranges_that_lie_in_others_are_left_out() -> None:
    """What is refused and dropped is said once."""
    texts = ["10.96.0.0/16", "10.96.0.10/32", "10.97.0.0/16", "fd00::/64", "10.96.0.0/12", "fd00::1/128"]
    assert list(map(str, covering(map(parse_prefix, texts)))) == ["10.96.0.0/12", "fd00::/64"]


@pytest.mark.parametrize("body", [{"spec": {"clusterIPs": 5}}, {"spec": []}, {"status": {"loadBalancer": "x"}}])
def test_what_has_not_the_shape_of_a_service_is_refused(body: dict[str, Any]) -> None:
    """The error names the object."""
    with pytest.raises(InvalidSpecError, match=r"^Service/default/web"):
        decode_service({"metadata": {"name": "web"}, **body})


_NAMES = st.sampled_from(["one", "two", "three"])
_SERVICES = st.builds(
    lambda name, **spec: Service(f"apps/{name}", **spec),
    _NAMES,
    cluster=st.just(decode_service(service(**CLUSTER_IP)).cluster),
    external=st.just(decode_service(service(externalIPs=["203.0.113.1", "192.0.2.9"])).external),
    external_policy=st.sampled_from(["Local", "Cluster"]),
    internal_policy=st.sampled_from(["Local", "Cluster"]),
)
_SLICES = st.builds(
    lambda key, name, family, ready: EndpointSlice(f"apps/{key}", service=f"apps/{name}", family=family, ready=ready),
    st.sampled_from(["s", "t"]),
    _NAMES,
    st.sampled_from([4, 6]),
    st.frozensets(st.sampled_from(["a", "b", ""])),
)
_RANGES = st.sampled_from([{}, RANGES, {**RANGES, "serviceClusterIPs": [{"cidr": "10.96.0.10/32"}]}])
_STEPS = st.lists(
    st.one_of(_SERVICES, _SLICES, _RANGES, st.tuples(st.sampled_from(["service", "slice"]), _NAMES)), max_size=25
)


@settings(max_examples=examples(150))
@given(steps=_STEPS)
def test_step_by_step_is_the_same_as_all_at_once(steps: list[Any]) -> None:
    """Whatever came and went in which order: what is announced depends on what there is now."""
    table, services, slices, ranges = ServiceTable("a"), {}, {}, {}
    for step in steps:
        if isinstance(step, Service):
            table.put_service(step)
            services[step.key] = step
        elif isinstance(step, EndpointSlice):
            table.put_slice(step)
            slices[step.key] = step
        elif isinstance(step, dict):
            ranges = step
            table.configure(configured(worlds.cluster(worlds.config(**ranges)).bgp))
        elif step[0] == "service":
            table.drop_service(f"apps/{step[1]}")
            services.pop(f"apps/{step[1]}", None)
        else:
            key = {"one": "s", "two": "t"}.get(step[1], "none")
            table.drop_slice(f"apps/{key}")
            slices.pop(f"apps/{key}", None)
    world = replace(worlds.cluster(worlds.config(**ranges)), services=services, endpoint_slices=slices)
    assert table.routes() == service_table.service_routes(world, "a")
    assert dict(table.services) == services
    assert table.slices == {key: one.seen_from("a") for key, one in slices.items()}


def test_one_slice_costs_one_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thousand services only the one whose endpoints changed is looked at, and none where they changed elsewhere."""
    table = ServiceTable("a")
    table.configure(configured(worlds.cluster(worlds.config(**RANGES)).bgp))
    for number in range(1000):
        table.put_service(replace(decode_service(service(**BALANCER, **LOCAL)), key=f"apps/{number}"))
    looked: list[str] = []
    real = service_table.outcomes
    monkeypatch.setattr(
        service_table, "outcomes", lambda one, slices, **more: (looked.append(one.key), real(one, slices, **more))[1]
    )
    before = table.routes()
    found = decode_endpoint_slice(slice_of("7", HERE))
    assert found is not None
    table.put_slice(found)
    assert looked == ["apps/7"]
    assert table.routes() is not before
    before = table.routes()
    table.put_slice(replace(found, ready=frozenset({"a", "b"})))
    table.put_slice(replace(found, ready=frozenset({"a", "c"})))
    assert looked == ["apps/7", "apps/7"]
    assert table.routes() is before
