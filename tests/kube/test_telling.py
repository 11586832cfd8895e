"""What an operator sees with kubectl of what the controller and the agents say."""

import asyncio
import os
import re
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from msgspec.structs import replace

from tests.leading import AlwaysLeading
from tests.patience import within
from towpath.controller import cluster
from towpath.controller.kube.connect import connect
from towpath.controller.kube.events import Events, Subject
from towpath.controller.reports import reported
from towpath.controller.service_ranges import ServiceRanges
from towpath.controller.store import Store
from towpath.lab import objects, tools
from towpath.lab.api import custom
from towpath.lab.kubernetes import RealKubernetes
from towpath.model.codec import to_builtins
from towpath.model.kinds.node import NodeStatusStatus, SessionReport
from towpath.model.reason import Reason, Refusal, Why

PASSWORD = Why("BGPPeer", "tor", "spec.password")


@pytest.fixture(scope="module")
def kubernetes() -> Iterator[RealKubernetes]:
    with RealKubernetes() as made:
        made.install_crds()
        yield made


def described(kubernetes: RealKubernetes, *what: str) -> str:
    """What kubectl describe prints."""
    cache = str(kubernetes.place.folder / "kubectl")
    command = [
        str(tools.kubectl()),
        "--kubeconfig",
        str(kubernetes.kubeconfig),
        "--cache-dir",
        cache,
        "describe",
        *what,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env={**os.environ}).stdout


async def test_describe_shows_what_is_wrong_with_an_object(kubernetes: RealKubernetes) -> None:
    """An overlapping pool has its condition and its event, once, with the controller as its source."""
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        for name in ("one", "two"):
            await api.create("IPPool", custom("IPPool", name, {"cidr": "10.0.0.0/16"}))
        store = Store(cluster.KINDS)
        for kind in store.kinds:
            page = await api.list(kind)
            store.listed(kind, page.items, version=page.resource_version)
        controller = cluster.ClusterController(api, store, lease=AlwaysLeading())
        for _ in range(3):
            await controller.step()
    losers = [one for one in ("one", "two") if "OverlappingPool" in described(kubernetes, "ippool", one)]
    assert len(losers) == 1
    events = described(kubernetes, "ippool", losers[0]).partition("Events:")[2]
    assert (
        len(re.findall(r"Warning +OverlappingPool .*towpath-controller +spec.cidr 10.0.0.0/16 overlaps", events)) == 1
    )


async def test_describe_shows_that_others_have_addresses_in_a_pool(kubernetes: RealKubernetes) -> None:
    """The service range as the server's own ServiceCIDR says it, and the addresses of nodes: one message that names each."""
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        await api.create("IPPool", custom("IPPool", "wide", {"cidr": "10.96.0.0/14"}))
        await api.create("Node", objects.node("inside", (IPv4Address("10.97.0.7"),), rack="a"))
        store = Store(cluster.KINDS)
        controller = cluster.ClusterController(api, store, lease=AlwaysLeading())
        async with within(60):
            ranges = ServiceRanges(api, known=store.service_ranges)
            while not store.cluster().service_ranges:  # the server makes the object some seconds after its start
                await ranges.refresh()
                await asyncio.sleep(0.1)
        for _ in range(3):
            for kind in store.kinds:
                page = await api.list(kind)
                store.listed(kind, page.items, version=page.resource_version)
            await controller.step()
        await api.delete("Node", "inside")
    text, events = described(kubernetes, "ippool", "wide").split("Events:")
    said = re.search(r"Message: +(spec.cidr: .*)\n +Observed Generation.*\n +Reason: .*\n +Status: +False", text)
    assert said is not None, text
    assert "10.96.0.0/14 contains 10.97.0.7 of Node/inside" in said[1]
    assert "10.96.0.0/14 overlaps the service range 10.96.0.0/16: no block is cut there" in said[1]
    assert re.search(r"Type: +Disjoint\n", text)
    for reason in ("NodeAddress", "ServiceRangeConflict"):
        assert re.search(rf"Warning +{reason} ", events), events


