"""When a status is written, and what it says."""

import itertools
from collections.abc import Callable
from ipaddress import ip_interface, ip_network
from typing import Any

import msgspec
import pytest

from tests.unit.agent.worlds import FakeApi
from towpath.controller.node.report import Facts, compose
from towpath.controller.ports import UnreachableError
from towpath.controller.status import Limits, StatusWriter, listed, with_times
from towpath.model.kinds.node import BlockReport, NodeStatusStatus, RouteReport, RoutingNodeStatus, SessionReport
from towpath.model.reason import Reason, Refusal, Why
from towpath.model.resource import Condition
from towpath.model.speaker import Report

FINE = Facts(
    node="a",
    node_uid="uid-a",
    live=True,
    provisional=False,
    connected=True,
    in_sync=True,
    report=Report(
        sessions=(SessionReport(name="Global-10-0-0-254", peer="10.0.0.254", remote_as=65000, state="Established"),)
    ),
    blocks=(BlockReport(cidr=ip_network("10.244.0.0/26"), in_use=3, capacity=62),),
    routes=RouteReport(desired=2, installed=2),
)


def facts(**changes: Any) -> Facts:
    return msgspec.structs.replace(FINE, **changes)


def status(**changes: Any) -> NodeStatusStatus:
    return compose(facts(**changes), before=(), now="2026-01-01T00:00:00Z")


def by_type(one: NodeStatusStatus) -> dict[str, Condition]:
    return {each.type: each for each in one.conditions}


def test_a_node_where_all_is_well() -> None:
    """Four conditions hold and there is no other."""
    assert {kind: one.status for kind, one in by_type(status()).items()} == {
        "APIReachable": "True",
        "InSync": "True",
        "Ready": "True",
        "SessionsUp": "True",
    }


def test_a_node_says_when_it_has_left() -> None:
    """Only while the cluster leaves, and only on the speaker's word that no session is there any more."""
    ended = Report(sessions=(SessionReport(name="tor", peer="", remote_as=1, state="Withheld", reason="Shutdown"),))
    assert "Left" not in by_type(status(report=ended))
    found = [by_type(status(leaving=True, report=report))["Left"] for report in (None, FINE.report, ended)]
    assert [one.status for one in found] == ["Unknown", "False", "True"]
    assert "Global-10-0-0-254" in found[1].message


def test_sessions_that_are_down_are_named() -> None:
    """Those that are withheld are no fault of the network; before the speaker's first word nothing is known."""
    states = {"tor-1": "Established", "tor-2": "Active", "tor-3": "Withheld"}
    sessions = tuple(SessionReport(name=name, peer="", remote_as=1, state=state) for name, state in states.items())
    down = by_type(status(report=Report(sessions=sessions)))["SessionsUp"]
    assert (down.status, down.reason, down.message) == ("False", "SessionsDown", "not established: tor-2")
    assert by_type(status(report=None))["SessionsUp"].status == "Unknown"


def test_a_missing_block_and_a_missing_speaker_are_named() -> None:
    """Not ready says everything that is missing."""
    ready = by_type(status(lacking=("no ipv6 block yet",), connected=False, in_sync=False))["Ready"]
    assert (ready.status, ready.message) == ("False", "no ipv6 block yet; the speaker is not connected")


def test_out_of_sync_says_what_is_waited_for() -> None:
    """The message counts routes first, then names sessions, then End-of-RIB."""
    waiting = Report(sessions=(SessionReport(name="tor", peer="10.0.0.254", remote_as=65000, state="Active"),))
    assert (
        "1 of 2 routes" in by_type(status(in_sync=False, routes=RouteReport(desired=2, installed=1)))["InSync"].message
    )
    assert "tor" in by_type(status(in_sync=False, report=waiting))["InSync"].message
    assert "End-of-RIB" in by_type(status(in_sync=False))["InSync"].message


def test_problems_of_one_reason_are_one_condition() -> None:
    """Two foreign routes are one condition that names both prefixes."""
    problems = tuple(
        Refusal(Reason.FOREIGN_ROUTE, f"{prefix} is somebody else's", Why("Node", "a"))
        for prefix in ("10.1.0.0/26", "10.2.0.0/26")
    )
    found = by_type(status(problems=problems))["ForeignRoute"]
    assert found.status == "True"
    assert found.message == "10.1.0.0/26 is somebody else's; 10.2.0.0/26 is somebody else's"


def test_a_full_node_is_exhausted_in_that_family() -> None:
    """No free address in a family is a condition that names the family."""
    full = BlockReport(cidr=ip_network("fd00::/122"), in_use=60, capacity=60)
    assert "ipv6" in by_type(status(blocks=(*FINE.blocks, full)))["PoolExhausted"].message


def test_running_from_disk_is_said() -> None:
    """On the snapshot, and after 30 s without answer, the API counts as not reachable, for different reasons."""
    assert by_type(status(live=False))["APIReachable"].reason == "Snapshot"
    assert by_type(status(provisional=True))["APIReachable"].reason == "NoAnswer"


