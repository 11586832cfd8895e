"""Pods of one node on a bridge: the real agent and the CNI project's plugins, and a router that knows the node by BGP."""

import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from tests.names import in_memory, own
from tests.netns.agent.node import OneNode, announced, kernel, made_block, manifests
from towpath.lab import pods
from towpath.lab.netns import Host, Network
from towpath.lab.process import wait_for
from towpath.model.net import Address, Family

BRIDGE = "tp-br0"
BLOCKS = {"10.244.0.4/30": "v4", "10.244.0.8/30": "v4", "fd00:244::4/126": "v6", "fd00:244::8/126": "v6"}
"""Of IPv4 each has room for one pod beside the node's own address."""
MORE = {"10.244.0.16/30": "v4", "fd00:244::10/126": "v6"}
"""Those that a controller would claim when the others are full."""
PORTS = ({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},)
FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).status)"
SIZE = 1500
OTHERS = (("-A", "POSTROUTING", "-s", "192.0.2.0/24", "-j", "MASQUERADE"), ("-N", "CNI-HOSTPORT-OTHER"))
"""Of another program that translates: a chain of the same name that the plugin's rules hang on, and one with such a name."""


class Bridged(OneNode):
    """A node whose pods hang on a bridge."""

    def __init__(self, network: Network, root) -> None:
        super().__init__(network, root)
        self.count = 0
        self.before: list[str] = []
        """The kernel as it was."""

    def attach_by(self, *more: str, **attachment) -> None:
        """Both pools with an attachment, and a few small blocks."""
        objects = [one for one in manifests() if one["kind"] != "IPAMBlock"]
        for one in objects:
            if one["kind"] == "IPPool":
                one["spec"] |= {
                    "attachment": attachment,
                    "blockSize": 30 if one["spec"]["cidr"].startswith("10.") else 126,
                }
        for cidr, pool in {**BLOCKS, **{cidr: MORE[cidr] for cidr in more}}.items():
            objects.append(made_block(cidr, "a", pool))
        self.write(objects)

    def pod(self, **options) -> tuple[Host, pods.Pod]:
        """A new pod that has spoken: so its node forgets who had its addresses a moment ago."""
        self.count += 1
        host = self.node.network.host(f"p{self.count}", forwarding=False)
        pod = pods.add(self.node, host, folder=self.cni, **options)
        assert all(pods.ping(host, ip_address(address), wait=10) for address in ("10.0.0.1", "fd00::1"))
        return host, pod

    def leave(self, pod: tuple[Host, pods.Pod], **options) -> None:
        """Take a pod away."""
        pods.remove(self.node, pod[0], folder=self.cni, container=pod[1].container, **options)
        self.node.network.remove_host(pod[0].name)

    def reached(self, source: Host, *targets: Address | None) -> None:
        """Each answers, to packets as large as the network takes."""
        self.wait(lambda: all(reach(source, *targets)), f"{source.name} reaches {targets}")

    def wait(self, probe, what: str) -> None:
        """Wait, and show what the agent said if it does not come true."""
        try:
            wait_for(probe, deadline=40, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.node.ip('addr')}\n{self.conditions()}\n{self.agent.log}") from None


@pytest.fixture(scope="module")
def node() -> Iterator[Bridged]:
    """A node with an agent that runs, and a router that has its blocks."""
    prefix = own("tpatb")
    with in_memory(prefix) as root, Network(prefix) as network:
        made = Bridged(network, root)
        made.attach_by(type="bridge")
        for rule in OTHERS:
            made.node.run("iptables", "-t", "nat", *rule)
        made.node.sysctl(net__ipv4__ip_forward=1)
        wait_for(lambda: "tentative" not in made.node.ip("addr"), deadline=20, what="addresses that count")
        made.before = kernel(made.node)
        made.start()
        made.wait(lambda: BLOCKS.keys() <= announced(made.bird), "blocks at the router")
        made.wait(lambda: made.plugin().get("type") == "bridge", "the configuration")
        yield made


def reach(source: Host, *targets: Address | None, size: int | None = SIZE) -> list[bool]:
    """Whether each answers, to packets as large as the network takes."""
    return [target is not None and pods.ping(source, target, wait=3, size=size) for target in targets]


def both(pod: tuple[Host, pods.Pod]) -> tuple[Address | None, ...]:
    return tuple(pod[1].address(family) for family in Family)


def test_pods_of_several_blocks_reach_everything(node: Bridged) -> None:
    """Full-size packets pass between blocks, to the node and to the router, each way and in both families."""
    first, second = node.pod(), node.pod()
    assert [str(first[1].address(Family.IPV4)), str(second[1].address(Family.IPV4))] == ["10.244.0.6", "10.244.0.10"]
    hosts = (ip_address("10.0.0.1"), ip_address("fd00::1"), ip_address("10.0.0.254"), ip_address("fd00::254"))
    node.reached(first[0], *both(second), *hosts)
    node.reached(second[0], *both(first), *hosts)
    node.reached(node.router, *both(first), *both(second))
    node.reached(node.node, *both(first), *both(second))
    assert not any(reach(node.router, ip_address("10.244.0.200"), size=None))
    node.leave(first)
    node.leave(second)


def test_a_port_of_the_node_leads_to_a_pod(node: Bridged) -> None:
    """From outside, in both families, and from the pod itself."""
    host, pod = node.pod(ports=PORTS)
    script = "import http.server as h, socket\nclass S(h.ThreadingHTTPServer):\n  address_family = socket.AF_INET6\nS(('::', 80), h.SimpleHTTPRequestHandler).serve_forever()"
    server = host.process(sys.executable, "-c", script, log=node.root / "server.log")
    try:
        for source in (node.router, host):
            for address in ("10.0.0.1", "[fd00::1]"):
                url = f"http://{address}:8080/"
                node.wait(
                    lambda source=source, url=url: "200" in source.run(sys.executable, "-c", FETCH, url, check=False),
                    f"{url} from {source.name}",
                )
    finally:
        server.stop()
        node.leave((host, pod), ports=PORTS)


