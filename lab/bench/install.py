"""``helm install`` on a real cluster of three nodes, and one more node of a running one: how long until packets arrive.

Real kubelets, containerds and kube-proxies on this machine; the image is on the nodes before. Pods wait for the network from
the start, so nothing but towpath and what it makes others do is in the figures.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from towpath.lab import facts
from towpath.lab.bench.result import Result, alone
from towpath.lab.cluster import release
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.images import BUSYBOX
from towpath.lab.cluster.release import Release
from towpath.lab.cluster.shape import Shape
from towpath.lab.probe import both_ways, unreached
from towpath.lab.process import wait_for
from towpath.lab.shape import Shape as LabShape
from towpath.lab.topology import Lab

PREFIX = f"tpinstall{os.getpid()}"
"""Apart from other benchmarks: one that begins takes away what carries its prefix."""
NODES = 3
_OFTEN = 0.02
"""Seconds between two looks."""


def install() -> Iterator[Result]:
    """Seconds from ``helm install`` to all nodes Ready and to a first packet; from a Node object to everybody's packet."""
    image = release.image()
    with Cluster(PREFIX, Shape(nodes=NODES)) as cluster:
        cluster.up()
        cluster.load_image(image)
        cluster.apply(_pods())
        yield from _install(Release(cluster))
    with Lab(PREFIX, LabShape(nodes=NODES)) as lab:
        yield _join(lab.up())


def _install(made: Release) -> Iterator[Result]:
    cluster = made.cluster
    began = time.monotonic()
    made.install()
    _wait_ready(cluster, "nodes", "--all")
    ready = time.monotonic() - began
    _wait_ready(cluster, "pods", "--selector=app=bench")
    pods = cluster.pods("app=bench")
    yield alone(f"helm install, until {NODES} nodes are Ready", ours=ready, unit="s")
    with ExitStack() as stack:
        ends = []
        for pod in pods:
            name = f"pod-{pod['spec']['nodeName']}"
            stack.enter_context(cluster.attached(pod, name))
            ends.append((name, list(cluster.addresses(pod).values())))
        flows = both_ways(ends)
        wait_for(lambda: not unreached(cluster.network, flows), deadline=60, what="a packet on every path")
    packet = time.monotonic() - began
    yield alone("helm install, until pods of all nodes reach each other", ours=packet, unit="s")


def _wait_ready(cluster: Cluster, *which: str) -> None:
    """One watch, not a look after the other: what looks takes processor time from what is measured."""
    cluster.kubectl("wait", "--for=condition=Ready", "--timeout=180s", *which, timeout=200)


def _pods() -> dict[str, Any]:
    """A pod on every node."""
    labels = {"app": "bench"}
    container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "1000000"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "bench", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                },
            },
        },
    }


def _join(lab: Lab) -> Result:
    facts.wait_converged(lab)
    facts.wait_ready(lab)
    for name in lab.nodes:
        lab.add_pod(name)
    facts.wait_reachable(lab)
    new = f"node{NODES + 1}"
    lab.plug_in(new)
    began = time.monotonic()
    lab.register(new)
    wait_for(lambda: facts.ready(lab, new), deadline=60, what="it may have pods", interval=_OFTEN)
    lab.add_pod(new)
    flows = facts.flows(lab)
    wait_for(lambda: not unreached(lab.network, flows), deadline=60, what="a packet on every path", interval=_OFTEN)
    return alone(f"one more of {NODES} nodes, until all reach its pod", ours=time.monotonic() - began, unit="s")
