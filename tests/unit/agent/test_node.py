"""The steps of a node, with kernel, speaker and CNI that only take notes."""

import asyncio
import base64
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network

import msgspec
import pytest
from msgspec.structs import replace

from tests.unit.agent.worlds import FakeApi, block, cluster, pool
from tests.virtual import run
from towpath.controller.kindstore import Problem
from towpath.controller.node.agent import NodeAgent, Patience
from towpath.controller.node.gate import Addressing
from towpath.controller.node.parts import KernelState
from towpath.controller.node.services import WatchedServices
from towpath.controller.secrets import Passwords, references
from towpath.model.cluster import Cluster
from towpath.model.kinds.bgp import BGPConfigurationSpec
from towpath.model.kinds.node import BlockReport, RouteReport, RoutingNodeStatus, SessionReport
from towpath.model.kinds.peer import BGPPeerSpec
from towpath.model.kinds.values import ASNumber
from towpath.model.net import Address, Prefix
from towpath.model.reason import Reason, Refusal
from towpath.model.resource import Meta, Resource
from towpath.model.selector import parse_selector
from towpath.model.speaker import Report, SpeakerState
from towpath.model.workload import Workload
from towpath.routes.devices.device import Ipip, Link, Vxlan
from towpath.routes.plan import static_routes
from towpath.routes.ruleset import Rules

V4, V6 = ip_network("10.244.0.0/26"), ip_network("fd00:244::/122")


class Parts:
    """Source, kernel, speaker and CNI of node a in one; ``said`` is what was told, in order."""

    def __init__(self) -> None:
        self.present = cluster()
        self.complete = True
        self.away = 0.0
        self.started = False
        self.standing: set[Prefix] = set()
        self.refuses = False
        """The kernel installs nothing."""
        self.connected = True
        self.report: Report | None = Report(sessions=(), own_blocks=(V4, V6))
        self.meanwhile: Callable[[], object] = lambda: None
        """What else happens while the kernel is programmed."""
        self.taken: Mapping[Address, Address | None] = {}
        self.told: list[SpeakerState] = []
        self.said: list[tuple[str, frozenset[Prefix]]] = []
        self.firewall = Firewall(self.said)
        self.links: tuple[Link, ...] = ()
        """Tunnels that stand."""

    def unreachable_for(self) -> float:
        return self.away

    def cluster(self) -> Cluster:
        return self.present

    def problems(self) -> tuple[Problem, ...]:
        return ()

    async def start(self) -> None:
        self.started = True

    async def desire_routes(self, world: Cluster, *, live: bool, taken: Mapping[Address, Address | None]) -> None:
        self.taken = taken
        self.meanwhile()
        wanted = {prefix for prefix, route in static_routes(world, "a").items() if route.type == "blackhole"}
        self.said.append(("kernel", frozenset(wanted)))
        if live and not self.refuses:
            self.standing = wanted

    def blackholed(self, prefixes: Iterable[Prefix]) -> frozenset[Prefix]:
        return frozenset(self.standing.intersection(prefixes))

    def state(self) -> KernelState:
        return KernelState(in_sync=True, routes=RouteReport(), problems=())

    def own_addresses(self) -> tuple[Address, ...]:
        return ()

    def routers(self) -> dict[str, Address]:
        return {}

    def gateways(self) -> tuple[Address, ...]:
        return ()

    def tunnels(self) -> tuple[Link, ...]:
        return self.links

    def underlay(self, _world: Cluster) -> tuple[str, ...]:
        return ("eth0",)

    def severed(self) -> tuple[str, ...]:
        return ()

    def found(self, world: Cluster) -> RoutingNodeStatus | None:
        return RoutingNodeStatus() if world.nodes else None

    def tell(self, state: SpeakerState) -> None:
        self.told.append(state)
        self.said.append(("speaker", frozenset(state.announcements)))


class Firewall:
    """Packet filters that take notes, in the order of what the speaker hears."""

    def __init__(self, said: list[tuple[str, frozenset[Prefix]]]) -> None:
        self.said = said
        self.rules = Rules()
        self.refusal: OSError | None = None
        self.untranslated = ""
        """Why the kernel translates no source."""
        self.asked: Callable[[Rules], object] = lambda rules: rules

    async def desire(self, rules: Rules) -> str:
        self.asked(rules)
        if self.refusal is not None and rules != self.rules:
            raise self.refusal
        before, self.rules = self.rules, rules
        if rules.services != before.services:
            self.said.append(("firewall", frozenset(rules.services)))
        return self.untranslated if rules.masqueraded else ""


