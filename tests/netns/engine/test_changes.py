"""Changes of one session as two BIRDs see them: the other one's session never moves, this one's only where BGP has no other way.

A sample, on real routers, of what ``tests/unit/engine/test_changes_live.py`` shows of every field.
"""

from ipaddress import ip_address

from msgspec.structs import replace

from tests.netns.engine.rig import Bird, bird_neighbour, make_session
from tests.netns.engine.test_speaker import agent_at, desired, path, speaker  # noqa: F401  # two are fixtures
from tests.patience import eventually as until
from towpath.model.net import Family
from towpath.model.speaker import MaxPrefix

OURS = {"local_address": ip_address("10.9.0.1"), "families": (Family.IPV4,)}
GENTLE = (
    {"keepalive_time": 9},
    {"connect_retry_time": 7},
    {"multihop": 3},
    {"passive": True},
    {"advertise": "Cluster"},
    {"next_hop": "Self"},
    {"import_policy": "None"},
    {"max_prefix": MaxPrefix(5)},
    {"allow_local_as": 1},
)
HARD = ({"hold_time": 30}, {"restart_time": 60}, {"role": "Customer"}, {"families": (Family.IPV4, Family.IPV6)})


async def test_what_two_routers_see_of_changes(segment, speaker, path, tmp_path):  # noqa: F811
    """Each change is there when the next block is; nine of them move no session, four move the one that they are about."""
    _, tor, other = segment
    one = Bird(tor, tmp_path, router_id="10.9.0.2", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.2")})
    two = Bird(other, tmp_path, router_id="10.9.0.3", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.3")})
    changed, beside = make_session("changed", "10.9.0.2", **OURS), make_session("beside", "10.9.0.3", **OURS)
    blocks = [f"10.64.{number}.0/26" for number in range(len(GENTLE) + len(HARD) + 1)]
    async with agent_at(path, desired(changed, beside, announcements=blocks[:1])) as agent:

        async def both_have(block: str) -> None:
            await until(
                lambda: all(block in bird.ask(f"show route {block}") for bird in (one, two)), deadline=20, what=block
            )

        await both_have(blocks[0])
        stood = one.settled("p"), two.settled("p")
        for number, change in enumerate(GENTLE, start=1):
            changed = replace(changed, **change)
            agent.client.desire(desired(changed, beside, announcements=blocks[: number + 1]))
            await both_have(blocks[number])
            assert (one.changes("p"), two.changes("p")) == stood, change
        changed = replace(changed, passive=False)
        for number, change in enumerate(HARD, start=len(GENTLE) + 1):
            before, changed = one.settled("p"), replace(changed, **change)
            agent.client.desire(desired(changed, beside, announcements=blocks[: number + 1]))
            await both_have(blocks[number])
            assert one.changes("p") > before, change
            assert two.changes("p") == stood[1], change