def test_a_condition_keeps_its_time_while_it_holds() -> None:
    """A new message is no transition; another status is."""
    old = Condition(type="Ready", status="True", reason="Ready", last_transition_time="then")
    same = with_times([Condition(type="Ready", status="True", reason="Ready", message="x")], before=[old], now="now")
    other = with_times([Condition(type="Ready", status="False", reason="NotReady")], before=[old], now="now")
    assert (same[0].last_transition_time, other[0].last_transition_time) == ("then", "now")


def test_a_long_list_is_cut() -> None:
    """A thousand conflicts do not make a message of a thousand prefixes."""
    assert listed(str(n) for n in range(1000)) == "0; 1; 2; 3; 4; 5; 6; 7 and 992 more"


def counters(number: int) -> NodeStatusStatus:
    return status(routes=RouteReport(desired=number, installed=number))


async def test_counters_are_written_every_half_minute() -> None:
    """A status whose numbers drift is written once in 30 s; one that does not differ never."""
    api = FakeApi()
    writer = StatusWriter(api, node="a", limits=Limits(jitter=0))
    assert await writer.offer(counters(1), None, now=100) is None
    api.calls.clear()
    assert await writer.offer(counters(2), None, now=101) == 29
    assert await writer.offer(counters(1), None, now=102) is None
    assert api.calls == []
    assert await writer.offer(counters(3), None, now=130) is None
    assert api.calls == [("patch_status", "NodeStatus", "a")]
    assert api.objects["NodeStatus", "", "a"]["status"]["routes"]["installed"] == 3


async def test_a_condition_is_written_at_once_and_once_a_second() -> None:
    """A changed condition does not wait for the half minute; a flapping one is written once a second at most."""
    writer = StatusWriter(FakeApi(), node="a")
    await writer.offer(status(), None, now=100)
    assert await writer.offer(status(connected=False), None, now=100.25) == pytest.approx(0.75)
    assert await writer.offer(status(connected=False), None, now=101) is None


class Clock:
    """Offers a status whenever the writer asks for it, and counts what is written when."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.api = FakeApi()
        self.writer = StatusWriter(self.api, node="a", limits=limits)
        self.at: list[float] = []

    async def until(self, end: float, *, now: float, status_at: Callable[[float], NodeStatusStatus]) -> None:
        """One offer each tenth of a second, as a node on which something always changes makes them."""
        while now < end:
            before = len(self.api.calls)
            await self.writer.offer(status_at(now), None, now=now)
            if len(self.api.calls) > before:
                self.at.append(now)
            now = round(now + 0.1, 1)


def a_session(state: str) -> Report:
    one = SessionReport(name="tor", peer="10.0.0.254", remote_as=65000, state=state)
    other = SessionReport(name="other", peer="10.0.0.253", remote_as=65000, state="Active")
    return Report(sessions=(one, other))


async def test_numbers_cost_two_writes_a_minute_at_most() -> None:
    """Ten minutes of routes that come and go, and of a session's states between two others: at least 30 s apart."""
    clock = Clock()
    states = ("Idle", "Connect", "OpenSent", "Active")
    await clock.until(
        700.0,
        now=100.0,
        status_at=lambda now: status(
            routes=RouteReport(desired=int(now * 10)), report=a_session(states[int(now * 10) % 4])
        ),
    )
    apart = [after - before for before, after in itertools.pairwise(clock.at)]
    assert 15 <= len(clock.at) <= 21
    assert min(apart) >= 30
    assert len(set(apart)) > 5, "no jitter"


async def test_a_flapping_condition_is_held_back() -> None:
    """What changes ten times a second is written ten times at once, then each ten seconds."""
    clock = Clock()
    await clock.until(200.0, now=100.0, status_at=lambda now: status(connected=int(now * 10) % 2 == 0))
    assert len([at for at in clock.at if at < 115]) >= 10
    assert 17 <= len(clock.at) <= 22


async def test_processes_that_start_together_do_not_write_together() -> None:
    """A status that is as the last process left it waits for a part of half a minute."""
    waits = set()
    for _ in range(20):
        api = FakeApi()
        await StatusWriter(api, node="a").offer(status(), None, now=100)
        writer = StatusWriter(api, node="a")
        await writer.recall()
        waits.add(await writer.offer(counters(3), None, now=5000))
    assert len(waits) == 20
    assert all(wait is not None and 0 <= wait <= 36 for wait in waits)


async def test_the_object_is_created_where_it_is_missing() -> None:
    """A node without NodeStatus gets one, with the status in it."""
    api = FakeApi()
    await StatusWriter(api, node="a").offer(status(), None, now=100)
    assert [verb for verb, _, _ in api.calls] == ["patch_status", "create", "patch_status"]
    assert api.objects["NodeStatus", "", "a"]["status"]["nodeUID"] == "uid-a"


