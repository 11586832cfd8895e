"""Services on their way through the agent: followed, kept, announced behind the filter, withdrawn."""

import asyncio
import json
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tests.unit.agent.test_node import V4, V6, Parts, agent
from tests.unit.agent.worlds import cluster
from tests.unit.plan.test_services import BALANCER, HERE, LOCAL, THERE, service, slice_of
from tests.virtual import run
from towpath.bgp.services import DRAIN, EXCLUDED, LEAVES_FOR, configured
from towpath.controller.directory import Directory
from towpath.controller.kindstore import Problem
from towpath.controller.node.services import WatchedServices
from towpath.controller.snapshot import SnapshotFile
from towpath.controller.store import Store
from towpath.model.cluster import BGPConfiguration, Cluster
from towpath.model.kinds.bgp import BGPConfigurationSpec, ServiceRange
from towpath.model.net import Prefix
from towpath.model.resource import Meta
from towpath.model.speaker import SpeakerState

RANGE, ADDRESS = ip_network("10.96.0.0/16"), ip_network("10.96.0.10/32")
WEB = service(**BALANCER, **LOCAL)


def world(*ranges: Prefix, **others: Any) -> Cluster:
    spec = BGPConfigurationSpec(service_cluster_ips=tuple(ServiceRange(one) for one in ranges))
    default = BGPConfiguration(kind="BGPConfiguration", meta=Meta(name="default"), spec=spec)
    return cluster(configurations={"default": default}, **others)


class Watched(WatchedServices):
    """With a count of what it told."""

    def __init__(self) -> None:
        self.changes = 0
        self.problems: list[Problem] = []
        super().__init__("a", changed=self._count, report=lambda found: self.problems.__setitem__(slice(None), found))

    def _count(self) -> None:
        self.changes += 1

    def heard(self, *objects: Mapping[str, Any]) -> None:
        """A complete listing of both kinds."""
        for kind in ("Service", "EndpointSlice"):
            listing = self.listing(kind)
            listing.page(one for one in objects if one["kind"] == kind)
            listing.done(version="1")


def services(state: SpeakerState) -> set[str]:
    return {str(prefix) for prefix, one in state.announcements.items() if one.source == "Service"}


async def test_the_filter_stands_before_an_announcement_and_goes_after_it() -> None:
    """What is announced is dropped where nobody takes it: from before the first word until after the withdrawal."""
    parts, watched = Parts(), Watched()
    parts.present = world(RANGE)
    node, _ = await agent(parts, services=watched)
    watched.want(configured(parts.present.bgp))
    watched.heard()
    await node.step()
    assert parts.said == [("firewall", {RANGE}), ("kernel", {V4, V6}), ("speaker", {RANGE, V4, V6})]
    parts.said.clear()
    parts.present = world()
    await node.step()
    assert [one for one in parts.said if one[0] != "kernel"][:1] == [("speaker", {V4, V6})]
    assert parts.said[-1] == ("firewall", frozenset())


async def test_endpoints_that_come_and_go_announce_and_withdraw() -> None:
    """The last ready endpoint on this node going away withdraws the address, and so does its slice's going."""
    parts, watched = Parts(), Watched()
    parts.present = world(RANGE)
    node, _ = await agent(parts, services=watched)
    watched.want(configured(parts.present.bgp))
    watched.heard(WEB, slice_of("web", HERE))
    seen = []
    for change in (
        lambda: None,
        lambda: watched.upserted("EndpointSlice", slice_of("web", THERE)),
        lambda: watched.upserted("EndpointSlice", slice_of("web", HERE, THERE)),
        lambda: watched.deleted("EndpointSlice", "apps/web-IPv4"),
    ):
        change()
        await node.step()
        seen.append(str(ADDRESS) in services(parts.told[-1]))
    assert seen == [True, False, True, False]


async def test_what_changes_on_other_nodes_alone_wakes_nobody() -> None:
    """Nor does a service of which nothing is announced."""
    watched = Watched()
    watched.want(configured(world(RANGE).bgp))
    watched.heard(WEB, slice_of("web", THERE))
    before = watched.changes
    watched.upserted("EndpointSlice", slice_of("web", THERE, ("c", True)))
    watched.upserted("Service", service("other", type="ClusterIP", clusterIPs=["10.96.0.99"]))
    assert watched.changes == before
    watched.upserted("EndpointSlice", slice_of("web", HERE))
    assert watched.changes == before + 1


async def test_nothing_is_said_before_services_are_known() -> None:
    """A speaker that runs already would withdraw what it is not told; a refusal, or a silent API, ends the waiting."""
    parts, watched = Parts(), Watched()
    parts.present = world(RANGE)
    node, _ = await agent(parts, services=watched)
    assert await node.step()
    assert parts.said == []
    watched.refused("Service", "services is forbidden")
    watched.refused("EndpointSlice", "endpointslices is forbidden")
    await node.step()
    assert services(parts.told[-1]) == {str(RANGE)}
    assert {(one.kind, str(one.reason)) for one in watched.problems} == {
        ("Service", "Forbidden"),
        ("EndpointSlice", "Forbidden"),
    }
    watched.contact("Service", connected=True)
    assert {one.kind for one in watched.problems} == {"EndpointSlice"}


