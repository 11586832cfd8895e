"""``towpath cleanup``, way by way: a node is as it was before towpath came, also after it was killed at any moment.

One node goes through all of it, one way after the other, and is compared with how it was at the very first.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import effort
from tests.names import in_memory, own
from tests.netns.agent import underlay
from tests.netns.agent.leaving import BESIDE, FAR, OTHER, ROUNDS, TUNNELS, Cleaned, Way, beside, translates
from tests.netns.agent.node import BLOCKS, LEARNED, made, ours
from towpath.ipam.cni import NETWORK
from towpath.lab.netns import Network
from towpath.lab.process import wait_for
from towpath.lab.shape import NO_MESH
from towpath.routes import firewall, portmap

SMALL = ("10.244.1.0/29", "fd00:244::80/125")
"""Blocks of the node with few addresses."""
LONGEST = 2.0
DIRECT = dict.fromkeys(OTHER, "eth0")
TUNNELLED = dict(zip(OTHER, TUNNELS, strict=True))


MANY = "".join(f"route 198.18.{number // 256}.{number % 256}/32 blackhole; " for number in range(1100))
"""So many that they share an object of their next hop."""
NETWORKS = (
    *beside("edge", "10.9.0.0/24", "10.9.0.64/28", type="macvlan", mode="private", master=BESIDE[0]),
    *beside("alone", "10.8.0.0/24", "10.8.0.0/28", type="macvlan", mode="passthru", master=BESIDE[1]),
)
MEETING = {"localWorkloadPeeringIPV4": "169.254.0.179", "localWorkloadPeeringIPV6": "fd12::179"}
"""Where pods that are routers meet the node."""


def on_bridge(one: Cleaned) -> bool:
    return one.plugin().get("type") == "bridge" and "10.244.1.1/29" in one.node.ip("addr")


def met(one: Cleaned) -> bool:
    """The node takes what pods send to where they meet it."""
    found = "".join(one.node.ip(family, "route", "show", "table", "local", "proto", "179") for family in ("-4", "-6"))
    return all(address in found for address in MEETING.values())


WAYS = {
    "direct": Way(stands=lambda one: ours(one.node) >= {*BLOCKS, *LEARNED} and "proto 179" in one.node.ip("nexthop")),
    "host-gw": Way(
        stands=lambda one: one.routed(DIRECT),
        configuration=NO_MESH,
    ),
    "vxlan": Way(stands=lambda one: one.routed(TUNNELLED), pools={"vxlanMode": "Always"}),
    "vxlan by multicast": Way(
        stands=lambda one: one.routed(dict.fromkeys(OTHER, TUNNELS[0])),
        pools={"vxlanMode": "Always", "vxlan": {"discovery": "Multicast", "group": "239.1.1.1"}},
    ),
    "between subnets": Way(
        stands=lambda one: one.routed({**DIRECT, **dict(zip(FAR, TUNNELS, strict=True))}),
        pools={"vxlanMode": "CrossSubnet"},
        far=FAR,
    ),
    "bridge": Way(stands=on_bridge, pools={"attachment": {"type": "bridge"}}, blocks=SMALL),
    "macvlan": Way(
        stands=lambda one: one.plugin().get("type") == "macvlan" and underlay.SHIM in one.node.ip("link"),
        instead=tuple(underlay.objects(type="macvlan", mode="bridge", master="eth0")),
    ),
    "natOutgoing": Way(stands=translates, pools={"natOutgoing": True}),
    "networks beside": Way(stands=lambda one: True, more=NETWORKS, networks=("towpath-edge", "towpath-alone")),
    "all at once": Way(
        stands=lambda one: one.routed(TUNNELLED) and on_bridge(one) and translates(one) and met(one),
        pools={"vxlanMode": "Always", "attachment": {"type": "bridge"}, "natOutgoing": True},
        configuration=MEETING,
        blocks=SMALL,
        more=(*NETWORKS, made("BGPPeer", "routers", localWorkloadSelector="all()", asNumber=65401)),
        networks=("towpath-edge", "towpath-alone"),
    ),
}


@pytest.fixture(scope="module")
def node() -> Iterator[Cleaned]:
    """The node, before towpath came."""
    prefix = own("tpacl")
    with in_memory(prefix) as root, Network(prefix) as network:
        yield Cleaned(network, root, longest=LONGEST, more=MANY)


@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was(node: Cleaned, name: str) -> None:
    """Links, addresses, rules, routes, neighbours, packet filters, sysctls and files, what CNI plugins made included."""
    node.comes_and_goes(WAYS[name])


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("name", WAYS)
def test_a_node_is_as_it_was_after_a_kill(node: Cleaned, name: str, number: int) -> None:
    """``kill -9`` at a random moment, of some after the node was told to do something else: cleanup needs no goodbye."""
    node.is_killed(name, WAYS, number=number)


def refused(one: Cleaned, *within: str) -> str:
    """What cleanup says that cannot do all of its work; ``within``: what it is run by."""
    command = [sys.executable, "-m", one.program, "cleanup", *one.settings()]
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{one.node.netns}", *within, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def test_not_while_agent_or_speaker_run(node: Cleaned) -> None:
    """Each is told of, and nothing is taken away: a speaker alone keeps what peers were told."""
    way = WAYS["direct"]
    node.begin(way)
    node.stands(way)
    assert f"another agent runs with {node.run_dir}" in refused(node)
    node.agent.kill()
    assert f"a speaker runs at {node.run_dir}/speaker.sock" in refused(node)
    assert way.stands(node)
    assert node.plugin()
    node.clean_up()
    node.is_as_before()


def test_an_interface_that_somebody_renamed_has_its_settings_back(node: Cleaned) -> None:
    """Another that has its name by now keeps its own."""

    def accepts(name: str) -> str:
        return node.node.run("sysctl", "-n", f"net.ipv6.conf.{name}.accept_ra").strip()

    node.node.ip("link", "add", "lan", "type", "bridge")
    try:
        node.begin(WAYS["direct"])
        wait_for(lambda: accepts("lan") == "2", deadline=30, what="the node forwards")
        node.are_killed()
        node.node.ip("link", "set", "lan", "name", "uplink")
        node.node.ip("link", "add", "lan", "type", "bridge")
        node.node.sysctl(net__ipv6__conf__lan__accept_ra=0)
        node.clean_up()
        assert (accepts("uplink"), accepts("lan")) == ("1", "0")
    finally:
        for name in ("lan", "uplink"):
            node.node.run("ip", "link", "del", name, check=False)
    node.is_as_before()


def test_what_lasts_over_a_boot_goes(node: Cleaned, tmp_path: Path) -> None:
    """Killed with its machine, which comes back without the kernel's part and the run dir: links that lead nowhere, plugins, state."""
    way = WAYS["networks beside"]
    node.is_killed_at_work(way)
    lasting = [node.cni, node.networks, node.options["--cni-bin-dir"], node.root / "state"]
    for place in lasting:
        shutil.copytree(place, tmp_path / place.name, symlinks=True)
    node.clean_up()
    for place in lasting:
        shutil.copytree(tmp_path / place.name, place, symlinks=True, dirs_exist_ok=True)
    assert not node.plugin()
    assert len(list(node.networks.iterdir())) == 2
    node.clean_up()
    node.is_as_before()


