"""What the prober and the route watch count, on losses that the test makes itself."""

from towpath.lab import facts
from towpath.lab.events import RouteEvents
from towpath.lab.probe import Flow, Probe, unreached
from towpath.lab.process import wait_for
from towpath.lab.topology import Lab

PACKETS = 4_000
DROP = """table inet drops {
  counter seen { }
  chain f {
    type filter hook forward priority 0
    ip daddr 10.244.2.0/24 counter name seen drop
  }
}
"""


def test_nothing_is_lost_on_a_network_that_is_left_alone(lab: Lab) -> None:
    """The prober itself loses nothing: all packets on 40 paths arrive."""
    facts.wait_reachable(lab)
    with Probe(lab.network, facts.flows(lab), directory=lab.root, least=PACKETS) as probe:
        pass
    assert probe.result.lost == 0, probe.result
    assert probe.result.sent >= PACKETS
    assert len(probe.result.flows) == 40


def test_what_a_filter_drops_is_counted_to_the_packet(lab: Lab) -> None:
    """Losses are those of the filter's own counter, on the paths that it cuts and on no other."""
    cut = [flow for flow in facts.flows(lab) if flow.source == "node1-p1" and flow.target == "node2-p1"]
    other = [flow for flow in facts.flows(lab) if flow.source == "node2-p1" and flow.target == "node1-p1"]
    with Probe(lab.network, [*cut, *other], directory=lab.root) as probe:
        lab.host("node1").run("nft", "-f", "-", stdin=DROP)
        wait_for(lambda: _dropped(lab) >= 50, deadline=10, what="50 packets were dropped")
        lab.host("node1").run("nft", "flush", "chain", "inet", "drops", "f")
        dropped = _dropped(lab)
        lab.host("node1").run("nft", "delete", "table", "inet", "drops")
    by_flow = {counted.flow: counted for counted in probe.result.flows}
    lost = {flow.address: by_flow[flow].lost for flow in cut}
    assert sum(by_flow[flow].lost for flow in other) == 0
    assert sum(lost.values()) == dropped
    gaps = [by_flow[flow].longest_gap for flow in cut if by_flow[flow].lost]
    assert len(gaps) == 1
    assert gaps[0] > 0.08
    assert [counted.first_lost != () for counted in by_flow.values()].count(True) == 1


def _dropped(lab: Lab) -> int:
    """The filter's own count, which stays when its rule has gone."""
    listing = lab.host("node1").run("nft", "list", "counter", "inet", "drops", "seen")
    return int(listing.partition("packets ")[2].split()[0])


def test_a_packet_without_a_route_is_lost_and_the_prober_goes_on(lab: Lab) -> None:
    """What the kernel refuses to send counts as sent and lost."""
    flow = Flow("client", "node1-p1", "198.18.0.1")
    lab.host("client").ip("route", "add", "unreachable", "198.18.0.0/15")
    assert unreached(lab.network, [flow], wait=0.05) == (flow,)
    lab.host("client").ip("route", "del", "unreachable", "198.18.0.0/15")


def test_every_route_event_is_seen_from_the_first_on(lab: Lab) -> None:
    """Adding and deleting a route are two events, whoever does it; address families alike."""
    with RouteEvents(lab.host("node1")) as watch, RouteEvents(lab.host("node2")) as other:
        for prefix in ("198.18.5.0/24", "2001:db8:5::/64"):
            lab.host("node1").ip("route", "add", "blackhole", prefix, "proto", "99")
            lab.host("node1").ip("route", "del", "blackhole", prefix, "proto", "99")
        seen = [(event.deed, event.prefix, event.protocol) for event in watch.read()]
        assert seen == [
            (deed, prefix, 99) for prefix in ("198.18.5.0/24", "2001:db8:5::/64") for deed in ("added", "deleted")
        ]
        assert other.read() == ()
