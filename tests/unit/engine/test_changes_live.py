"""Every change of every field, applied by a whole speaker with peers on loopback: who ends, who is told something, who hears nothing.

The fields of BGPPeer and BGPConfiguration are the rows of ``tests/unit/plan/test_changes``, where the effects are what
plans say; here they are what happens. After each row ``plan --against`` and the peers must agree on which sessions end.
"""

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from msgspec.structs import replace

from tests.names import loopback
from tests.netns.engine.rig import RecordingTable, make_session, make_settings
from tests.patience import eventually
from tests.unit.plan import test_changes as rows
from tests.unit.plan.worlds import block, cluster, config, node, obj, peer
from towpath.bgp.exabgp.engine import Engine
from towpath.bgp.origins import SpeakerPlan
from towpath.bgp.service_table import service_announcements
from towpath.bgp.table import Table
from towpath.controller.plan.difference import resets
from towpath.lab.blaster import Blast
from towpath.model.kinds.filter import BGPFilterSpec, FilterRule, Operation
from towpath.model.kinds.ipam import IPAMBlockSpec, IPPoolSpec
from towpath.model.speaker import Listen, Session

N, A, J, T, R, E = rows.Effect
LOCAL = loopback(0)[:-1]
OURS = 12000 + os.getpid() % 20000
"""Where node a listens; its peers listen at the next port."""
OUTSIDE, POOLED = ("203.0.113.0", 24), ("10.244.3.0", 26)
STAGE = (
    *rows.NODES,
    node("c", "10.0.0.3/24", asNumber=65000),
    block("10.244.3.0/26", "c"),
    peer("beside", peerIP="10.0.0.253:PEERS", asNumber=65000),
)
"""Node a, its mesh with b, and a router beside the one that rows change; of the routers one tells us c's block."""
POOL, FILTER = {"cidr": "10.244.0.0/16"}, {"importV4": [{"action": "Accept"}]}
OWN = {"cidr": "10.244.1.0/26", "owner": "a"}
CHANGED = {"peerIP": "10.0.0.254:PEERS", "asNumber": 65000, "filters": ["f"]}
ENDED, TOLD, NOTHING = "ended", "told", ""
SEEN = {N: NOTHING, A: NOTHING, J: NOTHING, T: TOLD, R: ENDED, E: ENDED}


def _named(scope: str, last: str, port: str = "") -> str:
    return f"{scope}-{LOCAL}{last}{port}".replace(".", "-")


EXPLICIT = _named("Global", "254", f"-p{OURS + 1}")
BESIDE = _named("Global", "253", f"-p{OURS + 1}")
MESH = _named("Mesh", "2")
FARS = {EXPLICIT: ("254", 65000, OUTSIDE), BESIDE: ("253", 65000, POOLED), MESH: ("2", 64512, None)}


def planned(
    changed: dict[str, Any] = CHANGED,
    configured: dict[str, Any] | None = None,
    pool: dict[str, Any] = POOL,
    filtered: dict[str, Any] = FILTER,
    own: tuple[dict[str, Any], ...] = (OWN,),
) -> SpeakerPlan:
    """What node a is to do, with addresses of this run's loopback in place of 10.0.0."""
    configuration = {"listenPort": OURS, "bindMode": "NodeIP"} | (configured or {})
    objects = [
        *STAGE, *(block(**one) for one in own), peer("changed", **changed), config(**configuration), obj("IPPool", "pods", **pool), obj("BGPFilter", "f", **filtered),
    ]  # fmt: skip
    text = re.sub(r"10\.0\.0\.(?=[1-9])", LOCAL, json.dumps(objects)).replace(":PEERS", f":{OURS + 1}")
    world = cluster(*json.loads(text))
    made = rows.planned(world)
    announcements = service_announcements(world, "a") | made.state.announcements
    return replace(made, state=replace(made.state, announcements=announcements))


class Speaker:
    """The speaker of node a, as ``bgp.speaker`` puts it together, without a link to an agent."""

    def __init__(self) -> None:
        self.table = Table(kick=self._kick, clock=time.monotonic)
        self.engine = Engine(sink=self.table, outbound=self.table)

    def _kick(self, name: str) -> None:
        self.engine.kick(name)

    def apply(self, plan: SpeakerPlan) -> None:
        state = plan.state
        self.engine.apply(state.settings, sessions=state.sessions, passwords=state.passwords)
        self.table.apply(state)

    def accepted(self) -> int:
        """How many of the changed router's prefixes are used."""
        report = self.table.report(self.engine.states())
        return sum(one.accepted for one in report.sessions if one.name == EXPLICIT)