@pytest.mark.parametrize(
    "harm",
    [
        ("link", "del", BRIDGE),
        ("link", "set", BRIDGE, "down"),
        ("link", "set", BRIDGE, "mtu", "1300"),
        ("addr", "del", "10.244.0.5/30", "dev", BRIDGE),
        ("addr", "del", "fd00:244::5/126", "dev", BRIDGE),
        ("addr", "add", "10.244.0.200/24", "dev", BRIDGE),
    ],
    ids=" ".join,
)
def test_what_others_do_to_the_bridge_is_undone(node: Bridged, harm: tuple[str, ...]) -> None:
    """The device is made anew with its addresses, and pods that hung on it do so again."""
    pod = node.pod()
    node.wait(
        lambda: "towpath" in node.node.ip("-d", "link", "show", "master", BRIDGE),
        "the pod's cable says where it belongs",
    )
    node.node.ip(*harm)
    # a small packet each: what the router learned of the way while that was narrow it believes for minutes
    node.wait(lambda: all(reach(node.router, *both(pod), size=None)), "the pod is reached again")
    node.wait(lambda: all(reach(node.node, *both(pod), size=None)), "the pod is reached from its node")
    gateways = {"10.244.0.5/30", "10.244.0.9/30", "fd00:244::5/126", "fd00:244::9/126"}
    node.wait(lambda: (state(node.node), mtu(node.node)) == (gateways, SIZE), "its addresses and its MTU")
    node.leave(pod)


def state(host: Host) -> set[str]:
    """The addresses of the bridge but for the kernel's own."""
    (device,) = host.ip_json("addr", "show", BRIDGE)
    found = ((one["local"], one["prefixlen"]) for one in device["addr_info"] if one["scope"] == "global")
    return {f"{address}/{length}" for address, length in found}


def mtu(host: Host) -> int:
    """That of the bridge."""
    (device,) = host.ip_json("link", "show", BRIDGE)
    return int(device["mtu"])


def test_a_pool_that_changes_its_attachment(node: Bridged) -> None:
    """New pods are attached in the new way, in blocks without old ones; old pods keep what they have, and all reach all."""
    first, second = node.pod(), node.pod()
    lived_in = {str(address) for pod in (first, second) for address in both(pod)}
    node.attach_by(type="ptp")
    node.wait(
        lambda: "AttachmentPending" in {one["reason"] for one in node.status().get("refusals", ())},
        "there is no free block",
    )
    assert node.plugin()["type"] == "bridge"
    full = {cidr: any(ip_address(one) in ip_network(cidr) for one in lived_in) for cidr in BLOCKS}
    node.wait(
        lambda: {block["cidr"]: block["inUse"] == block["capacity"] for block in node.status()["blocks"]} == full,
        "of blocks with pods on the bridge nothing is free, whoever counts",
    )
    node.attach_by(*MORE, type="ptp")
    node.wait(lambda: node.plugin()["type"] == "ptp", "the other attachment")
    new = node.pod()
    for source in (node.router, node.node, first[0], second[0], new[0]):
        node.reached(source, *both(first), *both(second), *both(new))
    node.leave(first)
    node.attach_by(*MORE, type="bridge")
    node.wait(lambda: node.plugin()["type"] == "bridge", "back again")
    newest = node.pod()
    for source in (node.router, node.node, second[0], new[0], newest[0]):
        node.reached(source, *both(second), *both(new), *both(newest))
    node.attach_by(*MORE, type="ptp")
    node.leave(second)
    node.leave(newest)
    node.wait(lambda: BRIDGE not in node.node.ip("link"), "the bridge goes with its last pod")
    node.reached(node.router, *both(new))
    node.leave(new)
    node.attach_by(type="bridge")
    node.wait(lambda: node.plugin()["type"] == "bridge", "the bridge again")


def test_larger_packets_than_the_devices_take_are_refused(node: Bridged) -> None:
    """The plugin would take any MTU: pods get what the devices take, and the pool says so."""
    node.attach_by(type="bridge", mtu=9000)
    node.wait(lambda: any(one["reason"] == "AttachmentMTU" for one in node.status().get("refusals", ())), "the refusal")
    (said,) = (one for one in node.status()["refusals"] if one["reason"] == "AttachmentMTU")
    assert (said["kind"], said["name"], said["field"]) == ("IPPool", "v4", "spec.attachment.mtu")
    assert node.plugin()["mtu"] == 1500
    node.attach_by(type="bridge", mtu=1400)
    node.wait(lambda: node.plugin()["mtu"] == 1400, "a smaller one")
    pod = node.pod()
    node.wait(lambda: reach(pod[0], ip_address("10.0.0.254"), size=1400) == [True], "as large as it may be")
    assert reach(pod[0], ip_address("10.0.0.254")) == [False]
    node.leave(pod)


def test_cleanup_leaves_the_node_as_it_was(node: Bridged) -> None:
    """As the last of these tests: links, addresses, routes and packet filters are those from before, others' included."""
    assert "CNI-HOSTPORT-DNAT" in node.node.run("nft", "list", "ruleset"), "a port led to a pod a while ago"
    node.clean_up()
    assert list(node.cni.iterdir()) == []
    assert kernel(node.node) == node.before