def test_files_that_were_half_written_go(node: Cleaned) -> None:
    """Each that a kill keeps from taking its name, also of a network of which a boot has taken all but that; and what was given out of one that no pool names."""
    way = WAYS["networks beside"]
    node.is_killed_at_work(way)
    for link in (*node.cni.iterdir(), *node.networks.iterdir(), node.networks / "towpath-gone.conflist"):
        link.with_name(f".{link.name}.new").symlink_to(node.run_dir / "cni-conf" / link.name)
    given = node.run_dir / "cni" / "towpath-gone" / "10.9.0.70"
    given.parent.mkdir(parents=True)
    given.write_text("a-container\nnet1")
    state, plugins = node.root / "state", node.options["--cni-bin-dir"]
    for path in (state / "snapshot", state / "cni-plugins", plugins / "ptp", node.run_dir / "sysctls"):
        path.with_name(f".{path.name}.new").write_text("{")
    node.clean_up()
    node.is_as_before()
    assert not state.exists()


@pytest.mark.parametrize("name", ["direct", "bridge", "macvlan"] if effort.SOAK else ["bridge"])
def test_ports_go_with_pods_that_went_without_a_word(node: Cleaned, name: str) -> None:
    """Their namespaces are gone, and no plugin was told; those of a pod that is there stay, which an installation after it knows again."""
    with node.node.entered():
        before = firewall.chains()
    node.begin(WAYS[name])
    node.stands(WAYS[name])
    gone, _ = node.pod(8081)
    stays, pod = node.pod(8080)
    node.node.network.remove_host(gone.name)
    node.are_killed()
    node.clean_up()
    for program in ("iptables-save", "ip6tables-save"):
        ruled = node.node.run(program, "-t", "nat")
        assert ("--dports 8080 " in ruled, "8081" in ruled) == (True, False), ruled
    node.node.network.remove_host(stays.name)
    with node.node.entered():
        assert asyncio.run(portmap.remove(before, network=NETWORK, gone=[pod.container])) == ()
    node.is_as_before()


def test_what_is_refused_keeps_nothing_else(node: Cleaned) -> None:
    """Without nft its table stays and is told of, all else goes; the next cleanup takes the rest, and then nft is not missed."""
    way = WAYS["all at once"]
    node.is_killed_at_work(way)
    without = ("env", f"PATH={node.root / 'nowhere'}")
    assert "left on this node: the nftables table ([Errno 65] the program nft is not installed)" in refused(
        node, *without
    )
    now = node.seen()
    assert [what for what, was in node.before.items() if now[what] != was] == ["packet filters", "run"]
    node.clean_up()
    node.is_as_before()
    node.node.run(*without, sys.executable, "-m", node.program, "cleanup", *node.settings())
    node.is_as_before()