async def test_what_was_not_written_is_offered_again() -> None:
    """An API server that does not answer leaves the status unwritten, and the next offer writes it."""
    api = FakeApi()
    writer = StatusWriter(api, node="a")
    api.failure = UnreachableError("no answer")
    with pytest.raises(UnreachableError):
        await writer.offer(status(), None, now=100)
    api.failure = None
    await writer.offer(status(), None, now=102)
    assert writer.written == status()


async def test_the_addresses_found_go_to_the_routing_node() -> None:
    """They are written when they change, and wait for the object where there is none yet."""
    api = FakeApi()
    writer = StatusWriter(api, node="a")
    found = RoutingNodeStatus(ipv4_address=ip_interface("10.0.0.1/24"))
    await writer.offer(status(), found, now=100)
    api.put("RoutingNode", "a", spec={})
    await writer.offer(status(), found, now=102)
    assert api.objects["RoutingNode", "", "a"]["status"]["ipv4Address"] == "10.0.0.1/24"
    api.calls.clear()
    await writer.offer(status(), found, now=200)
    assert api.calls == []


def written_at(when: str, **changes: Any) -> NodeStatusStatus:
    return compose(facts(**changes), before=(), now=when)


@pytest.mark.parametrize(("watched", "silent", "due"), [(False, 530, 541), (True, 44, 46)], ids=["calm", "watched"])
async def test_a_sign_of_life(watched: bool, silent: float, due: float) -> None:
    """What does not change is written anew within ten minutes, within one where somebody waits; with its time in it."""
    api = FakeApi()
    writer = StatusWriter(api, node="a", limits=Limits(jitter=0))
    first = written_at("then")
    await writer.offer(first, None, now=100)
    api.calls.clear()
    assert (
        await writer.offer(msgspec.structs.replace(first, reported_at="later"), None, now=100 + silent, watched=watched)
        is None
    )
    assert api.calls == []
    await writer.offer(msgspec.structs.replace(first, reported_at="now"), None, now=100 + due, watched=watched)
    assert api.objects["NodeStatus", "", "a"]["status"]["reportedAt"] == "now"


async def test_what_a_restored_store_has_lost_is_written_again() -> None:
    """Once, although nothing changed; as soon as anything may be written."""
    api = FakeApi()
    writer = StatusWriter(api, node="a")
    found = RoutingNodeStatus(ipv4_address=ip_interface("192.0.2.1/24"))
    api.objects["RoutingNode", "", "a"] = {"metadata": {"name": "a"}}
    await writer.offer(status(), found, now=100)
    api.calls.clear()
    writer.doubt()
    assert await writer.offer(status(), found, now=100.25) == pytest.approx(0.75)
    assert await writer.offer(status(), found, now=101) is None
    assert api.calls == [("patch_status", "RoutingNode", "a"), ("patch_status", "NodeStatus", "a")]
    assert await writer.offer(status(), found, now=102) is None
    assert len(api.calls) == 2


async def test_a_routing_node_that_is_made_anew_is_told_of_the_node_again() -> None:
    """Its Node was deleted and came back: what was written about the former one went with it."""
    api = FakeApi()
    writer = StatusWriter(api, node="a")
    found = RoutingNodeStatus(ipv4_address=ip_interface("192.0.2.1/24"))
    api.objects["RoutingNode", "", "a"] = {"metadata": {"name": "a"}}
    await writer.offer(status(), found, now=100)
    await writer.offer(status(), None, now=110)
    api.objects["RoutingNode", "", "a"] = {"metadata": {"name": "a"}}
    await writer.offer(status(), found, now=120)
    assert api.objects["RoutingNode", "", "a"]["status"]["ipv4Address"] == "192.0.2.1/24"


async def test_no_status_is_made_for_a_node_that_is_not_there() -> None:
    """Nobody would remove it; one that is there is kept up to date, and a folder has no need of Nodes."""
    api = FakeApi()
    await StatusWriter(api, node="a").offer(status(node_uid=""), None, now=100)
    assert api.objects == {}
    await StatusWriter(api, node="b", alone=True).offer(status(node_uid=""), None, now=100)
    api.put("NodeStatus", "a")
    await StatusWriter(api, node="a").offer(status(node_uid=""), None, now=100)
    assert [name for (_, _, name), body in sorted(api.objects.items()) if "status" in body] == ["a", "b"]


async def test_conditions_keep_their_times_over_a_restart() -> None:
    """A new process begins with what the last one wrote; nonsense, or nothing, counts as nothing."""
    api = FakeApi()
    await StatusWriter(api, node="a").offer(written_at("2026-01-01T00:00:00Z"), None, now=100)
    writer = StatusWriter(api, node="a")
    await writer.recall()
    assert writer.written is not None
    after = compose(FINE, before=writer.written.conditions, now="2026-01-02T00:00:00Z")
    assert {one.last_transition_time for one in after.conditions} == {"2026-01-01T00:00:00Z"}
    api.objects["NodeStatus", "", "a"]["status"] = {"conditions": 7}
    for name in ("a", "nobody"):
        other = StatusWriter(api, node=name)
        await other.recall()
        assert other.written is None