@dataclass
class Far:
    """The other end of one session of node a."""

    table: RecordingTable
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.engine = Engine(sink=self.table, outbound=self.table)

    @property
    def heard(self) -> tuple[int, int]:
        """UPDATEs and refresh requests since the session came up."""
        return sum(map(len, self.table.bodies.values())), len(self.table.refreshes)

    def apply(self, session: Session, last: str, number: int) -> None:
        listen = (Listen(ip_address(LOCAL + last), OURS + 1),)
        settings = make_settings(router_id=ip_address(f"10.9.0.{last}"), local_as=number, listen=listen)
        self.engine.apply(settings, sessions={session.name: session}, passwords={})


class World:
    """Node a and its peers, all up, and everything said that there is to say."""

    def __init__(self) -> None:
        self.speaker = Speaker()
        self.fars: dict[str, Far] = {}

    @contextlib.asynccontextmanager
    async def running(self, plan: SpeakerPlan) -> AsyncIterator["World"]:
        async with contextlib.AsyncExitStack() as stack:
            for name, (last, number, route) in FARS.items():
                hop = ip_address("192.0.2.1")
                blasts = [Blast(hop, number, 64512, 1, ip_address(route[0]), route[1])] if route else []
                one = self.fars[name] = Far(RecordingTable(blasts))
                await one.engine.start()
                stack.push_async_callback(one.engine.stop, graceful=True)
                session = make_session(
                    name,
                    LOCAL + "1",
                    peer_port=OURS,
                    local_address=ip_address(LOCAL + last),
                    local_as=number,
                    remote_as=64512,
                    passive=last != "2",
                )
                one.apply(session, last, number)
            await self.speaker.engine.start()
            stack.push_async_callback(self.speaker.engine.stop, graceful=True)
            self.speaker.apply(plan)
            up = self.speaker.engine.states
            await eventually(
                lambda: all(up()[name][0] == "Established" and self.fars[name].table.negotiated for name in FARS),
                deadline=30,
                what="all sessions are up",
            )
            await self.quiet()
            yield self

    async def quiet(self) -> None:
        """Until nobody has said anything for some turns of the loop."""
        still = 0
        while still < 8:
            before = self.seen()
            await asyncio.sleep(0.004)
            while self.speaker.table.dirty or self.speaker.table.unsettled:
                self.speaker.table.settle(1 << 20)
                self.speaker.table.drain(1 << 20)
            still = still + 1 if before == self.seen() else 0

    def seen(self) -> dict[str, tuple[int, tuple[int, int]]]:
        return {name: (len(one.table.lost_sessions), one.heard) for name, one in self.fars.items()}

    async def change(self, before: SpeakerPlan, after: SpeakerPlan) -> dict[str, str]:
        """What each peer sees of a change."""
        was = self.seen()
        self.speaker.apply(after)
        ends = {*resets(before, after), *(name for name in FARS if name not in after.state.sessions)}
        await eventually(
            lambda: all(self.fars[name].table.lost_sessions for name in ends & FARS.keys()), what=f"{ends} end"
        )
        await self.quiet()
        now = self.seen()
        return {
            name: ENDED if now[name][0] != was[name][0] else TOLD if now[name][1] != was[name][1] else NOTHING
            for name in FARS
        }


@dataclass
class Row:
    """One change, what each of the three peers sees of it, and how many prefixes of the changed one are used then."""

    what: str
    before: SpeakerPlan
    after: SpeakerPlan
    explicit: str
    beside: str = NOTHING
    mesh: str = NOTHING
    accepted: int | None = None

    @property
    def expected(self) -> dict[str, str]:
        return {EXPLICIT: self.explicit, BESIDE: self.beside, MESH: self.mesh}


