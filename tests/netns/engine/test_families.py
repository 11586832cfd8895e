"""Both families on one session, with BIRD on the other side: routes both ways, each with a next hop of its family."""

from ipaddress import ip_address, ip_network

import pytest

from tests.netns.engine.rig import Bird, bird_neighbour, make_session
from tests.netns.engine.test_policy import attributes
from tests.netns.engine.test_speaker import agent_at, desired, path, speaker  # noqa: F401  # two are fixtures
from tests.patience import eventually as until

FOUR, SIX = "203.0.113.0/26", "2001:db8::/48"
STATIC = f"route {FOUR} blackhole;"
STATIC6 = f"protocol static s6 {{ ipv6; route {SIX} blackhole; }}"


@pytest.mark.parametrize(
    ("here", "there", "beside"), [("10.9.0.1", "10.9.0.2", "fd09::1"), ("fd09::1", "fd09::2", "10.9.0.1")]
)
async def test_both_families_on_one_session(segment, speaker, path, tmp_path, here, there, beside):  # noqa: F811
    """Over IPv4 or over IPv6: the other family goes by the two ends' addresses of that family, and stays on its own."""
    neighbours = {"p": bird_neighbour(here, local=there)}
    bird = Bird(segment[1], tmp_path, router_id="10.9.0.2", neighbours=neighbours, static=STATIC, more=STATIC6)
    session = make_session("tor", there, local_address=ip_address(here), next_hop_beside=ip_address(beside))
    blocks = ["10.64.0.0/26", "fd64::/122"]
    async with agent_at(path, desired(session, announcements=blocks)) as agent:
        expected = {ip_network(FOUR): (ip_address("10.9.0.2"),), ip_network(SIX): (ip_address("fd09::2"),)}
        await until(lambda: agent.routes == expected, what="routes of both families")
        await until(lambda: all(attributes(bird, block) for block in blocks), what="our blocks of both families")
        assert attributes(bird, blocks[0])["next_hop"] == "10.9.0.1"
        assert attributes(bird, blocks[1])["next_hop"].split()[0] == "fd09::1"
