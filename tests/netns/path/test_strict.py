"""Nodes whose kernels take packets only from where they would send the answer (rp_filter 1), as many distributions have it."""

from collections.abc import Iterator

import pytest

from tests.names import own
from tests.netns.path.changes import busy
from tests.netns.path.cluster import cluster, router_drops_pods, wait_large
from tests.netns.path.test_vxlan import DEVICES, LARGEST, standing, switch
from towpath.lab import facts
from towpath.lab.netns import Host
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape
from towpath.lab.topology import Lab

STRICT = {f"net__ipv4__conf__{name}__rp_filter": 1 for name in ("all", "default", "eth0", "mgmt0")}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nodes 1 and 2 in one subnet, node 3 in another; no tunnel yet."""
    with cluster(Shape(nodes=3, rack_b=1, pool={"vxlanMode": "Never"}), prefix=own("tpst")) as made:
        for node in made.nodes:
            made.host(node).sysctl(**STRICT)
        yield made


def filters(host: Host) -> dict[str, str]:
    """What a node's interfaces say, but for those of pods and ``lo``."""
    listed = host.run("sysctl", "--all", "--pattern", "^net.ipv4.conf.*[.]rp_filter").splitlines()
    found = dict(line.removeprefix("net.ipv4.conf.").split(".rp_filter = ") for line in listed)
    return {name: value for name, value in found.items() if name != "lo" and not name.startswith("veth")}


def test_a_change_of_mode_loses_nothing(lab: Lab) -> None:
    """While nodes do not all do the same yet packets come both ways; connections that are open go on all the while.

    The pods have the addresses that would be the nodes' own in the tunnel.
    """
    assert {str(pod.address(family)) for pod in lab.pods.values() for family in lab.families} == {
        str(block.network_address) for block in facts.blocks(lab)
    }
    with busy(lab) as unharmed:
        for mode in ("CrossSubnet", "Always", "CrossSubnet", "Never", "Always", "Never"):
            unharmed(f"to {mode}", lambda mode=mode: switch(lab, mode))  # type: ignore[misc]  # bound now
            if mode == "Always":
                with router_drops_pods(lab):
                    wait_large(lab, size=LARGEST)


def test_only_where_it_is_needed(lab: Lab) -> None:
    """The tunnels, and the interface below as long as there are any: it is put right when somebody sets it back, and is as it was afterwards."""
    plain = {"all": "1", "default": "1", "eth0": "1", "mgmt0": "1"}
    host = lab.host("node1")
    switch(lab, "Always")
    tunnels = dict.fromkeys(DEVICES.values(), "2")
    loose = {**plain, "eth0": "2", **tunnels}
    wait_for(lambda: filters(host) == loose, deadline=5, what="that and no more")
    for name in ("eth0", *tunnels):
        host.sysctl(**{f"net__ipv4__conf__{name}__rp_filter": 1})
        wait_for(lambda: filters(host) == loose, deadline=5, what=f"{name} again")
    lab.kill("node1/agent")
    lab.start("node1/agent")
    wait_for(lambda: filters(host) == loose, deadline=20, what="as before")
    switch(lab, "Never")
    wait_for(lambda: standing(host) == {}, deadline=40, what="no tunnel is left")
    wait_for(lambda: filters(host) == plain, deadline=5, what="as it was")
