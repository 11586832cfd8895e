"""Policy on the wire: filters of the speaker with BIRD at the other end, in both families."""

import re
from ipaddress import ip_address, ip_network
from typing import Any

from msgspec.structs import replace

from tests.netns.engine.rig import AS_OURS, AS_PEER, Bird, bird_neighbour, make_session
from tests.netns.engine.test_speaker import agent_at, announce, desired, path, speaker, until  # noqa: F401  # fixtures
from tests.unit.bgp_table.world import refused
from towpath.model.decode import decode
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.net import Family
from towpath.model.speaker import NodeOrigin, SpeakerState

STATIC = "".join(f"route 203.0.113.{number * 32}/27 blackhole; " for number in range(6))
STATIC6 = "".join(f"route 2001:db8:{number}::/48 blackhole; " for number in range(6))
TAGGED = f"""
protocol static s6 {{ ipv6; {STATIC6} }}
filter tagged {{
  if net ~ [ 203.0.113.0/27, 203.0.113.32/27 ] then bgp_community.add((65000, 1));
  if net = 203.0.113.32/27 then bgp_large_community.add((65000, 2, 3));
  if net = 203.0.113.64/27 then {{ bgp_path.prepend(65010); }}
  if net = 203.0.113.96/27 then {{ bgp_community.add((65535, 0)); }}
  accept;
}}
filter tagged6 {{
  if net ~ [ 2001:db8:0::/48, 2001:db8:1::/48 ] then bgp_community.add((65000, 1));
  if net = 2001:db8:1::/48 then bgp_large_community.add((65000, 2, 3));
  if net = 2001:db8:2::/48 then {{ bgp_path.prepend(65010); }}
  accept;
}}
"""
V4, V6 = make_session("v4", "10.9.0.2", filters=("f",)), make_session("v6", "fd09::2", filters=("f",))
SESSIONS = (
    replace(V4, families=(Family.IPV4,), local_address=ip_address("10.9.0.1"), import_policy="Filtered"),
    replace(V6, families=(Family.IPV6,), local_address=ip_address("fd09::1"), import_policy="Filtered"),
)


def spec(**lists: list[dict[str, Any]]) -> BGPFilterSpec:
    return decode("BGPFilter", {"metadata": {"name": "f"}, "spec": lists}).spec


def both(direction: str, rules: list[dict[str, Any]], **texts: tuple[str, str]) -> BGPFilterSpec:
    """The same rules in both families; a cidr that is a word stands for a pair."""

    def of(family: int) -> list[dict[str, Any]]:
        return [{**rule, "cidr": texts[rule["cidr"]][family]} if "cidr" in rule else rule for rule in rules]

    return spec(**{f"{direction}V4": of(0), f"{direction}V6": of(1)})


def filtered(state: SpeakerState, found: BGPFilterSpec) -> SpeakerState:
    return replace(state, filters={"f": found})


def neighbours() -> dict[str, str]:
    return {
        "v4": bird_neighbour("10.9.0.1", local="10.9.0.2", export="filter tagged"),
        "v6": bird_neighbour("fd09::1", local="fd09::2", export="filter tagged6"),
    }


def numbered(*numbers: int) -> set[Any]:
    found = [ip_network(f"203.0.113.{number * 32}/27") for number in numbers]
    return {*found, *(ip_network(f"2001:db8:{number}::/48") for number in numbers)}


