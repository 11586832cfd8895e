"""A limit of prefixes with BIRD at the other end: what is counted, what is refused, and a session that comes back by itself."""

from ipaddress import ip_address, ip_network
from pathlib import Path

from msgspec.structs import replace

from tests.netns.engine.rig import Bird, bird_neighbour, make_session
from tests.netns.engine.test_policy import spec
from tests.netns.engine.test_speaker import agent_at, desired, path, speaker, state_of  # noqa: F401  # two are fixtures
from tests.patience import eventually as until
from tests.unit.bgp_table.world import refused
from towpath.lab.netns import Host
from towpath.model.reason import Reason
from towpath.model.speaker import MaxPrefix

FOUR = {ip_network(f"203.0.113.{number * 32}/27") for number in range(3)}
SIX = {ip_network(f"2001:db8:{number}::/48") for number in range(3)}
MORE = {ip_network("203.0.113.128/27")}
CEASE = "Received: Maximum number of prefixes reached"
SESSION = make_session("tor", "10.9.0.2", local_address=ip_address("10.9.0.1"))


def static(name: str, family: str, routes: set, *, more: str = "") -> str:
    return (
        f"protocol static {name} {{ {more} {family}; " + "".join(f"route {one} blackhole; " for one in routes) + "}\n"
    )


def router(host: Host, folder: Path) -> Bird:
    """Three prefixes in each family over one session, and one more when it is asked for it."""
    more = (
        static("three4", "ipv4", FOUR) + static("three6", "ipv6", SIX) + static("more", "ipv4", MORE, more="disabled;")
    )
    return Bird(
        host, folder, router_id="10.9.0.2", neighbours={"p": bird_neighbour("10.9.0.1", local="10.9.0.2")}, more=more
    )


async def test_a_session_that_is_reset_at_its_limit_comes_back_by_itself(segment, speaker, path, tmp_path):  # noqa: F811
    """Six in both families are as many as may be, the seventh is Cease/1; again and again, until the router has fewer."""
    bird = router(segment[1], tmp_path)
    limited = replace(SESSION, max_prefix=MaxPrefix(6, warn_percent=50, action="Reset", restart_after=1))
    async with agent_at(path, desired(limited)) as agent:
        await until(lambda: set(agent.routes) == FOUR | SIX, deadline=20, what="all six")
        warning = "of at most 6 prefixes are accepted"
        await until(
            lambda: any(one.reason is Reason.MAX_PREFIX and warning in one.message for one in agent.notices),
            deadline=20,
            what="a warning at half of it",
        )
        assert CEASE not in bird.log
        bird.ask("enable more")
        await until(lambda: CEASE in bird.log, deadline=20, what="the session is ended")
        await until(lambda: state_of(agent) != "Established", deadline=20, what="that is reported")
        assert agent.report.sessions[0].reason == "MaxPrefix: more than 6 prefixes accepted"
        await until(lambda: bird.log.count(CEASE) > 1, deadline=20, what="it came back, and was ended again")
        bird.ask("disable more")
        await until(lambda: set(agent.routes) == FOUR | SIX, deadline=20, what="all six again")
        await until(lambda: state_of(agent) == "Established", deadline=20, what="it is up")


async def test_what_is_refused_at_a_limit_is_counted_after_policy(segment, speaker, path, tmp_path):  # noqa: F811
    """Of six four are accepted. A filter makes room in one family for the other, and is taken away: the session stays."""
    bird = router(segment[1], tmp_path)
    limited = replace(SESSION, max_prefix=MaxPrefix(4), filters=("f",))
    accept, reject = {"action": "Accept"}, {"action": "Reject"}
    everything = replace(desired(limited), filters={"f": spec(importV4=[accept], importV6=[accept])})
    half = replace(everything, filters={"f": spec(importV4=[reject], importV6=[accept])})
    async with agent_at(path, everything) as agent:

        async def counts(accepted: int, *, by_limit: int) -> None:
            await until(
                lambda: (
                    len(agent.routes) == accepted
                    and agent.report is not None
                    and refused(agent.report).get("tor", {}).get("MaxPrefix", 0) == by_limit
                ),
                deadline=20,
                what=f"{accepted} accepted, {by_limit} refused",
            )

        await counts(4, by_limit=2)
        stood = bird.settled("p")
        agent.client.desire(half)
        await counts(3, by_limit=0)
        assert set(agent.routes) == SIX
        agent.client.desire(everything)
        await counts(4, by_limit=2)
        assert set(agent.routes) >= SIX
        agent.client.desire(replace(everything, sessions={"tor": replace(limited, max_prefix=MaxPrefix(6))}))
        await counts(6, by_limit=0)
        assert bird.changes("p") == stood
