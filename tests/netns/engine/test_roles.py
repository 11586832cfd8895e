"""Roles and the OTC attribute (RFC 9234) with BIRD on the other side: a node between a provider and a peer."""

from ipaddress import ip_address, ip_network

from msgspec.structs import replace

from tests.netns.engine.rig import AS_OURS, AS_PEER, Bird, bird_neighbour, make_session
from tests.netns.engine.test_policy import attributes, filtered, spec
from tests.netns.engine.test_speaker import agent_at, desired, path, speaker, state_of  # noqa: F401  # two are fixtures
from tests.patience import eventually as until
from towpath.model.speaker import Session, SpeakerState

AS_BESIDE = 65002
OWN, TRANSIT, BESIDE = "10.64.0.0/26", "203.0.113.0/26", "198.51.100.0/26"
EVERYTHING = spec(exportV4=[{"action": "Accept", "source": "RemotePeers"}, {"action": "Accept"}])


def asked(up: Session, beside: Session) -> SpeakerState:
    return filtered(desired(up, beside, announcements=[OWN]), EVERYTHING)


def external(name: str, peer: str, **changes: object) -> Session:
    own = {"local_address": ip_address("10.9.0.1"), "filters": ("f",), "advertise": "All"}
    return make_session(name, peer, **(own | changes))


UP = external("up", "10.9.0.2", role="Customer", strict_role=True)
SIDE = external("side", "10.9.0.3", remote_as=AS_BESIDE, role="Peer", strict_role=True)


async def test_a_node_between_a_provider_and_a_peer(segment, speaker, path, tmp_path):  # noqa: F811
    """Both say their roles and insist on ours. What each sends is used and told to nobody above or beside, whatever the
    filter says; our own goes to both, to the peer marked with our AS. Without roles it is told again."""
    _, tor, other = segment
    more = "local role {}; require roles on;"
    provider = bird_neighbour("10.9.0.1", local="10.9.0.2", more=more.format("provider"))
    peer = bird_neighbour("10.9.0.1", local="10.9.0.3", local_as=AS_BESIDE, more=more.format("peer"))
    above = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours={"p": provider}, static=f"route {TRANSIT} blackhole;")
    beside = Bird(other, tmp_path, router_id="10.9.0.3", neighbours={"p": peer}, static=f"route {BESIDE} blackhole;")
    learned = {ip_network(TRANSIT), ip_network(BESIDE)}
    async with agent_at(path, asked(UP, SIDE)) as agent:
        await until(lambda: set(agent.routes) == learned, what="both routers' routes")
        await until(lambda: attributes(beside, OWN) and attributes(above, OWN), what="our own at both")
        assert attributes(beside, OWN)["otc"] == str(AS_OURS)
        assert "otc" not in attributes(above, OWN)
        assert attributes(beside, TRANSIT) == {}
        assert attributes(above, BESIDE) == {}

        # a peer of no role is told what came from above, with the provider's mark: it may not go up from there
        beside.config.write_text(beside.config.read_text().replace(more.format("peer"), ""))
        beside.ask("configure")
        agent.client.desire(asked(UP, replace(SIDE, role=None, strict_role=False)))
        await until(lambda: attributes(beside, TRANSIT).get("otc") == str(AS_PEER), what="the mark of the provider")


async def test_roles_that_do_not_fit(segment, speaker, path, tmp_path):  # noqa: F811
    """A provider and somebody who says the same: NOTIFICATION 2/11, on both sides, and in words in the status."""
    provider = bird_neighbour("10.9.0.1", local="10.9.0.2", more="local role provider; require roles on;")
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours={"p": provider})
    async with agent_at(path, desired(replace(UP, role="Provider"))) as agent:
        await until(lambda: "ole mismatch" in bird.log, what="BIRD's word of it")
        await until(
            lambda: agent.report and agent.report.sessions and "ole mismatch" in agent.report.sessions[0].reason,
            what="our word of it",
        )
        agent.client.desire(desired(UP))
        await until(lambda: state_of(agent) == "Established", what="the right role")
        assert "2/11" not in agent.report.sessions[0].reason