async def check(table: Iterable[Row]) -> None:
    """Every row is as it says. Rows that end no session share one world: each is taken back before the next one."""
    gentle, wrong = [], {}
    for row in table:
        if ENDED not in row.expected.values():
            gentle.append(row)
            continue
        async with World().running(row.before) as world:
            if (found := await world.change(row.before, row.after)) != row.expected:
                wrong[row.what] = found
    if gentle:
        async with World().running(gentle[0].before) as world:
            standing = gentle[0].before
            for row in gentle:
                if standing != row.before:
                    world.speaker.apply(row.before)
                    await world.quiet()
                found = await world.change(row.before, row.after)
                if found != row.expected:
                    wrong[row.what] = found
                if row.accepted is not None and world.speaker.accepted() != row.accepted:
                    wrong[f"{row.what}, accepted"] = {EXPLICIT: str(world.speaker.accepted())}
                standing = row.after
            assert not any(one.table.lost_sessions for one in world.fars.values())
    assert wrong == {}


def peer_rows() -> Iterable[Row]:
    """Where a row's effect says less than what peers see, this says it: filters judge both ways, and so on."""
    told_by = {"filters": TOLD}
    bases = {"nextHopMode": {"advertise": "Cluster"}, "keepOriginalNextHop": {"advertise": "Cluster"}}
    values = {"nextHopMode": "Keep"}
    for name, given, effect in rows.PEER_FIELDS:
        value = values.get(name, given)
        first, second = rows.around(name, value, CHANGED | bases.get(name, {}))
        # a peer by selector takes the place of the mesh session
        mesh = ENDED if name == "peerSelector" else NOTHING
        yield Row(f"{name}={value}", planned(first), planned(second), told_by.get(name, SEEN[effect]), mesh=mesh)


def cluster_rows() -> Iterable[Row]:
    """The same; what all are told (communities, ranges of services) both kinds hear, LOCAL_PREF the mesh alone."""
    both, mesh = (TOLD, TOLD), (NOTHING, TOLD)
    told_by = {
        "prefixAdvertisements": both,
        "serviceClusterIPs": both,
        "serviceExternalIPs": both,
        "serviceLoadBalancerIPs": both,
        "ipv4NormalRoutePriority": mesh,
    }
    for name, value, explicit, of_mesh in rows.CLUSTER_FIELDS:
        before = {"bindMode": "None"} if name == "bindMode" else {}
        see, mesh_sees = told_by.get(name, (SEEN[explicit], SEEN[of_mesh]))
        after = before | {name: value}
        yield Row(f"{name}={value}", planned(configured=before), planned(configured=after), see, see, mesh_sees)


RANGE = {"cidr": "203.0.113.0/24", "matchOperator": "In"}
FILTER_FIELDS: list[tuple[str, dict[str, Any], int]] = [
    ("action", {"action": "Reject"}, 0),
    ("cidr", {"cidr": "198.51.100.0/24", "matchOperator": "In"}, 0),
    ("matchOperator", RANGE | {"matchOperator": "NotIn"}, 0),
    ("prefixLength", RANGE | {"prefixLength": {"min": 25}}, 0),
    ("interface", {"interface": "eth9"}, 0),
    ("peerType", {"peerType": "iBGP"}, 0),
    ("communities", {"communities": {"values": ["65000:1"]}}, 0),
    ("asPathPrefix", {"asPathPrefix": [65001]}, 0),
    ("priority", {"priority": 7}, 0),
    ("operations", {"operations": [{"setMED": {"value": 7}}]}, 1),
]
"""Fields of a rule of an import filter that accepted everything, and how many of the peer's prefixes are used after the change."""
TELLING: list[tuple[str, dict[str, Any], str]] = [
    ("source", {"action": "Reject", "source": "RemotePeers"}, NOTHING),
    ("action", {"action": "Reject"}, TOLD),
    ("addCommunity", {"operations": [{"addCommunity": {"value": "65000:1"}}]}, TOLD),
    ("removeCommunity", {"operations": [{"removeCommunity": {"value": "65000:1"}}]}, NOTHING),
    ("prependASPath", {"operations": [{"prependASPath": {"prefix": [64512]}}]}, TOLD),
    ("setMED", {"operations": [{"setMED": {"value": 7}}]}, TOLD),
    ("setPriority", {"operations": [{"setPriority": {"value": 7}}]}, NOTHING),
    ("setLocalPref", {"operations": [{"setLocalPref": {"value": 7}}]}, NOTHING),
]
"""Fields of a rule of an export filter of an external session, and whether the peer is told something else then."""
POOL_FIELDS: list[tuple[str, Any, str]] = [
    ("cidr", "10.244.0.0/17", NOTHING),
    ("blockSize", 27, NOTHING),
    ("nodeSelector", "rack == 'y'", NOTHING),
    ("namespaceSelector", "team == 'a'", NOTHING),
    ("assignmentMode", "Manual", NOTHING),
    ("disabled", True, NOTHING),
    ("disableBGPExport", True, TOLD),
    ("natOutgoing", True, NOTHING),
    ("vxlanMode", "Always", NOTHING),
    ("vxlan", {"vni": 7}, NOTHING),
    ("ipipMode", "Always", NOTHING),
    ("attachment", {"type": "bridge"}, NOTHING),
    ("allowedUses", ["LoadBalancer"], NOTHING),
    ("serviceSelector", "all()", NOTHING),
]