async def test_import_filters_see_what_bird_sends(segment, speaker, path, tmp_path):  # noqa: F811
    """Communities of both kinds, AS paths and prefixes decide, in both families; a change resets nothing."""
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours(), static=STATIC, more=TAGGED)
    accept, reject = {"action": "Accept"}, {"action": "Reject"}
    state = desired(*SESSIONS)
    ranges = {"all": ("203.0.113.0/24", "2001:db8::/32"), "fifth": ("203.0.113.160/27", "2001:db8:5::/48")}

    def rules(*some: dict[str, Any]) -> SpeakerState:
        return filtered(state, both("import", list(some), **ranges))

    async with agent_at(path, rules({**accept, "communities": {"values": ["65000:1"]}})) as agent:
        await until(lambda: set(agent.routes) == numbered(0, 1), what="a community")
        changes = bird.settled("v4"), bird.settled("v6")
        for wanted, some in (
            ({1}, [{**accept, "communities": {"values": ["65000:2:3"]}}]),
            ({2}, [{**accept, "asPathPrefix": [AS_PEER, 65010]}]),
            ({2, 3, 4, 5}, [{**reject, "communities": {"values": ["65000:1"]}}, accept]),
            ({5}, [{**accept, "cidr": "fifth", "matchOperator": "Equal"}]),
            (set(), [{**accept, "cidr": "all", "matchOperator": "In", "prefixLength": {"max": 26}}, reject]),
            ({0, 1, 2, 3, 4, 5}, [{**accept, "cidr": "all", "matchOperator": "In"}]),
            (set(), []),
        ):
            agent.client.desire(rules(*some))
            families = numbered(*wanted)
            await until(lambda families=families: set(agent.routes) == families, what=f"{wanted}")
        agent.client.desire(replace(state, filters={}))
        await until(lambda: refused(agent.report)["v4"] == {"FilterMissing": 6}, what="a filter that does not exist")
        assert (bird.changes("v4"), bird.changes("v6")) == changes


def attributes(bird: Bird, prefix: str) -> dict[str, str]:
    """What BIRD has of a route; empty where it has none."""
    shown = bird.ask(f"show route for {prefix} all") if "/" not in prefix else bird.ask(f"show route {prefix} all")
    return {name: value.strip() for name, value in re.findall(r"BGP\.(\w+): ?(.*)", shown)}


def next_hop(bird: Bird, prefix: str) -> str:
    """The first next hop of a route, the global one of IPv6; empty where there is none."""
    return attributes(bird, prefix).get("next_hop", "").partition(" ")[0]


async def test_bird_hears_what_export_filters_make_of_our_blocks(segment, speaker, path, tmp_path):  # noqa: F811
    """Communities, prepending and MED arrive; what is rejected is withdrawn; what did not change is not sent again."""
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours(), more=TAGGED)
    blocks = ["10.64.0.0/26", "10.64.1.0/26", "fd64::/122", "fd64::40/122"]
    state = desired(*SESSIONS, announcements=blocks)
    first = {"action": "Accept", "cidr": "first", "matchOperator": "Equal"}
    operations = [
        {"addCommunity": {"value": "65000:7"}},
        {"addCommunity": {"value": "64512:1:2"}},
        {"prependASPath": {"prefix": [AS_OURS, AS_OURS]}},
        {"setMED": {"value": 77}},
    ]
    ranges = {"first": ("10.64.0.0/26", "fd64::/122"), "second": ("10.64.1.0/26", "fd64::40/122")}
    state = filtered(state, both("export", [{**first, "operations": operations}], **ranges))
    async with agent_at(path, state) as agent:
        for one, two in (blocks[:2], blocks[2:]):
            await until(lambda one=one, two=two: attributes(bird, one) and attributes(bird, two), what="both blocks")
            changed, plain = attributes(bird, one), attributes(bird, two)
            assert changed["community"] == "(65000,7)"
            assert changed["large_community"] == "(64512, 1, 2)"
            assert changed["as_path"] == f"{AS_OURS} {AS_OURS} {AS_OURS}"
            assert changed["med"] == "77"
            assert plain["as_path"] == str(AS_OURS)
            assert "community" not in plain
            assert "med" not in plain
        reject = {"action": "Reject", "cidr": "second", "matchOperator": "In"}
        changes = bird.settled("v4"), bird.settled("v6")
        agent.client.desire(filtered(state, both("export", [{**first, "operations": operations}, reject], **ranges)))
        for kept, gone in (blocks[:2], blocks[2:]):
            await until(lambda gone=gone: not attributes(bird, gone), what="a withdrawal")
            assert attributes(bird, kept)["med"] == "77"
        assert (bird.changes("v4"), bird.changes("v6")) == changes