def no_services() -> WatchedServices:
    return WatchedServices("a", changed=lambda: None, report=lambda problems: None)


class Workloads:
    """Pods that may be peers."""

    def __init__(self) -> None:
        self.settled = True
        self.workloads: dict[str, Workload] = {}


class Pods:
    """CNI that takes notes."""

    def __init__(self) -> None:
        self.written: list[Addressing] = []
        self.stands: frozenset[Prefix] = frozenset()
        """Blocks that pods get addresses of already."""
        self.held: frozenset[Address] = frozenset()
        """Addresses that pods have."""
        self.free: Address | None = None
        """An address that the node may have."""
        self.used: frozenset[Prefix] = frozenset()
        """Blocks that pods have addresses of."""
        self.drained: frozenset[Prefix] = frozenset()
        """Blocks that were seen empty twice."""
        self.lived_at: tuple[Address, ...] = ()
        """Addresses of the network of all pods that pods have."""
        self.problems: tuple[Refusal, ...] = ()
        self.refusals: tuple[Refusal, ...] = ()
        self.otherwise: frozenset[Prefix] = frozenset()
        """Blocks of pods that were attached in another way."""
        self.lacking: tuple[str, ...] = ()
        self.standing = True
        self.heeding = False

    def take_over(self, world: Cluster) -> bool:
        assert world.blocks is not None
        return True

    def in_use(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        return self.used.intersection(blocks)

    def addresses(self) -> tuple[Address, ...]:
        return self.lived_at

    def served(self, blocks: Iterable[Prefix]) -> frozenset[Prefix]:
        return self.stands.intersection(blocks)

    def hold(self, addresses: Collection[Address]) -> frozenset[Address]:
        return self.held.intersection(addresses)

    def spare(self, world: Cluster, block: Prefix, *, fresh: bool) -> Address | None:
        assert block in {one.spec.cidr for one in world.blocks.values()}
        assert fresh
        return self.free

    def attached_otherwise(self, world: Cluster, blocks: Collection[Prefix]) -> frozenset[Prefix]:
        assert world.pools is not None
        return self.otherwise.intersection(blocks)

    def desire(self, world: Cluster, addressing: Addressing) -> bool:
        assert world.blocks is not None
        self.written.append(addressing)
        return not self.problems

    def usage(
        self, world: Cluster, blocks: Collection[Prefix], *, draining: Collection[Prefix], idle: Collection[Prefix]
    ) -> tuple[BlockReport, ...]:
        every = (*blocks, *idle, *draining)
        assert {*every} <= {one.spec.cidr for one in world.blocks.values()}, "usage of what is not there"
        return tuple(
            BlockReport(cidr=one, in_use=int(one in self.used), capacity=62, drained=one in self.drained)
            for one in every
        )


class Kernel:
    """The kernel's face of the parts: its ``desire`` is about routes."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def __getattr__(self, name: str) -> object:
        return getattr(self.parts, "desire_routes" if name == "desire" else name)


def secret_api() -> FakeApi:
    api = FakeApi()
    api.put("Secret", "tor", namespace="ns", data={"password": base64.b64encode(b"x").decode()})
    return api


async def agent(
    parts: Parts,
    *,
    saved: Cluster | None = None,
    api: FakeApi | None = None,
    alone: bool = False,
    patience: Patience | None = None,
    services: WatchedServices | None = None,
    workloads: Workloads | None = None,
) -> tuple[NodeAgent, Pods]:
    passwords = Passwords(api or secret_api(), namespace="ns", file=None)
    await passwords.refresh(references(cluster()))
    pods = Pods()
    made = NodeAgent(
        "a",
        source=parts,
        kernel=Kernel(parts),
        speaker=parts,
        pods=pods,
        services=services or no_services(),
        workloads=workloads or Workloads(),
        firewall=parts.firewall,
        passwords=passwords,
        saved=saved,
        alone=alone,
        patience=patience,
    )
    return made, pods


async def test_a_report_in_the_middle_of_a_step_is_of_blocks_that_are_there() -> None:
    """A block is gone and the kernel is still being programmed: the status has the other one, and nothing fails."""
    parts = Parts()
    node, _ = await agent(parts)
    await node.step()
    parts.present = cluster(blocks={one.name: one for one in (block("fd00:244::/122", "a"),)})
    found: list[list[Prefix]] = []

    def report() -> None:
        status = node.status(before=None, now="now")
        assert status is not None
        found.append([one.cidr for one in status.blocks])

    parts.meanwhile = report
    await node.step()
    assert found == [[V6]]


async def test_nothing_is_told_before_the_picture_is_complete() -> None:
    """Without a complete picture neither kernel nor speaker nor CNI hears anything."""
    parts = Parts()
    parts.complete = False
    node, pods = await agent(parts)
    assert await node.step()
    assert (parts.said, pods.written, parts.started) == ([], [], False)


async def test_a_block_is_in_the_kernel_before_it_is_announced() -> None:
    """First the blackhole, then the announcement, then the addresses."""
    parts = Parts()
    node, pods = await agent(parts)
    assert await node.step()
    assert parts.said == [("kernel", {V4, V6}), ("speaker", {V4, V6})]
    assert pods.written[0].usable == (V4, V6)


async def test_a_block_serves_pods_once_the_speaker_has_spoken_of_it() -> None:
    """The first report that knows the block lets it serve; one block that serves goes on without a speaker."""
    parts = Parts()
    parts.report = None
    node, pods = await agent(parts)
    await node.step()
    assert pods.written[-1].usable == ()
    parts.report = Report(sessions=(), own_blocks=(V4, V6), foreign_paths=(V6,))
    await node.step()
    assert pods.written[-1].usable == (V4,)
    parts.report, pods.stands = None, frozenset({V4})
    await node.step()
    assert pods.written[-1].usable == (V4,)


async def test_a_block_is_withdrawn_before_its_blackhole_goes() -> None:
    """When a block goes, the speaker hears of it before the kernel."""
    parts = Parts()
    node, _ = await agent(parts)
    await node.step()
    parts.said.clear()
    parts.present = cluster(blocks={name: one for name, one in parts.present.blocks.items() if one.spec.cidr != V6})
    await node.step()
    assert parts.said[:2] == [("speaker", {V4}), ("kernel", {V4})]


def test_a_speaker_hears_nothing_while_a_blackhole_is_awaited() -> None:
    """A speaker that runs already would withdraw what the first words lack; after a while they are said anyway."""
    parts = Parts()
    parts.refuses, parts.standing = True, {V4}

    async def scenario() -> None:
        await asyncio.sleep(1)
        node, pods = await agent(parts, patience=Patience(first_words_after=3))
        assert not await node.step()
        await asyncio.sleep(2)
        assert not await node.step()
        assert parts.told == []
        assert pods.written == []
        await asyncio.sleep(2)
        assert not await node.step()

    run(scenario)
    assert set(parts.told[-1].announcements) == {V4}


async def test_an_announcement_stays_while_its_blackhole_is_repaired() -> None:
    """A blackhole that somebody deleted does not withdraw the block."""
    parts = Parts()
    node, _ = await agent(parts)
    await node.step()
    parts.refuses = True
    parts.standing.clear()
    await node.step()
    assert set(parts.told[-1].announcements) == {V4, V6}


async def test_from_disk_only_what_still_stands_is_announced() -> None:
    """Without the API server: sessions, and blocks whose blackhole outlived the last process; no CNI, no new route."""
    parts = Parts()
    parts.complete, parts.standing = False, {V6}
    node, pods = await agent(parts, saved=cluster(), patience=Patience(snapshot_after=0))
    await node.step()
    assert set(parts.told[-1].announcements) == {V6}
    assert parts.told[-1].sessions
    assert pods.written == []
    assert parts.standing == {V6}


async def test_the_api_wins_over_the_disk() -> None:
    """The picture from disk serves until the API has answered."""
    parts = Parts()
    parts.complete = False
    node, pods = await agent(parts, saved=cluster(), patience=Patience(snapshot_after=0))
    await node.step()
    parts.complete = True
    await node.step()
    assert node.picture is not None
    assert node.picture.live
    assert pods.written[-1].usable == (V4, V6)


async def test_a_password_that_was_not_read_yet_holds_the_first_words_back() -> None:
    """A running session must not lose its password because the agent was faster than its Secrets."""
    parts = Parts()
    passwords = Passwords(secret_api(), namespace="ns", file=None)
    node = NodeAgent(
        "a",
        source=parts,
        kernel=Kernel(parts),
        speaker=parts,
        pods=None,
        services=no_services(),
        workloads=Workloads(),
        firewall=parts.firewall,
        passwords=passwords,
        saved=None,
        alone=False,
    )
    await node.step()
    assert parts.told == []
    await passwords.refresh(references(parts.present))
    await node.step()
    assert len(parts.told[-1].passwords) == 1


async def test_a_deleted_secret_spares_the_session_that_is_up() -> None:
    """The password stays with an established session, is a condition, and goes when the session has gone."""
    parts, api = Parts(), secret_api()
    node, _ = await agent(parts, api=api)
    await node.step()
    (name,) = parts.told[-1].passwords
    api.objects.clear()
    await node._passwords.refresh(references(parts.present))
    parts.report = Report(sessions=(SessionReport(name=name, peer="", remote_as=1, state="Established"),))
    await node.step()
    assert list(parts.told[-1].passwords) == [name]
    status = node.status(before=None, now="now")
    assert status is not None
    assert [one.message for one in status.conditions if one.type == "SecretMissing"] == [
        "BGPPeer/tor spec.password: Secret tor does not exist in namespace ns"
    ]
    parts.report = Report(sessions=(SessionReport(name=name, peer="", remote_as=1, state="Active"),))
    await node.step()
    assert parts.told[-1].passwords == {}
    assert parts.told[-1].sessions[name].reason is Reason.SECRET_MISSING


async def test_an_address_that_a_pod_has_is_not_the_nodes() -> None:
    """The device in the tunnel goes without it, and the node says so, until the pod is gone."""
    parts = Parts()
    parts.present = cluster(pools={"v4": pool("v4", "10.244.0.0/16", vxlan_mode="Always")})
    node, pods = await agent(parts)
    own = ip_address("10.244.0.0")
    pods.held = frozenset({own, ip_address("10.244.0.9")})
    await node.step()
    assert (parts.taken, node.waits_for_pods) == ({own: ip_address("10.0.0.1")}, True)
    assert said_taken(node) == ["until then the node sends with 10.0.0.1"]
    pods.held = frozenset()
    await node.step()
    assert (parts.taken, node.waits_for_pods) == ({}, False)


async def test_what_a_node_without_an_address_of_the_family_has_instead() -> None:
    """Another address of its block, if there is one that no pod gets first."""
    parts = Parts()
    alone = {name: replace(one, status=RoutingNodeStatus()) for name, one in parts.present.routing_nodes.items()}
    parts.present = cluster(
        pools={"v6": pool("v6", "fd00:244::/112", vxlan_mode="Always")},
        routing_nodes=alone,
    )
    node, pods = await agent(parts)
    own, spare = ip_address("fd00:244::"), ip_address("fd00:244::3f")
    pods.held, pods.lived_at, pods.free = frozenset({own}), (own,), spare
    await node.step()
    assert parts.taken == {own: spare}
    assert said_taken(node) == [f"until then the node sends with {spare}"]
    pods.held = frozenset({own, spare})
    await node.step()
    assert parts.taken == {own: None}
    (said,) = said_taken(node)
    assert "no address of the block is free for it: delete the pod" in said
    pods.held, pods.lived_at, pods.free = frozenset({own}), (own,), None
    await node.step()
    assert parts.taken == {own: None}


def said_taken(node: NodeAgent) -> list[str]:
    """What the node says of its addresses that pods have, and what it does meanwhile."""
    found = [one for one in node.warnings if one.reason is Reason.TUNNEL_ADDRESS_TAKEN]
    assert {one.object.name for one in found} <= {"a"}
    return [one.message.partition("; ")[2] for one in found]


async def test_paths_are_provisional_after_half_a_minute() -> None:
    """The API server away for more than 30 s: the speaker is told so."""
    parts = Parts()
    node, _ = await agent(parts)
    for away, expected in ((29.0, False), (31.0, True), (0.0, False)):
        parts.away = away
        await node.step()
        assert parts.told[-1].settings.provisional is expected


def messages(node: NodeAgent, kind: str) -> list[str]:
    """The messages of the conditions of a type in a node's status."""
    status = node.status(before=None, now="now")
    assert status is not None
    return [one.message for one in status.conditions if one.type == kind]


@pytest.mark.parametrize("alone", [True, False], ids=["folder", "controller"])
async def test_a_users_mistake_is_told_once(alone: bool) -> None:
    """A bad object is marked by the controller, and by the node only where there is none; other objects by the node."""
    parts = Parts()
    bad = Problem("BGPPeer", "bad", Reason.INVALID_SPEC, "must be 1 to 4294967294", field="spec.asNumber")
    ours = Problem("IPAMBlock", "10-244-0-0-26", Reason.INVALID_SPEC, "no such node", field="spec.node")
    parts.problems = lambda: (bad, ours)
    node, _ = await agent(parts, alone=alone)
    await node.step()
    about_users = ["BGPPeer/bad spec.asNumber: must be 1 to 4294967294"] if alone else []
    (message,) = messages(node, "InvalidSpec")
    assert message.split("; ") == [*about_users, "IPAMBlock/10-244-0-0-26 spec.node: no such node"]


async def test_what_is_wrong_with_a_session_is_a_condition_that_names_its_object() -> None:
    """Two peers that ask for the same session: the node says which of them lost, and stops when it is mended."""
    parts = Parts()
    whole = parts.present
    peers = {name: msgspec.structs.replace(whole.peers["tor"], meta=Meta(name=name)) for name in ("tor", "twin")}
    parts.present = cluster(peers=peers)
    node, _ = await agent(parts)
    await node.step()
    (message,) = messages(node, "DuplicatePeer")
    assert message.startswith("BGPPeer/twin spec.peerIP: ")
    assert message.endswith("is already asked for by BGPPeer tor")
    parts.present = whole
    await node.step()
    assert messages(node, "DuplicatePeer") == []


async def test_keys_that_find_no_room_are_a_condition_of_the_node() -> None:
    """For as long as the speaker says so; the sentence names the sysctl."""
    parts = Parts()
    node, _ = await agent(parts)
    await node.step()
    said = "no room for all TCP-MD5 keys, not for that of 10.0.0.1: raise the sysctl net.core.optmem_max"
    parts.report = Report(sessions=(), own_blocks=(V4, V6), keyless=(said,))
    assert messages(node, "KeyLimit") == [said]
    parts.report = Report(sessions=(), own_blocks=(V4, V6))
    assert messages(node, "KeyLimit") == []


async def test_pods_in_a_block_that_was_taken_away_are_reported() -> None:
    """A block in quarantine is told of while somebody lives in it, and every word on it is waited for."""
    parts = Parts()
    blocks = [block(str(V4), "a"), block(str(V6), "a", state="Quarantined")]
    parts.present = cluster(blocks={one.name: one for one in blocks})
    node, pods = await agent(parts)
    await node.step()
    for used, told in ((frozenset({V4}), [V4]), (frozenset({V4, V6}), [V4, V6])):
        pods.used = used
        status = node.status(before=None, now="now")
        assert status is not None
        assert [one.cidr for one in status.blocks] == told
        assert node.inactive_in_use(status) is (V6 in used)


async def test_that_a_block_is_drained_is_said_with_its_version() -> None:
    """The one in which the node saw it last; of blocks that are in use none is said."""
    parts = Parts()
    one, other = block(str(V4), "a", state="Draining"), block(str(V6), "a")
    one = msgspec.structs.replace(one, meta=msgspec.structs.replace(one.meta, resource_version="17"))
    parts.present = cluster(blocks={each.name: each for each in (one, other)})
    node, pods = await agent(parts)
    pods.drained = frozenset({V4})
    await node.step()
    status = node.status(before=None, now="now")
    assert status is not None
    assert {each.cidr: (each.drained, each.drained_version) for each in status.blocks} == {
        V4: (True, "17"),
        V6: (False, ""),
    }


def with_pods() -> Cluster:
    """Where pods may be peers."""
    spec = BGPPeerSpec(local_workload_selector=parse_selector("app == 'router'"), as_number=ASNumber(65401))
    config = BGPConfigurationSpec(local_workload_peering_ipv4=ip_address("169.254.0.179"))
    return cluster(
        peers={"routers": Resource(kind="BGPPeer", meta=Meta(name="routers"), spec=spec)},
        configurations={"default": Resource(kind="BGPConfiguration", meta=Meta(name="default"), spec=config)},
    )


ROUTER = Workload("apps/r", "a", {"app": "router"}, (ip_address("10.244.0.5"),))


async def test_nothing_is_said_before_the_pods_are_known() -> None:
    """A speaker that runs already would end its sessions with them; where no pod may be a peer nobody waits."""
    parts, pods = Parts(), Workloads()
    parts.present, pods.settled = with_pods(), False
    node, _ = await agent(parts, workloads=pods)
    assert await node.step()
    assert parts.told == []
    pods.settled, pods.workloads = True, {ROUTER.key: ROUTER}
    await node.step()
    assert "Workload-10-244-0-5" in parts.told[-1].sessions
    other, unknown = Parts(), Workloads()
    unknown.settled = False
    node, _ = await agent(other, workloads=unknown)
    await node.step()
    assert other.told != []


async def test_the_port_opens_before_a_pod_is_a_peer_and_closes_after_it() -> None:
    """A pod that is one no longer loses its session first, and then the way to the port."""
    parts, pods = Parts(), Workloads()
    parts.present, pods.workloads = with_pods(), {ROUTER.key: ROUTER}
    node, _ = await agent(parts, workloads=pods)
    await node.step()
    name, opened = "Workload-10-244-0-5", (ip_address("10.244.0.5"), ip_address("169.254.0.179"))
    assert parts.firewall.rules.peers == (opened,)
    seen: list[tuple[bool, bool]] = []
    parts.firewall.asked = lambda rules: seen.append((opened in rules.peers, name in parts.told[-1].sessions))
    pods.workloads = {}
    await node.step()
    assert seen == [(True, True), (False, False)]


async def test_a_kernel_without_translation_is_a_condition_of_the_pool() -> None:
    """It names the field; the filters stand, and the condition goes with the reason for it, or with the wish."""
    parts = Parts()
    asking = pool("v4", "10.244.0.0/16", nat_outgoing=True)
    parts.present = cluster(pools={"v4": asking})
    parts.firewall.untranslated = "Could not process rule"
    node, _ = await agent(parts)
    await node.step()
    (found,) = [one for one in node.warnings if one.reason is Reason.NAT_REFUSED]
    assert str(found.object) == "IPPool/v4 spec.natOutgoing"
    assert "Could not process rule" in found.message
    assert Reason.FILTER_REFUSED not in {one.reason for one in node.warnings}
    parts.firewall.untranslated = ""
    await node.step()
    assert Reason.NAT_REFUSED not in {one.reason for one in node.warnings}
    parts.firewall.refusal = OSError(65, "the program nft is not installed")
    parts.present = cluster(pools={"v4": asking, "more": pool("more", "10.245.0.0/16")})
    await node.step()
    assert {Reason.NAT_REFUSED, Reason.FILTER_REFUSED} <= {one.reason for one in node.warnings}
    parts.present = cluster(pools={"v4": pool("v4", "10.244.0.0/16")})
    await node.step()
    assert Reason.NAT_REFUSED not in {one.reason for one in node.warnings}


async def test_pods_matter_only_where_they_may_be_peers() -> None:
    """Elsewhere their coming and going makes no new plan."""
    parts, pods = Parts(), Workloads()
    node, _ = await agent(parts, workloads=pods)
    await node.step()
    told = parts.told[-1]
    pods.workloads = {ROUTER.key: ROUTER}
    assert not node.peers_with_pods
    await node.step()
    assert parts.told[-1] is told


async def test_a_tunnel_is_guarded_as_long_as_it_stands() -> None:
    """Also when no pool wants it any more; after that there is nothing to guard."""
    parts = Parts()
    node, _ = await agent(parts)
    ends = ip_address("192.0.2.1")
    parts.links = (Ipip(ends), Vxlan(7, 8472, ends, "66:00:00:00:00:01"))
    await node.step()
    assert (parts.firewall.rules.tunnels, parts.firewall.rules.ipip) == (((7, 8472),), ends)
    parts.links = ()
    await node.step()
    assert (parts.firewall.rules.tunnels, parts.firewall.rules.ipip) == ((), None)
