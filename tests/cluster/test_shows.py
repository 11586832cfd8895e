"""What ``kubectl get`` and ``kubectl describe`` show an operator."""

import json
from collections.abc import Iterator

import pytest

from tests.cluster import hand
from tests.cluster.hand import start_pod
from towpath.lab.addressing import PODS
from towpath.lab.cluster.cluster import Cluster
from towpath.lab.cluster.console import OURS
from towpath.lab.cluster.release import Release
from towpath.lab.process import wait_for
from towpath.model.kinds.kind import API_VERSION
from towpath.model.kinds.registry import KINDS
from towpath.model.net import Family

WRONG = "shown-wrong"
"""The name of what is wrong on purpose."""


def created(kind: str, name: str, **spec: object) -> dict[str, object]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def shown(installed: Release) -> Iterator[Cluster]:
    """With at least one object of every kind, and two that are wrong."""
    made = installed.cluster
    own = (
        ("pod", "explained"),
        ("bgpfilter", "shown"),
        ("ipreservation", "shown"),
        ("addressclaim", "203-0-113-77"),
        ("ipamconfiguration", "default"),
        ("ippool", WRONG),
        ("bgppeer", WRONG),
    )
    try:
        made.apply(
            created("BGPFilter", "shown"),
            created("IPReservation", "shown", reservedCIDRs=["203.0.113.0/30"]),
            created("AddressClaim", "203-0-113-77", address="203.0.113.77"),
            created("IPAMConfiguration", "default"),
            created("IPPool", WRONG, cidr=str(next(PODS[Family.IPV4].subnets()))),
            created(
                "BGPPeer",
                WRONG,
                peerIP="198.51.100.250",
                asNumber=65009,
                node="node1",
                password={"secretKeyRef": {"name": "nowhere", "key": "password"}},
            ),
        )
        yield made
    finally:
        for kind, name in own:
            made.kubectl("delete", kind, name, "--ignore-not-found")
        installed.wait()


def table(text: str) -> tuple[list[str], list[str]]:
    head, *rows = text.splitlines()
    return head.split(), rows


def columns(*, wide: bool) -> dict[str, list[str]]:
    """What each kind's table has above it, by the kind's name in the rows of several tables."""
    return {
        f"{kind.singular}.towpath.io": ["NAME", *(one.name.upper() for one in kind.columns if wide or not one.priority)]
        for kind in KINDS.values()
    }


def heads(text: str) -> dict[str, list[str]]:
    """The same of what kubectl printed; a kind without any object prints nothing."""
    tables = [table(one) for one in text.strip().split("\n\n")]
    return {rows[0].partition("/")[0]: head for head, rows in tables}


def test_get_shows_the_columns_of_every_kind(shown: Cluster) -> None:
    """By plural and short names, and more of them with ``-o wide``."""
    plurals = [kind.plural for kind in KINDS.values()]
    short = [name for kind in KINDS.values() for name in kind.short_names]
    assert heads(shown.kubectl("get", ",".join(plurals))) == columns(wide=False)
    assert heads(shown.kubectl("get", ",".join(plurals), "-o", "wide")) == columns(wide=True)
    assert heads(shown.kubectl("get", ",".join(short))) == columns(wide=False)


def test_get_towpath_shows_everything(shown: Cluster) -> None:
    """Every kind is in the category."""
    names = shown.kubectl("get", "towpath", "-o", "name").split()
    assert {name.split(".")[0] for name in names} == {kind.singular for kind in KINDS.values()}


def test_get_tells_who_is_well(shown: Cluster) -> None:
    """Whose each block is and in which state, which nodes are in sync with all sessions up, what is accepted."""
    _, rows = table(shown.kubectl("get", "ipamblocks", "--no-headers=false"))
    states = {row.split()[1]: row.split()[2:5] for row in rows}
    mine = {cidr: words for cidr, words in states.items() if words[0] in shown.nodes and words[1] == "Active"}
    assert len(mine) == len(shown.nodes) * len(Family)
    assert {words[2] for words in mine.values()} == {"default-ipv4", "default-ipv6"}

    def accepted() -> dict[str, str]:
        _, rows = table(shown.kubectl("get", "ippools"))
        return {row.split()[0]: row.split()[-2] for row in rows}

    said = {"default-ipv4": "True", "default-ipv6": "True", WRONG: "False"}
    wait_for(lambda: accepted() == said, deadline=60, what="the pools' conditions", interval=0.5)

    def told() -> list[str]:
        _, rows = table(shown.kubectl("get", "nodestatuses", "node2"))
        return rows[0].split()[:4]

    wait_for(lambda: told() == ["node2", "True", "true", "True"], deadline=60, what="node2 is well", interval=0.5)


def test_a_pod_is_explained_from_inside_an_agents_container(shown: Cluster) -> None:
    """With the agent's own account: pool, block and owner; and what this node's speaker and kernel have of it."""
    pod = start_pod(shown, hand.pod("explained", node="node2"))
    agents = json.loads(
        shown.kubectl("get", "pods", "-n", OURS, "-l", "app.kubernetes.io/component=node", "-o", "json")
    )
    agent = next(one["metadata"]["name"] for one in agents["items"] if one["spec"]["nodeName"] == "node1")
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    asked = ("towpath", "explain", name, "--here", "-o", "json")
    found = json.loads(shown.kubectl("exec", "-n", OURS, agent, "-c", "agent", "--", *asked))
    assert len(found["addresses"]) == len(Family)
    for one in found["addresses"]:
        assert one["block"]["node"] == "node2"
        assert [each["reason"] for each in one["used"] if each["node"] == "node1"] == ["OriginValid"]
        assert "OriginValid" in {each["reason"] for each in one["here"]["heard"]}
        assert [each["ours"] for each in one["here"]["kernel"]] == [True]


def test_describe_shows_events(shown: Cluster) -> None:
    """On the object that is wrong, by the controller; on the node where something is missing, by its agent."""

    def events(*what: str) -> str:
        return shown.kubectl("describe", *what).partition("Events:")[2]

    wait_for(
        lambda: "OverlappingPool" in events("ippool", WRONG),
        deadline=60,
        what="the pool's events say that it overlaps",
        interval=0.5,
    )
    assert "towpath-controller" in events("ippool", WRONG)
    wait_for(
        lambda: "SecretMissing" in events("node", "node1"),
        deadline=60,
        what="the node's events say that a Secret is missing",
        interval=0.5,
    )
    said = next(line for line in events("node", "node1").splitlines() if "SecretMissing" in line)
    assert f"BGPPeer/{WRONG}" in said
    assert "Secret nowhere does not exist" in said
    assert "towpath-agent" in said
    wait_for(
        lambda: "SecretMissing" in shown.kubectl("describe", "nodestatus", "node1"),
        deadline=60,
        what="the node's status says so as well",
        interval=0.5,
    )
    wait_for(
        lambda: "SecretMissing" in events("bgppeer", WRONG),
        deadline=60,
        what="the peer's events say so too",
        interval=0.5,
    )
    wait_for(
        lambda: "spec.password: Secret nowhere does not exist" in shown.kubectl("describe", "bgppeer", WRONG),
        deadline=60,
        what="and its condition",
        interval=0.5,
    )
