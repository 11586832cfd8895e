"""IPv4 over a session between global IPv6 addresses, with IPv6 next hops (RFC 8950): BIRD on the other side, both ways."""

from ipaddress import ip_address, ip_network

from tests.netns.engine.rig import AS_OURS, AS_PEER, Bird, make_session
from tests.netns.engine.test_policy import attributes
from tests.netns.engine.test_speaker import agent_at, desired, path, speaker  # noqa: F401  # two are fixtures
from tests.patience import eventually as until

FOUR, SIX, BLOCKS = "203.0.113.0/26", "2001:db8::/48", ("10.64.0.0/26", "fd64::/122")
OURS, ROUTER = "fd09::1", ip_address("fd09::2")


async def test_ipv4_with_ipv6_next_hops(segment, speaker, path, tmp_path):  # noqa: F811
    """One next hop for both families; a withdrawn block goes, and with it nothing else; so does a withdrawn route."""
    neighbour = (
        f"local {ROUTER} as {AS_PEER}; neighbor {OURS} as {AS_OURS}; connect retry time 1; connect delay time 1; "
        "ipv4 { extended next hop on; import all; export all; }; ipv6 { import all; export all; };"
    )
    more = f"protocol static s6 {{ ipv6; route {SIX} blackhole; }}"
    static = f"route {FOUR} blackhole;"
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours={"p": neighbour}, static=static, more=more)
    session = make_session("tor", str(ROUTER), local_address=ip_address(OURS))
    async with agent_at(path, desired(session, announcements=BLOCKS)) as agent:
        expected = {ip_network(FOUR): (ROUTER,), ip_network(SIX): (ROUTER,)}
        await until(lambda: agent.routes == expected, what="routes of both families")
        await until(lambda: all(attributes(bird, block) for block in BLOCKS), what="our blocks of both families")
        assert {attributes(bird, block)["next_hop"].split()[0] for block in BLOCKS} == {OURS}
        agent.client.desire(desired(session, announcements=BLOCKS[1:]))
        await until(lambda: not attributes(bird, BLOCKS[0]), what="the IPv4 block goes")
        assert attributes(bird, BLOCKS[1])
        bird.ask("disable s4")
        await until(lambda: set(agent.routes) == {ip_network(SIX)}, what="the IPv4 route goes")