BLOCK_FIELDS: list[tuple[str, tuple[dict[str, Any], ...], str]] = [
    ("cidr", (OWN, OWN | {"cidr": "10.244.1.64/26"}), TOLD),
    ("node", (OWN | {"owner": "b"},), TOLD),
    ("nodeUID", (OWN | {"nodeUID": "u"},), NOTHING),
    ("machineID", (OWN | {"machineID": "m"},), NOTHING),
    ("systemUUID", (OWN | {"systemUUID": "s"},), NOTHING),
    ("pool", (OWN | {"pool": "other"},), NOTHING),
    ("mirrored", (OWN | {"mirrored": True},), NOTHING),
    ("primary", (OWN | {"primary": False},), NOTHING),
    ("state", (OWN | {"state": "Draining"},), NOTHING),
    ("state", (OWN | {"state": "Quarantined"},), TOLD),
]
"""Fields of the node's own block, and what all peers are told of the change."""


def filter_rows() -> Iterable[Row]:
    everything = planned()
    for name, rule, accepted in FILTER_FIELDS:
        after = planned(filtered={"importV4": [{"action": "Accept"} | rule]})
        yield Row(f"importV4 {name}", everything, after, NOTHING, accepted=accepted)
    for name, rule, seen in TELLING:
        after = planned(filtered=FILTER | {"exportV4": [{"action": "Accept"} | rule]})
        yield Row(f"exportV4 {name}", everything, after, seen)
    for name in ("importV6", "exportV6"):
        yield Row(name, everything, planned(filtered=FILTER | {name: [{"action": "Reject"}]}), NOTHING, accepted=1)


def pool_and_block_rows() -> Iterable[Row]:
    for name, value, seen in POOL_FIELDS:
        yield Row(f"{name}={value}", planned(), planned(pool=POOL | {name: value}), seen, seen, seen)
    for name, own, seen in BLOCK_FIELDS:
        yield Row(f"{name} of a block: {own}", planned(), planned(own=own), seen, seen, seen)


async def test_a_field_of_a_peer() -> None:
    """What the row says happens to the session of the object; the router beside it, and the mesh, hear nothing."""
    await check(peer_rows())


async def test_a_field_of_the_cluster() -> None:
    """Sessions end only where the peer sees another speaker; the others hear at most what is now announced otherwise."""
    await check(cluster_rows())


async def test_a_field_of_a_filter_a_pool_or_a_block() -> None:
    """No session ends; what peers sent is judged again from what we keep of it, and nobody is asked to send it again."""
    await check((*filter_rows(), *pool_and_block_rows()))


def test_every_field_has_a_row() -> None:
    """A field that is new needs an answer here."""
    assert {name for name, *_ in POOL_FIELDS} == set(IPPoolSpec.__struct_encode_fields__)
    assert {name for name, *_ in BLOCK_FIELDS} == set(IPAMBlockSpec.__struct_encode_fields__)
    assert {name for name, *_ in FILTER_FIELDS} | {"source"} == set(FilterRule.__struct_encode_fields__)
    assert {name for name, *_ in TELLING} - {"source", "action"} == set(Operation.__struct_encode_fields__)
    assert {"importV4", "exportV4", "importV6", "exportV6"} == set(BGPFilterSpec.__struct_encode_fields__)