def test_what_was_known_before_counts_until_the_api_answers(tmp_path: Path) -> None:
    """Services are in the snapshot; after a restart without an answer they are announced as before."""

    async def test() -> None:
        watched, file = Watched(), SnapshotFile(tmp_path / "snapshot", node="a")
        before = world(RANGE)
        watched.want(configured(before.bgp))
        watched.heard(WEB, slice_of("web", HERE))
        assert file.save(watched.added_to(before))
        saved = SnapshotFile(tmp_path / "snapshot", node="a").load()
        assert saved is not None

        parts, again = Parts(), Watched()
        parts.complete, parts.away = False, 1.0
        again.seed(saved)
        node, _ = await agent(parts, services=again, saved=saved)
        await node.step()
        assert parts.told == []
        await asyncio.sleep(10)
        await node.step()
        assert services(parts.told[-1]) == {str(RANGE), str(ADDRESS)}
        again.heard(WEB, slice_of("web", THERE))
        await node.step()
        assert services(parts.told[-1]) == {str(RANGE)}

    run(test)


def test_a_drain_is_two_steps() -> None:
    """Asked to drain, the node says for a while that others are to be preferred, and then nothing; taken back, it is as before."""

    async def test() -> None:
        parts, watched = Parts(), Watched()
        calm = world(RANGE)
        own = calm.nodes["a"]
        asked = replace(own, meta=replace(own.meta, annotations={DRAIN: "now"}))
        parts.present = calm
        node, _ = await agent(parts, services=watched)
        watched.want(configured(calm.bgp))
        watched.heard()
        await node.step()
        assert parts.told[-1].announcements[RANGE].local_preference > 0
        parts.present = replace(calm, nodes={"a": asked})
        await node.step()
        told = parts.told[-1].announcements[RANGE]
        assert (told.local_preference, told.communities) == (0, ("65535:0",))
        assert not node.drained
        await asyncio.sleep(LEAVES_FOR)
        assert node.drained
        await node.step()
        assert not node.drained
        assert set(parts.told[-1].announcements) == {V4, V6}
        assert parts.firewall.rules.services == ()
        parts.present = calm
        await node.step()
        assert parts.told[-1].announcements[RANGE].communities == ()

    run(test)


async def test_the_exclusion_label_leaves_blocks_alone() -> None:
    """Services are withdrawn, blocks stay."""
    parts, watched = Parts(), Watched()
    calm = world(RANGE)
    own = calm.nodes["a"]
    parts.present = replace(calm, nodes={"a": replace(own, meta=replace(own.meta, labels={EXCLUDED: "true"}))})
    watched.want(configured(calm.bgp))
    watched.heard()
    node, _ = await agent(parts, services=watched)
    await node.step()
    assert set(parts.told[-1].announcements) == {V4, V6}


async def test_a_filter_that_cannot_be_set_is_a_condition() -> None:
    """Services are announced all the same; the condition goes when nft does its work again."""
    parts, watched = Parts(), Watched()
    parts.present = world(RANGE)
    watched.want(configured(parts.present.bgp))
    watched.heard()
    node, _ = await agent(parts, services=watched)
    parts.firewall.refusal = OSError(65, "the program nft is not installed")
    await node.step()
    assert services(parts.told[-1]) == {str(RANGE)}
    assert [str(one.reason) for one in node.warnings] == ["FilterRefused"]
    parts.firewall.refusal = None
    await node.step()
    assert node.warnings == ()


async def test_a_bad_object_leaves_what_it_said_last_in_force() -> None:
    """And it is named; one that was never good is as good as none."""
    watched = Watched()
    watched.want(configured(world(RANGE).bgp))
    watched.heard(WEB, slice_of("web", HERE))
    bad = {**slice_of("web", HERE), "endpoints": "none"}
    watched.upserted("EndpointSlice", bad)
    assert ADDRESS in watched.routes()
    assert [(one.kind, one.name) for one in watched.problems] == [("EndpointSlice", "apps/web-IPv4")]
    watched.upserted("EndpointSlice", slice_of("web", THERE))
    assert (ADDRESS in watched.routes(), watched.problems) == (False, [])


async def test_services_are_forgotten_when_none_is_announced() -> None:
    """And asked for anew when some are again."""
    watched = Watched()
    watched.want(configured(world(RANGE).bgp))
    watched.heard(WEB, slice_of("web", HERE))
    watched.want(configured(world().bgp))
    assert (dict(watched.routes()), watched.settled, watched.wanted.is_set()) == ({}, True, False)
    watched.want(configured(world(RANGE).bgp))
    assert (set(watched.routes()), watched.settled, watched.wanted.is_set()) == ({RANGE}, False, True)


async def test_a_folder_tells_of_services_when_asked(tmp_path: Path) -> None:
    """Manifests that were read before are told as well; those of a removed file go."""
    watched, store = Watched(), Store(("BGPConfiguration",))
    watched.want(configured(world(RANGE).bgp))
    (tmp_path / "web.yaml").write_text(json.dumps({**WEB, "apiVersion": "v1"}))
    (tmp_path / "slice.yaml").write_text(json.dumps({**slice_of("web", HERE), "apiVersion": "discovery.k8s.io/v1"}))
    folder = Directory(tmp_path, store, node="a")
    folder.scan()
    assert not watched.settled
    task = asyncio.create_task(folder.feed(watched))
    await asyncio.sleep(0)
    folder.scan()
    assert watched.settled
    assert ADDRESS in watched.routes()
    (tmp_path / "slice.yaml").unlink()
    folder.scan()
    assert ADDRESS not in watched.routes()
    task.cancel()
