"""FRR, GoBGP and OpenBGPD in namespaces, each with BIRD as its neighbour: started, asked, killed, started again, gone."""

import shutil
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.names import own
from towpath.lab.netns import Host, Network
from towpath.lab.process import run, wait_for
from towpath.lab.routers.bird import BirdRouter
from towpath.lab.routers.frr import Frr
from towpath.lab.routers.gobgp import Gobgp
from towpath.lab.routers.openbgpd import Openbgpd
from towpath.lab.routers.router import HeldPath, Router
from towpath.lab.shape import ROOT

TOLD = ip_network("203.0.113.0/26")
BIRD = """
log "{log}" all;
router id 10.9.0.3;
protocol device {{ }}
protocol static s4 {{ ipv4; route 203.0.113.0/26 blackhole; }}
filter told {{
  bgp_community.add((65003, 1)); bgp_large_community.add((65003, 1, 2)); bgp_med = 50; bgp_path.prepend(65003); accept;
}}
protocol bgp p {{
  local 10.9.0.3 as 65003; neighbor 10.9.0.2 as 65000; graceful restart on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import all; export filter told; }};
}}
"""
FRR = """
router bgp 65000
 bgp router-id 10.9.0.2
 no bgp ebgp-requires-policy
 neighbor 10.9.0.3 remote-as 65003
 neighbor 10.9.0.3 timers connect 1
"""
GOBGP = """
[global.config]
as = 65000
router-id = "10.9.0.2"
[[neighbors]]
[neighbors.config]
neighbor-address = "10.9.0.3"
peer-as = 65003
[neighbors.timers.config]
connect-retry = 1
"""
OPENBGPD = """
AS 65000
router-id 10.9.0.2
fib-update no
socket "{control}"
neighbor 10.9.0.3 {{
 remote-as 65003
}}
allow from any
allow to any
"""
MAKES: dict[type[Router], str] = {Frr: FRR, Gobgp: GOBGP, Openbgpd: OPENBGPD}
ELSEWHERE = (Path("/run/openbgpd"), Path("/run/frr"), Path("/var/run/frr"), Path("/var/tmp/frr"))


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """A router and BIRD, .2 and .3, joined by a cable."""
    prefix = own("tplr")
    shutil.rmtree(ROOT / prefix, ignore_errors=True)
    with Network(prefix) as network:
        tor, other = network.host("tor"), network.host("other")
        network.link(tor, "eth0", other, "eth0")
        tor.address("10.9.0.2/24", dev="eth0")
        other.address("10.9.0.3/24", dev="eth0")
        bird = BirdRouter(other, directory=ROOT / prefix / "other")
        bird.start(BIRD.format(log=bird.directory / "bird.log"))
        yield tor, other
        bird.remove()
    shutil.rmtree(ROOT / prefix, ignore_errors=True)


def elsewhere(pids: set[int]) -> list[Path]:
    """Files outside a router's folder that are named after one of its programs; other runs may have theirs there."""
    found = [path for folder in ELSEWHERE if folder.exists() for path in folder.rglob("*")]
    return [path for path in found if any(str(pid) in path.name.split(".") for pid in pids)]


@pytest.mark.parametrize("make", MAKES)
def test_a_router_of_each_make(hosts: tuple[Host, Host], make: type[Router]) -> None:
    """It comes up with what its neighbour told it, and comes back after a kill; no process and no file is left."""
    tor, _ = hosts
    pids: set[int] = set()
    router = make(tor, directory=ROOT / tor.network.prefix / "tor")
    try:
        router.start(MAKES[make].format(control=router.directory / "bgpd.sock"))
        router.wait_established("10.9.0.3")
        path = router.wait_path(TOLD)
        assert (path.next_hop, path.as_path, path.med) == (ip_address("10.9.0.3"), (65003, 65003), 50)
        assert path.communities == {"65003:1", "65003:1:2"}
        pids |= {program.pid for program in router.programs}
        router.kill()
        assert not router.answers()
        router.restart()
        router.wait_established("10.9.0.3")
        pids |= {program.pid for program in router.programs}
        again = router.wait_path(TOLD)
        assert isinstance(again, HeldPath)
        assert again.as_path == path.as_path
    finally:
        router.remove()
    wait_for(lambda: not run("ip", "netns", "pids", tor.netns).split(), deadline=10, what="no process is left")
    assert elsewhere(pids) == []
    assert not router.directory.exists()