async def test_describe_shows_what_nodes_say_of_a_peer(kubernetes: RealKubernetes) -> None:
    """A Secret that a node does not find, with field and node; a peer that is not run because of another; a session lost."""
    nodes = ("first", "second")
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        for number, name in enumerate(nodes, 1):
            await api.create("Node", objects.node(name, (IPv4Address(f"192.0.2.{number}"),), rack="a"))
        tor = {"peerIP": "192.0.2.254", "asNumber": 65000, "password": {"secretKeyRef": {"name": "s", "key": "k"}}}
        for name in ("tor", "tor-again"):
            await api.create("BGPPeer", custom("BGPPeer", name, tor))
        store = Store(cluster.KINDS)
        controller = cluster.ClusterController(api, store, lease=AlwaysLeading())

        async def step() -> None:
            for kind in store.kinds:
                page = await api.list(kind)
                store.listed(kind, page.items, version=page.resource_version)
            await controller.step()

        async def report(node: str, **session: Any) -> None:
            whole = SessionReport(
                name="Global-192-0-2-254", peer="192.0.2.254", remote_as=65000, state="Idle", bgp_peer="tor"
            )
            status = NodeStatusStatus(
                node_uid=(await api.get("Node", node))["metadata"]["uid"],
                reported_at="2026-01-01T00:00:00Z",
                sessions=(replace(whole, **session),),
                refusals=reported([Refusal(Reason.SECRET_MISSING, "Secret s does not exist", PASSWORD)]),
            )
            await api.patch_status("NodeStatus", node, {"status": to_builtins(status)})

        await step()
        for node in nodes:
            await api.create("NodeStatus", custom("NodeStatus", node, {}))
            await report(node)
        await step()
        for node in nodes:
            await report(node, lost=1, reason="the hold timer expired")
        await step()
    text, events = described(kubernetes, "bgppeer", "tor").split("Events:")
    assert re.search(r"Message: +spec.password: Secret s does not exist \(first, second\)\n", text), text
    assert re.search(r"Reason: +SecretMissing\n +Status: +False\n +Type: +ResolvedRefs\n", text), text
    assert re.search(r"Warning +SecretMissing .*towpath-controller +spec.password Secret s does not exist\n", events)
    lost = "lost the session with 192.0.2.254 on first, second: the hold timer expired"
    assert re.search(rf"Warning +SessionLost .*towpath-controller +{lost}\n", events), events
    text, events = described(kubernetes, "bgppeer", "tor-again").split("Events:")
    assert re.search(r"Reason: +DuplicatePeer\n +Status: +False\n +Type: +Consistent\n", text), text
    assert "already asked for by BGPPeer tor" in events


async def test_describe_shows_what_an_agent_says_of_its_node(kubernetes: RealKubernetes) -> None:
    """An event about a Node is shown with it, and its count where it was said again."""
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        node = await api.create("Node", {"metadata": {"name": "n1"}})
        now = [1000.0]
        events = Events(api, component="towpath-agent", host="n1", clock=lambda: now[0])
        subject = Subject("Node", "n1", node["metadata"]["uid"], api_version="v1")
        for _ in range(4):
            events.emit(subject, reason="MaxPrefix", message="peer tor")
            await events.flush()
            now[0] += 61
    text = described(kubernetes, "node", "n1").partition("Events:")[2]
    assert re.search(r"Warning +MaxPrefix +\S+ \(x4 over \S+\) +towpath-agent +peer tor", text), text


async def test_describe_shows_what_a_node_says_of_its_own_pods(kubernetes: RealKubernetes) -> None:
    """That one has another address than it asks for, once; of a pod that is elsewhere, or not there, nobody is told anything."""
    said = "asks for 10.244.0.9 and has 10.244.0.7"
    async with await connect(kubeconfig=kubernetes.kubeconfig) as api:
        account = {"metadata": {"name": "default"}}
        kubernetes.request("POST", "/api/v1/namespaces/default/serviceaccounts", body=account)
        node = await api.create("Node", objects.node("n4", (IPv4Address("192.0.2.4"),), rack="a"))
        for name, where in (("mine", "n4"), ("elsewhere", "n5")):
            spec = {"nodeName": where, "containers": [{"name": "main", "image": "x"}]}
            await api.create("Pod", {"metadata": {"name": name}, "spec": spec}, namespace="default")
        store = Store(cluster.KINDS)
        controller = cluster.ClusterController(api, store, lease=AlwaysLeading())
        pods = ("default/mine", "default/elsewhere", "default/lost")
        status = NodeStatusStatus(
            node_uid=node["metadata"]["uid"],
            reported_at="2026-01-01T00:00:00Z",
            refusals=reported([Refusal(Reason.ADDRESS_DIFFERS, said, Why("Pod", name, "f")) for name in pods]),
        )
        await api.create("NodeStatus", custom("NodeStatus", "n4", {}))
        await api.patch_status("NodeStatus", "n4", {"status": to_builtins(status)})
        for _ in range(3):
            for kind in store.kinds:
                page = await api.list(kind)
                store.listed(kind, page.items, version=page.resource_version)
            await controller.step()
        events = [one for one in (await api.list("Event", namespace="default")).items if said in one["message"]]
    assert [one["involvedObject"]["name"] for one in events] == ["mine"]
    text = described(kubernetes, "pod", "mine").partition("Events:")[2]
    assert len(re.findall(rf"Warning +AddressDiffers .*towpath-controller +f {said}\n", text)) == 1, text
