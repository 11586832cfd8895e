"""``towpath topology``: what is in the picture, as text and as SVG."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.tree import ROOT
from towpath.controller.cli import main
from towpath.controller.pictures import PATHS
from towpath.controller.plan.document import planned
from towpath.controller.plan.inputs import Inputs, gathered
from towpath.controller.plan.topology.build import topology
from towpath.controller.plan.topology.graph import Sessions, Topology
from towpath.controller.plan.topology.svg import svg
from towpath.controller.plan.topology.text import lines
from towpath.controller.plan.topology.words import health, sessions_text
from towpath.controller.settings import SECRET_NAMESPACE
from towpath.lab.api import custom

HERE = Path(__file__).parent
RACKS = HERE / "racks.yaml"
TEXT = Path(__file__).parents[2] / "golden" / "topology" / "racks.txt"
PICTURE = Path(__file__).parents[3] / "docs" / "pictures" / "racks.svg"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(("style", "file"), [("text", TEXT), ("svg", PICTURE)])
def test_the_picture_of_two_racks_is_what_it_was(style: str, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The golden files; the SVG is the one that the documentation shows."""
    assert main(["topology", "-f", str(RACKS), "-o", style]) == 0
    assert capsys.readouterr().out == file.read_text()


COMMAND = re.compile(r"^    towpath (topology [^\n]*)\n\n```\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def test_what_the_page_of_paths_says_is_what_its_commands_print(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command, typed as it stands there, gives the text below it."""
    monkeypatch.chdir(ROOT)
    told = COMMAND.findall((ROOT / "docs" / "paths.md").read_text())
    assert len(told) == len(PATHS)
    for command, text in told:
        assert main(command.split()) == 0
        said = capsys.readouterr()
        assert (said.out, said.err) == (f"{text}\n", "")


def test_a_pool_says_how_its_pods_are_reached_and_attached() -> None:
    """What is not the default, in a few words."""
    objects = [
        custom("BGPConfiguration", "default", {"clusterRoutes": "Kubernetes"}),
        custom("IPPool", "a", {"cidr": "10.1.0.0/24"}),
        custom("IPPool", "b", {"cidr": "10.2.0.0/24", "vxlanMode": "Always", "attachment": {"type": "bridge"}}),
        custom(
            "IPPool", "c", {"cidr": "10.3.0.0/24", "attachment": {"type": "ipvlan", "mode": "l3s", "master": "eth1"}}
        ),
        custom(
            "IPPool",
            "d",
            {
                "cidr": "10.4.0.0/24",
                "attachment": {"type": "macvlan", "mode": "private", "master": "eth2", "primary": False},
            },
        ),
    ]
    made = topology(gathered(objects, secret_namespace=SECRET_NAMESPACE))
    assert {one.name: one.how for one in made.pools} == {
        "a": ("routes from the objects",),
        "b": ("VXLAN Always", "pods on a bridge"),
        "c": ("ipvlan l3s on eth1", "routes from the objects"),
        "d": ("macvlan private on eth2", "beside pods' own network"),
    }


def test_objects_that_do_not_count_are_named_and_the_rest_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """As with ``plan``: exit code 3, and the words on standard error."""
    assert main(["topology", "-f", str(HERE / "sample.yaml")]) == 3
    said = capsys.readouterr()
    assert "rejected: BGPPeer/wrong spec.asNumber: " in said.err
    assert "never-printed" not in said.out + said.err
    assert {"routers", "pools"} <= set(said.out.splitlines())


def test_a_pool_alone_is_a_picture_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without nodes; a name that no API server would take is written so that SVG can be read."""
    file = tmp_path / "pool.yaml"
    file.write_text(yaml.safe_dump(custom("IPPool", "a<b&c", {"cidr": "10.0.0.0/24"})))
    expected = "a<b&c  10.0.0.0/24  0 of 4 blocks of /26"
    assert main(["topology", "-f", str(file)]) == 0
    assert expected in capsys.readouterr().out
    assert main(["topology", "-f", str(file), "-o", "svg"]) == 0
    drawn = ET.fromstring(capsys.readouterr().out)
    assert [(one.text, float(one.attrib["y"]) > 0) for one in drawn.iter(f"{SVG}text")] == [(expected, True)]


def _cluster(nodes: list[tuple[int, int, bool]], *, mesh: bool, routers: int, status: int) -> Inputs:
    """Nodes by AS, subnet and being a reflector; routers that all peer with; the first ``status`` nodes have reported."""
    objects = [custom("BGPConfiguration", "default", {"nodeToNodeMeshEnabled": mesh})]
    objects += [
        custom("BGPPeer", f"r{one}", {"peerIP": f"192.0.2.{one + 1}", "asNumber": 65001}) for one in range(routers)
    ]
    for place, (as_number, subnet, reflector) in enumerate(nodes):
        bgp: dict[str, object] = {"asNumber": 64600 + as_number, "ipv4Address": f"10.0.{subnet}.{place + 1}/24"}
        if reflector:
            bgp["routeReflectorClusterID"] = "192.0.2.1"
        objects.append(custom("RoutingNode", f"n{place}", {"bgp": bgp}))
    inputs = gathered(objects, secret_namespace=SECRET_NAMESPACE)
    reports = []
    for place in range(min(status, len(nodes))):
        sessions = [
            {"name": one.name, "peer": str(one.peer_address), "remoteAS": one.remote_as, "state": "Established"}
            for one in planned(inputs, f"n{place}").state.sessions.values()
        ]
        reports.append({**custom("NodeStatus", f"n{place}", {}), "status": {"sessions": sessions}})
    return gathered([*objects, *reports], secret_namespace=SECRET_NAMESPACE)


CLUSTERS = st.builds(
    _cluster,
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.booleans()), max_size=9),
    mesh=st.booleans(),
    routers=st.integers(0, 2),
    status=st.integers(0, 9),
)


@given(CLUSTERS)
def test_every_node_is_in_one_group_and_every_session_counts_once(inputs: Inputs) -> None:
    """Whatever the groups: their lines have as many sessions in all as the nodes' plans have, each seen from both its nodes."""
    made = topology(inputs)
    names = [node.name for group in made.groups for node in group.nodes]
    assert sorted(names) == sorted(inputs.cluster.routing_nodes)
    plans = {name: planned(inputs, name).state.sessions.values() for name in names}
    outside = [one for some in plans.values() for one in some if one.peer_node is None]
    pairs = {frozenset((name, one.peer_node)) for name, some in plans.items() for one in some if one.peer_node}
    assert sum(one.count for one in made.to_routers.values()) == len(outside)
    assert sum(one.count for one in made.between.values()) == len(pairs)
    for one in (*made.to_routers.values(), *made.between.values()):
        assert 0 < one.pairs <= one.possible
        assert one.up is None or 0 <= one.up <= one.count


@given(CLUSTERS)
def test_the_whole_picture_can_be_read(inputs: Inputs) -> None:
    """Every node and router stands in both; nothing lies outside the frame, no two boxes of a kind lie on one another."""
    made = topology(inputs)
    text = "\n".join(lines(made))
    drawn = ET.fromstring(svg(made))
    words = {one.text for one in drawn.iter(f"{SVG}text")}
    for group in made.groups:
        for node in group.nodes:
            assert f"  {node.name}  " in text
            assert node.name in words
    for router in made.routers:
        assert router.addresses[0] in text
        assert ", ".join(router.addresses) in words
    width, height = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for kind in ("router", "node", "group", "reflectors"):
        boxes = list(_boxes(drawn, kind))
        for place, (left, top, right, bottom) in enumerate(boxes):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            for other in boxes[:place]:
                assert left >= other[2] or other[0] >= right or top >= other[3] or other[1] >= bottom


def _boxes(drawn: ET.Element, kind: str) -> Iterator[tuple[float, float, float, float]]:
    for one in drawn.iter(f"{SVG}rect"):
        if one.get("class") == kind:
            x, y, width, height = (float(one.attrib[name]) for name in ("x", "y", "width", "height"))
            yield x, y, x + width, y + height


def test_many_nodes_make_no_large_picture() -> None:
    """Sixty nodes are one group, of which some are shown and the others counted."""
    made = topology(_cluster([(0, 0, False)] * 60, mesh=True, routers=1, status=0))
    assert len(made.groups) == 1
    assert made.between[0, 0] == Sessions(count=1770, pairs=1770, possible=1770, external=False, withheld=0, up=None)
    drawn = svg(made)
    assert "and 49 more nodes" in drawn
    assert len(drawn) < 20_000


@pytest.mark.parametrize(
    ("sessions", "expected", "text"),
    [
        (Sessions(2, 2, 2, external=True, withheld=0, up=None), "planned", "eBGP 2 planned"),
        (Sessions(2, 2, 2, external=True, withheld=0, up=2), "up", "eBGP 2 of 2 up"),
        (Sessions(4, 2, 3, external=False, withheld=1, up=2), "partly", "iBGP 2 of 3 up, 2 of 3 pairs, 1 withheld"),
        (Sessions(2, 2, 2, external=False, withheld=0, up=0), "down", "iBGP 0 of 2 up"),
        (Sessions(1, 1, 2, external=True, withheld=1, up=0), "withheld", "eBGP 0 of 0 up, 1 of 2 pairs, 1 withheld"),
    ],
)
def test_sessions_are_said_in_a_few_words(sessions: Sessions, expected: str, text: str) -> None:
    """How they are as a colour, and as words."""
    assert (health(sessions), sessions_text(sessions)) == (expected, text)


def test_tunnels_lead_from_subnet_to_subnet() -> None:
    """With CrossSubnet between groups and not within them; with Always within them too."""

    def tunnels(mode: str) -> dict:
        blocks = [
            custom(
                "IPAMBlock", f"10-244-{place}-0-24", {"cidr": f"10.244.{place}.0/24", "node": f"n{place}", "pool": "p"}
            )
            for place in range(4)
        ]
        nodes = [
            custom("RoutingNode", f"n{place}", {"bgp": {"ipv4Address": f"10.0.{place // 2}.{place + 1}/24"}})
            for place in range(4)
        ]
        pool = custom("IPPool", "p", {"cidr": "10.244.0.0/16", "blockSize": 24, "vxlanMode": mode})
        return dict(topology(gathered([pool, *nodes, *blocks], secret_namespace=SECRET_NAMESPACE)).tunnels)

    device = ("tp-vx4-4096",)
    assert tunnels("Never") == {}
    assert tunnels("CrossSubnet") == {(0, 1): device}
    assert tunnels("Always") == {(0, 0): device, (0, 1): device, (1, 1): device}


def test_two_addresses_of_one_router_are_one_router() -> None:
    """An IPv4 and an IPv6 address of one AS with the same nodes; two of one family are two routers."""

    def routers(*addresses: str) -> Topology:
        objects = [
            custom("BGPPeer", f"p{place}", {"peerIP": one, "asNumber": 65001}) for place, one in enumerate(addresses)
        ]
        bgp = {"ipv4Address": "10.0.0.1/24", "ipv6Address": "2001:db8::1/64"}
        return topology(
            gathered([*objects, custom("RoutingNode", "n", {"bgp": bgp})], secret_namespace=SECRET_NAMESPACE)
        )

    assert [one.addresses for one in routers("2001:db8::ff", "10.0.0.254").routers] == [("10.0.0.254", "2001:db8::ff")]
    assert [len(one.addresses) for one in routers("10.0.0.253", "10.0.0.254").routers] == [1, 1]
    assert [len(one.addresses) for one in routers("10.0.0.253", "10.0.0.254", "2001:db8::ff").routers] == [1, 1, 1]


def test_a_node_that_has_not_reported_does_not_make_a_session_look_down() -> None:
    """The other side's word counts; without any word it is planned."""
    made = topology(_cluster([(0, 0, False)] * 2, mesh=True, routers=1, status=1))
    assert made.between[0, 0].up == 1
    assert made.to_routers[0, 0].up == 1
    nobody = topology(_cluster([(0, 0, False)] * 2, mesh=True, routers=1, status=0))
    assert nobody.between[0, 0].up is None