async def test_learned_routes_are_told_on_and_withdrawn(segment, speaker, path, tmp_path):  # noqa: F811
    """What a node of ours tells us goes to the router, with the owner or ourselves as next hop, communities and all."""
    tagged = (
        "filter tagged { bgp_community.add((64512, 5)); bgp_large_community.add((64512, 5, 6));"
        " bgp_ext_community.add((rt, 64512, 9)); bgp_local_pref = 200; accept; }"
    )
    node = Bird(
        segment[2],
        tmp_path,
        router_id="10.9.0.3",
        neighbours={"n": bird_neighbour("10.9.0.1", local="10.9.0.3", local_as=AS_OURS, graceful=False, export="filter tagged")},
        static="route 10.64.3.0/26 blackhole; route 192.0.2.0/24 blackhole;",
        more=tagged,
    )  # fmt: skip
    router = Bird(
        segment[1], tmp_path, router_id="10.9.0.2", neighbours={"r": bird_neighbour("10.9.0.1", local="10.9.0.2")}
    )
    block, outside = "10.64.3.0/26", "192.0.2.0/24"
    mesh = make_session("n", "10.9.0.3", remote_as=AS_OURS, import_policy="All", local_address=ip_address("10.9.0.1"))
    tor = make_session("r", "10.9.0.2", local_address=ip_address("10.9.0.1"), advertise="Cluster")
    state = desired(mesh, tor, pools=(ip_network("10.64.0.0/16"),), announcements=["10.64.0.0/26"])
    state = replace(
        state,
        blocks={ip_network(block): "inner", ip_network("10.64.0.0/26"): state.settings.node},
        nodes={"inner": NodeOrigin((ip_address("10.9.0.3"),), AS_OURS)},
    )

    def told(**changes: Any) -> SpeakerState:
        return replace(state, sessions=state.sessions | {"r": replace(tor, **changes)})

    async with agent_at(path, state) as agent:
        await until(lambda: attributes(router, block), what="the other node's block")
        found = attributes(router, block)
        assert found["as_path"] == str(AS_OURS)
        assert found["next_hop"].split()[0] == "10.9.0.1"
        assert found["community"] == "(64512,5)"
        assert found["large_community"] == "(64512, 5, 6)"
        assert found["ext_community"] == "(rt, 64512, 9)"
        assert attributes(router, outside) == {}
        changes = router.settled("r")
        agent.client.desire(told(shared_subnet=ip_network("10.9.0.0/24")))
        await until(lambda: next_hop(router, block) == "10.9.0.3", what="the third party")
        agent.client.desire(told(shared_subnet=ip_network("10.9.0.0/24"), next_hop="Self"))
        await until(lambda: next_hop(router, block) == "10.9.0.1", what="ourselves")
        remote = spec(
            exportV4=[{"action": "Accept", "source": "RemotePeers", "cidr": outside, "matchOperator": "Equal"}]
        )
        agent.client.desire(replace(told(filters=("f",)), filters={"f": remote}))
        await until(lambda: attributes(router, outside), what="what a rule about remote peers accepts")
        agent.client.desire(told(advertise="Own"))
        await until(lambda: not attributes(router, block), what="a withdrawal")
        agent.client.desire(told(advertise="Cluster"))
        await until(lambda: attributes(router, block), what="the block again")
        await until(lambda: attributes(node, "10.64.0.0/26").get("local_pref") == "100", what="our own block within")
        node.process.kill()
        await until(lambda: not attributes(router, block), what="the withdrawal of what is lost")
        assert attributes(router, "10.64.0.0/26")
        assert router.changes("r") == changes
