"""Good and bad objects of every kind: one table for our decoder, the real API server and the embedded one.

``field`` None: a good object. ``only`` says where a bad one is refused when the other side cannot tell.
"""

from typing import Any, Literal, NamedTuple


class Case(NamedTuple):
    kind: str
    name: str
    spec: dict[str, Any] | None
    field: str | None = None
    only: Literal["both", "decode", "api"] = "both"
    before: dict[str, Any] | None = None
    """The spec that the object has first, where the case is about a change."""

    @property
    def id(self) -> str:
        return f"{self.kind}/{self.name}-{self.field or 'good'}-{self.spec}"[:120]


def _peer(field: str | None = None, only: Literal["both", "decode", "api"] = "both", **spec: Any) -> Case:
    """A BGPPeer that is good but for what is given."""
    whole = {"peerIP": "10.0.0.254", "asNumber": 65000} | spec
    return Case("BGPPeer", "peer", {key: value for key, value in whole.items() if value is not ...}, field, only)


def _config(field: str | None = None, name: str = "default", **spec: Any) -> Case:
    return Case("BGPConfiguration", name, spec, field)


def _pool(field: str | None = None, cidr: Any = "10.244.0.0/16", **spec: Any) -> Case:
    return Case("IPPool", "pool", {"cidr": cidr, **spec}, field)


_MACVLAN = {"type": "macvlan", "master": "eth0", "mode": "bridge", "gateway": "10.0.0.1"}
_IPVLAN = {"type": "ipvlan", "master": "eth0", "mode": "l3"}
_EDGE = {"type": "macvlan", "master": "eth1", "mode": "private", "primary": False}
"""A network beside that of all pods."""


def _without(field: str) -> dict[str, str]:
    return {name: value for name, value in _MACVLAN.items() if name != field}


def _of(attachment: dict[str, Any] | None) -> dict[str, Any]:
    return {"cidr": "10.244.0.0/16"} if attachment is None else {"cidr": "10.244.0.0/16", "attachment": attachment}


def _block(name: str, cidr: Any, field: str | None = None, **spec: Any) -> Case:
    return Case("IPAMBlock", name, {"cidr": cidr, "node": "node-1", **spec}, field)


def _ipam(field: str | None = None, name: str = "default", **spec: Any) -> Case:
    return Case("IPAMConfiguration", name, spec, field)


def _pool_for_services(field: str | None = None, cidr: str = "198.51.100.0/24", **spec: Any) -> Case:
    return Case("IPPool", "pool", {"cidr": cidr, "allowedUses": ["LoadBalancer"], **spec}, field)


def _claim(field: str | None = None, name: str = "198-51-100-7", address: Any = "198.51.100.7", **spec: Any) -> Case:
    return Case("AddressClaim", name, {"address": address, **spec}, field)


def _reservation(*cidrs: Any, field: str | None = None) -> Case:
    return Case("IPReservation", "kept", {"reservedCIDRs": list(cidrs)}, field)


def _node(field: str | None = None, **bgp: Any) -> Case:
    return Case("RoutingNode", "node-1", {"bgp": bgp}, field)


def _filter(
    field: str | None = None, direction: str = "importV4", only: Literal["both", "decode", "api"] = "both", **rule: Any
) -> Case:
    """A BGPFilter of one rule that accepts."""
    whole = {"action": "Accept"} | rule
    return Case(
        "BGPFilter",
        "filter",
        {direction: [{key: value for key, value in whole.items() if value is not ...}]},
        field,
        only,
    )


_PASSWORD = {"secretKeyRef": {"name": "tor", "key": "password"}}

GOOD = (
    _reservation("10.244.0.0/28", "fd00:10:244::5/128", "10.0.0.0/8"),
    Case("IPReservation", "kept", None),
    _claim(
        pool="lb",
        services=[
            {
                "service": "shop/web",
                "uid": "u",
                "resourceVersion": "7",
                "ports": ["TCP/80"],
                "sharingKey": "k",
                "endpoints": "x",
            }
        ],
    ),
    _claim(name="2001-db8--7", address="2001:db8::7"),
    _pool_for_services(
        serviceSelector="app == 'web'",
        namespaceSelector="team == 'a'",
        nodeSelector="all()",
        natOutgoing=True,
        blockSize=26,
    ),
    _pool_for_services(assignmentMode="Manual"),
    _pool_for_services(cidr="198.51.100.0/32"),
    _pool_for_services(cidr="2001:db8::/128"),
    _pool(allowedUses=["Workload"]),
    _pool(allowedUses=["Workload", "Tunnel"], vxlanMode="Always", namespaceSelector="all()", serviceSelector=""),
    _config(),
    Case("BGPConfiguration", "default", None),
    _config(asNumber=4200000000, listenPort=1179, bindMode="NodeIP", routerID="hash", nodeMeshPassword=_PASSWORD),
    _config(asNumber="64512", routerID="10.0.0.1", timers={"holdTime": "0s"}, multipath={"maximumPaths": 1}),
    _config(asNumber="1.2", timers={"holdTime": "3s", "keepaliveTime": "1s", "connectRetryTime": "1m"}),
    _config(gracefulRestart={"enabled": False}, clusterRoutes="Kubernetes", ignoredInterfaces=["docker*"]),
    _config(name="node.node-1", listenPort=1790, asNumber=65001, timers={"holdTime": "1m30s"}, routerID="10.9.9.9"),
    _config(nodeMeshMaxRestartTime="1h8m15s", kernelMetric=4294967294, maxPrefixes={"limit": 10, "action": "Reset"}),
    _peer(),
    _peer(peerIP="10.0.0.254:1790", node="node-1", password=_PASSWORD, passive=True, sourceAddress="None"),
    _peer(peerIP="[fd00::1]:1790", nodeSelector="rack == 'a' && has(ssd)", importPolicy="All"),
    _peer(peerIP="fd00::1", keepaliveTime="10s", maxRestartTime="4095s", localASNumber=65001, description="ToR"),
    _peer(peerIP=..., asNumber=..., peerSelector="role in (reflector),!old", reversePeering="Manual"),
    _peer(asNumber="65000.1"),
    *(_peer(peerIP=text) for text in ("22.40.0.1", "100.0.0.0:1", "[ff::1]:179", "::1:0")),
    _peer(filters=["a", "b"], advertise="Cluster", nextHopMode="Self", importPolicy="None"),
    _peer(keepOriginalNextHop=True, advertise="All"),
    _peer(
        numAllowedLocalASNumbers=0,
        ebgpMultihop=64,
        reachableBy="10.0.0.1",
        shutdown={"message": "maintenance until noon"},
    ),
    _peer(peerIP="[fd00::1]:1790", ttlSecurity=1, reachableBy="fd00::2", shutdown={}),
    _config(shutdown=True, advertiseNodeAddresses=True),
    _peer(addressFamilies=["ipv6", "ipv4"]),
    _peer(role="RS-Client", strictRole=True),
    _peer(peerIP=..., peerFrom={"defaultGateway": True}, passive=False),
    _peer(peerIP=..., localWorkloadSelector="app == 'router'", filters=["a"]),
    _config(localWorkloadPeeringIPV4="169.254.0.179", localWorkloadPeeringIPV6="fd12::1"),
    _config(name="node.node-1", localWorkloadPeeringIPV4="192.0.2.179"),
    _peer(peerIP=..., peerFrom={"interface": "eth0.100"}, ttlSecurity=1),
    _config(unnumbered={"enabled": True}),
    _config(meshAdvertise="All", communities=[{"name": "rack-1", "value": "65000:1"}, {"name": "x", "value": "1:2:3"}]),
    _config(
        name="node.node-1",
        prefixAdvertisements=[{"cidr": "10.0.0.0/8", "communities": ["rack-1", "no-export", "64512:4294967295:0"]}],
    ),
    _config(
        serviceClusterIPs=[{"cidr": "10.96.0.0/16"}, {"cidr": "fd00:10:96::/112"}, {}],
        serviceExternalIPs=[{"cidr": "192.0.2.1/32"}],
        serviceLoadBalancerIPs=[{"cidr": "198.51.100.0/24"}],
        serviceLoadBalancerAggregation="Disabled",
    ),
    Case("BGPFilter", "filter", {}),
    Case("BGPFilter", "filter", None),
    _filter(),
    _filter(action="Reject", peerType="eBGP", source="RemotePeers", interface="eth*"),
    _filter(cidr="10.0.0.0/8", matchOperator="In", prefixLength={"min": 16, "max": 24}),
    _filter(cidr="0.0.0.0/0", matchOperator="Equal", prefixLength={}),
    _filter(direction="exportV6", cidr="fd00::/8", matchOperator="NotIn", prefixLength={"min": 128}),
    *(
        _filter(communities={"values": [text]})
        for text in ("65535:65535", "0:0", "4294967295:0:1", "no-export", "GRACEFUL_SHUTDOWN")
    ),
    _filter(asPathPrefix=[65000, "65000.1", "4200000000"], priority=2147483646),
    _filter(
        direction="exportV4",
        operations=[
            {"addCommunity": {"value": "65000:1"}},
            {"removeCommunity": {"value": "65000:1:2"}},
            {"prependASPath": {"prefix": [65000, 65000]}},
            {"setPriority": {"value": 512}},
            {"setLocalPref": {"value": 4294967295}},
            {"setMED": {"value": 0}},
        ],
    ),
    Case("BGPFilter", "filter", {"exportV4": [{"action": "Reject"}] * 200}),
    _pool(disableBGPExport=True),
    _pool(natOutgoing=True),
    _pool(),
    _pool(namespaceSelector="team == 'a'", assignmentMode="Manual"),
    _pool(namespaceSelector="all()", assignmentMode="Automatic"),
    _pool(attachment=_EDGE, assignmentMode="Automatic"),
    _pool(attachment=_MACVLAN),
    _pool(attachment=_IPVLAN),
    _pool(attachment={**_IPVLAN, "mode": "l3s", "mtu": 1400}),
    _pool(attachment={**_IPVLAN, "primary": False}),
    _pool(attachment={**_MACVLAN, "primary": False}),
    _pool(attachment={**_EDGE, "gateway": "10.9.0.254"}),
    _pool(attachment={**_EDGE, "mode": "passthru"}),
    _pool(attachment={**_EDGE, "mode": "vepa"}),
    _pool(attachment={**_EDGE, "mode": "vepa", "hairpin": True}),
    _pool(attachment={**_EDGE, "type": "ipvlan", "mode": "l2"}),
    _pool(attachment={"type": "bridge", "primary": True}),
    Case("IPPool", "e" * 200, {"cidr": "10.244.0.0/16", "attachment": _EDGE}, None),
    _pool(attachment={**_MACVLAN, "type": "ipvlan", "mode": "l2"}),
    _pool(attachment={**_MACVLAN, "mode": "vepa", "hairpin": True}),
    _pool(cidr="fd00::/64", attachment={**_MACVLAN, "gateway": "fd00:1::1", "mtu": 1400}),
    _pool(cidr="fd00:244::/48", blockSize=122, nodeSelector="rack=a", disabled=True),
    _pool(cidr="10.244.0.0/20", blockSize=20),
    _pool(cidr="10.244.0.0/32", blockSize=32),
    _pool(cidr="fd00::/116", blockSize=128),
    _pool(vxlanMode="CrossSubnet", vxlan={"vni": 16777215, "port": 8472}),
    _pool(cidr="fd00::/116", blockSize=127, vxlanMode="Always", vxlan={}),
    _pool(vxlanMode="Always", vxlan={"discovery": "Multicast", "group": "239.1.1.1", "device": "eth1.7"}),
    _pool(vxlan={"discovery": "Multicast", "group": "224.0.1.0"}),
    _pool(vxlan={"discovery": "Multicast", "group": "224.1.0.1"}),
    _pool(vxlanMode="Always", vxlan={"discovery": "Multicast", "group": "FF05::4096"}),
    _pool(vxlan={"discovery": "ControlPlane"}),
    _pool(cidr="10.244.0.0/24", blockSize=32, vxlanMode="Never", ipipMode="Never"),
    _pool(ipipMode="Always"),
    _pool(ipipMode="CrossSubnet", vxlanMode="Never", blockSize=31),
    _pool(cidr="fd00::/116", blockSize=128, ipipMode="Never"),
    _ipam(),
    Case("IPAMConfiguration", "default", None),
    _ipam(maxBlocksPerHost=3, growAtPercent=100, minFreeAddresses=0, quarantine="1h", autoAllocateBlocks=False),
    _ipam(quarantine="0s"),
    _ipam(blockSource="PodCIDRs", strictAffinity=False),
    _ipam(assignPodCIDRs=True, blockSource="Towpath"),
    _block("10-244-3-0-26", "10.244.3.0/26"),
    _block("fd00-244--40-122", "fd00:244::40/122", state="Draining", nodeUID="a-b", machineID="m", pool="pool"),
    _node(),
    _node(asNumber=65001, routerID="10.0.0.1", ipv4Address="10.0.0.1/24", ipv6Address="fd00::1"),
    _node(routeReflectorClusterID="10.0.0.1"),
    Case("NodeStatus", "node-1", {}),
    Case("NodeStatus", "node-1", None),
)

BAD = (
    _config("spec.serviceClusterIPs[1].cidr", serviceClusterIPs=[{}, {"cidr": "10.96.0.1/16"}]),
    _config("spec.serviceExternalIPs[0].cidr", serviceExternalIPs=[{"cidr": "10.96.0.1"}]),
    _config("spec.serviceLoadBalancerIPs[0].range", serviceLoadBalancerIPs=[{"range": "10.96.0.0/16"}]),
    _config("spec.serviceLoadBalancerIPs", serviceLoadBalancerIPs=[{}] * 257),
    _config("spec.serviceLoadBalancerAggregation", serviceLoadBalancerAggregation="Some"),
    _config("spec", name="node.node-1", serviceClusterIPs=[{"cidr": "10.96.0.0/16"}]),
    # AS numbers: range, reserved numbers, spelling
    *(_config("spec.asNumber", asNumber=number) for number in (0, 23456, 65535, 4294967295, -1)),
    *(_config("spec.asNumber", asNumber=text) for text in ("0", "0.0", "0.23456", "65535.65535", "1.65536", "65536.1")),
    *(_config("spec.asNumber", asNumber=text) for text in ("", "x", "AS1", "1.2.3", "1.", "+1", " 1", "4294967295", True, 1.5)),
    *(_peer("spec.asNumber", asNumber=number) for number in (0, 23456, 65535, 4294967295, "0.65535")),
    _peer("spec.localASNumber", localASNumber=0),
    _peer("spec.asNumber", asNumber=...),
    _node("spec.bgp.asNumber", asNumber=23456),
    # who the peer is
    *(
        _peer("spec.peerIP", peerIP=text)
        for text in ("tor.example.com", "tor", "", "10.0.0", "10.0.0.256", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:", "10.0.0.1/24")
    ),
    *(
        _peer("spec.peerIP", peerIP=text)
        for text in ("fd00::1%eth0", "[fd00::1]", "[fd00::1]:0", "[tor]:179", "[10.0.0.1]:179", "::ffff:10.0.0.1", "010.0.0.1", "tor:179")
    ),
    _peer("spec.peerIP", peerIP=5),
    _peer("spec.peerIP", peerIP="10.0.0.1; run /bin/sh"),
    _peer("spec.peerIP", peerIP="10.0.0.1\nneighbor"),
    *(_peer("spec.peerIP", peerIP=text) for text in ("224.0.0.5", "239.1.1.1:179", "0.0.0.0", "0.0.0.0:179", "::", "0:0::0", "[::]:179", "[ff02::1]:179", "FF0E::5")),
    _peer("spec.peerIP", peerIP=..., asNumber=...),
    _peer("spec.peerIP", peerSelector="all()", asNumber=...),
    _peer("spec.asNumber", peerIP=..., peerSelector="all()"),
    _peer("spec.node", node="node-1", nodeSelector="all()"),
    _peer("spec.node", node=""),
    _peer("spec.nodeSelector", "decode", nodeSelector="rack =="),
    _peer("spec.nodeSelector", "decode", nodeSelector="rack in"),
    _peer("spec.peerSelector", "decode", peerIP=..., asNumber=..., peerSelector="(a"),
    # enumerations and plain types
    _peer("spec.importPolicy", importPolicy="Some"),
    _peer("spec.importPolicy", importPolicy="filtered"),
    _peer("spec.sourceAddress", sourceAddress="10.0.0.1"),
    _peer("spec.reversePeering", reversePeering="auto"),
    _peer("spec.passive", passive="yes"),
    _peer("spec.passive", passive=1),
    _peer("spec.description", description="x" * 256),
    _peer("spec.shutdown", shutdown="yes"),
    _peer("spec.peerIP", peerFrom={"defaultGateway": True}),
    _peer("spec.peerIP", localWorkloadSelector="all()"),
    _peer("spec.peerIP", peerIP=..., asNumber=..., peerSelector="all()", localWorkloadSelector="all()"),
    _peer("spec.asNumber", peerIP=..., asNumber=..., localWorkloadSelector="all()"),
    _peer("spec.localWorkloadSelector", "decode", peerIP=..., localWorkloadSelector="app =="),
    _peer("spec.reachableBy", peerIP=..., localWorkloadSelector="all()", reachableBy="10.0.0.1"),
    _config("spec.localWorkloadPeeringIPV4", localWorkloadPeeringIPV4="fd12::1"),
    *(
        _config("spec.localWorkloadPeeringIPV4", localWorkloadPeeringIPV4=text)
        for text in ("127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255", "10.0.0.0/8")
    ),
    *(
        _config("spec.localWorkloadPeeringIPV6", localWorkloadPeeringIPV6=text)
        for text in ("fe80::179", "::1", "::", "ff02::1", "169.254.0.179")
    ),
    _peer("spec.asNumber", peerIP=..., asNumber=..., peerFrom={"defaultGateway": True}),
    _peer("spec.peerFrom", peerIP=..., peerFrom={"defaultGateway": False}),
    _peer("spec.peerFrom", peerIP=..., peerFrom={}),
    _peer("spec.peerFrom", peerIP=..., peerFrom={"defaultGateway": True, "interface": "eth0"}),
    _peer("spec.peerFrom.interface", peerIP=..., peerFrom={"interface": ""}),
    _peer("spec.peerFrom.interface", peerIP=..., peerFrom={"interface": "eth0/1"}),
    _peer("spec.peerFrom.interface", peerIP=..., peerFrom={"interface": "a-name-that-is-too-long"}),
    _peer("spec.peerFrom.interface", peerIP=..., peerFrom={"interface": ["eth0"]}),
    _peer("spec.asNumber", peerIP=..., asNumber=..., peerFrom={"interface": "eth0"}),
    _peer("spec.peerIP", peerFrom={"interface": "eth0"}),
    _peer("spec.reachableBy", peerIP=..., peerFrom={"interface": "eth0"}, reachableBy="10.0.0.1"),
    _config("spec.unnumbered", unnumbered=True),
    _config("spec", name="node.a", unnumbered={"enabled": True}),
    _config("spec", name="node.a", gracefulRestart={"enabled": False}),
    _peer("spec.ttlSecurity", ttlSecurity=1, ebgpMultihop=2),
    _peer("spec.addressFamilies", addressFamilies=["ipv4", "ipv4"]),
    _peer("spec.addressFamilies[0]", addressFamilies=["IPv4"]),
    _peer("spec.role", role="customer"),
    _peer("spec.strictRole", strictRole=True),
    _peer("spec.reachableBy", reachableBy="fd00::1"),
    _peer("spec.reachableBy", peerIP="[fd00::1]:179", reachableBy="10.0.0.1"),
    _peer("spec.reachableBy", peerIP=..., asNumber=..., peerSelector="all()", reachableBy="10.0.0.1"),
    _config("spec.bindMode", bindMode="All"),
    _config("spec.logSeverityScreen", logSeverityScreen="Trace"),
    _config("spec.clusterRoutes", clusterRoutes="None"),
    _config("spec.listenPort", listenPort=0),
    _config("spec.listenPort", listenPort=65536),
    _config("spec.listenPort", listenPort="179"),
    _config("spec.multipath.maximumPaths", multipath={"maximumPaths": 0}),
    _config("spec.kernelMetric", kernelMetric=0),
    _config("spec.ipv4NormalRoutePriority", ipv4NormalRoutePriority=65536),
    _config("spec.ignoredInterfaces[1]", ignoredInterfaces=["eth0", ""]),
    _config("spec.ignoredInterfaces", ignoredInterfaces="eth0"),
    _config("spec.maxPrefixes.limit", maxPrefixes={}),
    _config("spec.maxPrefixes.restartAfter", maxPrefixes={"limit": 1, "restartAfter": "0s"}),
    _peer("spec.maxPrefixes.restartAfter", maxPrefixes={"limit": 1, "restartAfter": "25h"}),
    _peer("spec.timers.keepaliveTime", timers={"keepaliveTime": "21846s"}),
    _peer("spec.timers.connectRetryTime", timers={"connectRetryTime": "3601s"}),
    _config("spec.maxPrefixes.limit", maxPrefixes={"limit": 0}),
    # policy
    _peer("spec.advertise", advertise="None"),
    _peer("spec.nextHopMode", nextHopMode="self"),
    _peer("spec.filters[1]", filters=["a", ""]),
    _config("spec.meshAdvertise", meshAdvertise="own"),
    _config("spec.communities[0].value", communities=[{"name": "a", "value": "65536:1"}]),
    _config("spec.communities[0].name", communities=[{"name": "a b", "value": "1:1"}]),
    _config("spec.prefixAdvertisements[0].cidr", prefixAdvertisements=[{"cidr": "10.0.0.1/8", "communities": ["1:1"]}]),
    _config("spec.prefixAdvertisements[0].communities", prefixAdvertisements=[{"cidr": "10.0.0.0/8", "communities": []}]),
    _config("spec", name="node.node-1", meshAdvertise="All"),
    _filter("spec.importV4[0].action", action=...),
    _filter("spec.importV4[0].action", action="Drop"),
    _filter("spec.importV4[0].cidr", cidr="fd00::/8", matchOperator="In"),
    _filter("spec.exportV6[0].cidr", direction="exportV6", cidr="10.0.0.0/8", matchOperator="In"),
    _filter("spec.importV4[0].cidr", cidr="10.0.0.1/8", matchOperator="In"),
    _filter("spec.importV4[0].matchOperator", cidr="10.0.0.0/8"),
    _filter("spec.importV4[0].matchOperator", matchOperator="In"),
    _filter("spec.importV4[0].matchOperator", cidr="10.0.0.0/8", matchOperator="Under"),
    _filter("spec.importV4[0].prefixLength", prefixLength={"min": 8}),
    _filter("spec.importV4[0].prefixLength", cidr="10.0.0.0/8", matchOperator="In", prefixLength={"max": 33}),
    _filter("spec.importV4[0].prefixLength", cidr="10.0.0.0/8", matchOperator="In", prefixLength={"min": 24, "max": 16}),
    _filter("spec.importV4[0].prefixLength.min", cidr="10.0.0.0/8", matchOperator="In", prefixLength={"min": -1}),
    _filter("spec.importV6[0].prefixLength.max", direction="importV6", cidr="fd00::/8", matchOperator="In", prefixLength={"max": 129}),
    _filter("spec.importV6[0].prefixLength", direction="importV6", cidr="fd00::/8", matchOperator="In", prefixLength={"min": 65, "max": 64}),
    _filter("spec.importV4[0].source", source="Local"),
    _filter("spec.importV4[0].interface", interface="eth0; reboot"),
    _filter("spec.importV4[0].interface", interface=""),
    _filter("spec.importV4[0].peerType", peerType="EBGP"),
    _filter("spec.importV4[0].communities.values", communities={}),
    _filter("spec.importV4[0].communities.values", communities={"values": ["1:1", "2:2"]}),
    _filter("spec.importV4[0].communities.values", communities={"values": []}),
    *(
        _filter("spec.importV4[0].communities.values[0]", communities={"values": [text]})
        for text in ("", "1", "1:", ":1", "65536:1", "1:65536", "1:2:3:4", "4294967296:1:1", "01:1", "a:b", "no-exports", "1:1\n", " 1:1", "-1:1")
    ),
    _filter("spec.importV4[0].asPathPrefix[1]", asPathPrefix=[1, 0]),
    _filter("spec.importV4[0].priority", priority=0),
    _filter("spec.importV4[0].priority", priority=2147483647),
    _filter("spec.importV4[0].operations", action="Reject", operations=[{"setMED": {"value": 1}}]),
    _filter("spec.importV4[0].operations", operations=[{"setMED": {"value": 1}}] * 11),
    _filter("spec.importV4[0].operations[1]", operations=[{"setMED": {"value": 1}}, {}]),
    _filter("spec.importV4[0].operations[0]", operations=[{"setMED": {"value": 1}, "setPriority": {"value": 1}}]),
    _filter("spec.importV4[0].operations[0].setMED.value", operations=[{"setMED": {"value": 4294967296}}]),
    _filter("spec.importV4[0].operations[0].setPriority.value", operations=[{"setPriority": {"value": 0}}]),
    _filter("spec.importV4[0].operations[0].setLocalPref.value", operations=[{"setLocalPref": {"value": -1}}]),
    _filter("spec.importV4[0].operations[0].addCommunity.value", operations=[{"addCommunity": {"value": "x"}}]),
    _filter("spec.importV4[0].operations[0].prependASPath.prefix", operations=[{"prependASPath": {"prefix": []}}]),
    _filter("spec.importV4[0].operations[0].prependASPath.prefix", operations=[{"prependASPath": {"prefix": [1] * 11}}]),
    Case("BGPFilter", "filter", {"exportV4": [{"action": "Reject"}] * 201}, "spec.exportV4"),
    Case("BGPFilter", "filter", {"importv4": []}, "spec.importv4"),
    # unknown fields: the API server refuses them only where the client asks for it, as kubectl does
    _peer("spec.peerIp", peerIp="10.0.0.1"),
    _peer("spec.timers.hold", timers={"hold": "3s"}),
    _config("spec.asnumber", asnumber=1),
    _pool("spec.blocksize", blocksize=26),
    # what controllers write may have fields of a newer one: no reason for an agent to lose sight of a node or a block
    Case("IPAMBlock", "10-244-3-0-26", {"cidr": "10.244.3.0/26", "node": "a", "owner": "x"}, "spec.owner", "api"),
    Case("RoutingNode", "node-1", {"bgp": {"weight": 1}}, "spec.bgp.weight", "api"),
    # passwords are references, never text
    _peer("spec.password", password="hunter2"),
    _peer("spec.password.secretKeyRef", password={}),
    _peer("spec.password.secretKeyRef.key", password={"secretKeyRef": {"name": "tor"}}),
    _peer("spec.password.secretKeyRef.name", password={"secretKeyRef": {"name": "", "key": "k"}}),
    # durations
    *(
        _config("spec.timers.holdTime", timers={"holdTime": text})
        for text in ("1s", "2s", "65536s", "18h13m", "90", 90, "", "-3s", "1.5m", "500ms", "1d", "s", "3S", " 3s", "999999s")
    ),
    _config("spec.timers.keepaliveTime", timers={"keepaliveTime": "0s"}),
    _config("spec.timers.connectRetryTime", timers={"connectRetryTime": "2h"}),
    _config("spec.nodeMeshMaxRestartTime", nodeMeshMaxRestartTime="4096s"),
    _config("spec.gracefulRestart.restartTime", gracefulRestart={"restartTime": "0s"}),
    _peer("spec.timers.holdTime", timers={"holdTime": "2s"}),
    _peer("spec.keepaliveTime", keepaliveTime="0s"),
    _peer("spec.maxRestartTime", maxRestartTime="2h"),
    _ipam("spec.quarantine", quarantine="5"),
    _ipam("spec.quarantine", quarantine="169h"),
    # router ids
    *(_config("spec.routerID", routerID=text) for text in ("10.0.0", "10.0.0.256", "fd00::1", "node", "0.0.0.0", "010.0.0.1", "")),
    _node("spec.bgp.routerID", routerID="hash"),
    _node("spec.bgp.routeReflectorClusterID", routeReflectorClusterID="1"),
    # names
    _config("metadata.name", name="main"),
    _config("metadata.name", name="nodes"),
    _config("spec", name="node.node-1", nodeToNodeMeshEnabled=False),
    _config("spec", name="node.node-1", nodeMeshPassword=_PASSWORD),
    _config("spec", name="node.node-1", clusterRoutes="Kubernetes"),
    _ipam("metadata.name", name="main"),
    _block("10-244-3-0-27", "10.244.3.0/26", "metadata.name"),
    _block("block-1", "10.244.3.0/26", "metadata.name"),
    # prefixes
    *(
        _pool("spec.cidr", cidr=text)
        for text in ("10.244.0.1/16", "10.244.0.0", "10.244.0.0/33", "fd00::1/64", "pods", "", "10.244.0.0/255.255.0.0", "10.244.0.0/016", 10)
    ),
    _pool("spec.cidr", cidr="::ffff:10.0.0.0/112"),
    _block("10-244-3-1-26", "10.244.3.1/26", "spec.cidr"),
    Case("IPAMBlock", "fd00-0--122", {"cidr": "fd00:0::/122", "node": "n"}, "metadata.name"),
    Case("IPAMBlock", "fd00-0-0---122", {"cidr": "fd00:0:0::/122", "node": "n"}, "spec.cidr", "api"),
    _block("10-244-3-0-26", "10.244.3.0/26", "spec.node", node=""),
    _block("10-244-3-0-26", "10.244.3.0/26", "spec.state", state="Released"),
    Case("IPAMBlock", "10-244-3-0-26", {"cidr": "10.244.3.0/26"}, "spec.node"),
    Case("IPAMBlock", "10-244-3-0-26", None, "spec.cidr"),
    Case("IPPool", "pool", {}, "spec.cidr"),
    _claim("metadata.name", name="198-51-100-8"),
    _claim("spec.address", address="198.51.100.300"),
    Case("AddressClaim", "2001-db8-0--7", {"address": "2001:db8:0::7"}, "spec.address", "api"),
    Case("AddressClaim", "198-51-100-7", None, "spec.address"),
    _pool_for_services("spec.allowedUses", nodeSelector="rack == 'a'"),
    _pool_for_services("spec.allowedUses", vxlanMode="Always"),
    _pool_for_services("spec.allowedUses", ipipMode="CrossSubnet"),
    _pool_for_services("spec.allowedUses", attachment={"type": "bridge"}),
    _pool_for_services("spec.allowedUses", attachment={"mtu": 1400}),
    _pool_for_services("spec.allowedUses", allowedUses=["LoadBalancer", "Workload"]),
    _pool_for_services("spec.blockSize", blockSize=20),
    _pool("spec.allowedUses", allowedUses=["Tunnel"]),
    _pool("spec.allowedUses", allowedUses=["Workload"], vxlanMode="Always"),
    _pool("spec.serviceSelector", serviceSelector="app == 'web'"),
    Case("IPPool", "pool", None, "spec.cidr"),
    Case("BGPPeer", "peer", None, "spec.peerIP"),
    _node("spec.bgp.ipv4Address", ipv4Address="10.0.0.1/33"),
    _node("spec.bgp.ipv6Address", ipv6Address="node-1"),
    # block sizes
    _pool("spec.vxlanMode", vxlanMode="Sometimes"),
    _pool("spec.vxlanMode", cidr="10.244.0.0/24", blockSize=32, vxlanMode="Always"),
    _pool("spec.vxlanMode", cidr="fd00::/116", blockSize=128, vxlanMode="CrossSubnet"),
    _pool("spec.vxlan.discovery", vxlan={"discovery": "Gossip"}),
    _pool("spec.vxlan.group", vxlan={"discovery": "Multicast"}),
    _pool("spec.vxlan.group", vxlan={"group": "239.1.1.1"}),
    _pool("spec.vxlan.group", vxlan={"discovery": "ControlPlane", "group": "239.1.1.1"}),
    _pool("spec.vxlan.group", vxlan={"discovery": "Multicast", "group": "all"}),
    *(
        _pool("spec.vxlan.group", vxlan={"discovery": "Multicast", "group": group})
        for group in ("192.0.2.1", "224.0.0.9", "240.0.0.1", "2001:db8::1", "ff01::1", "ff0f::1", "ff00::1")
    ),
    _pool("spec.vxlan.device", vxlan={"device": "eth0"}),
    _pool("spec.vxlan.device", vxlan={"discovery": "Multicast", "group": "239.1.1.1", "device": "eth 0"}),
    _pool("spec.ipipMode", ipipMode="Sometimes"),
    _pool("spec.ipipMode", ipipMode="Always", vxlanMode="CrossSubnet"),
    _pool("spec.ipipMode", cidr="fd00::/116", blockSize=122, ipipMode="Always"),
    _pool("spec.ipipMode", cidr="10.244.0.0/24", blockSize=32, ipipMode="CrossSubnet"),
    _pool("spec.vxlan.vni", vxlan={"vni": 0}),
    _pool("spec.vxlan.vni", vxlan={"vni": 16777216}),
    _pool("spec.vxlan.port", vxlan={"port": 65536}),
    _pool("spec.blockSize", blockSize=19),
    _pool("spec.blockSize", blockSize=33),
    _pool("spec.blockSize", blockSize="26"),
    _pool("spec.blockSize", cidr="10.244.0.0/24", blockSize=22),
    _pool("spec.blockSize", cidr="10.244.0.0/28"),
    _pool("spec.blockSize", cidr="fd00::/48", blockSize=64),
    _pool("spec.blockSize", cidr="fd00::/48", blockSize=129),
    _pool("spec.blockSize", cidr="fd00::/123"),
    # reservations
    _reservation("10.244.0.1", field="spec.reservedCIDRs[0]"),
    _reservation("10.244.0.0/28", "10.244.0.1/28", field="spec.reservedCIDRs[1]"),
    _reservation("10.244.0.0/33", field="spec.reservedCIDRs[0]"),
    _reservation("::ffff:10.244.0.0/124", field="spec.reservedCIDRs[0]"),
    # attachments of pods
    _pool("spec.attachment.type", attachment={"type": "cable"}),
    _pool("spec.attachment.type", attachment={"type": "bridge"}, blockSize=31),
    _pool("spec.attachment.type", attachment={"type": "bridge"}, cidr="fd00::/64", blockSize=127),
    _pool("spec.attachment.mtu", attachment={"mtu": 1279}),
    _pool("spec.attachment.mtu", attachment={"mtu": "1500"}),
    _pool("spec.attachment.colour", attachment={"colour": "red"}),
    _pool("spec.attachment", attachment="bridge"),
    _pool("spec.attachment", attachment={"type": "macvlan"}),
    _pool("spec.attachment", attachment={"type": "ipvlan", "master": "eth0"}),
    _pool("spec.attachment", attachment={**_IPVLAN, "mode": "l2"}),
    _pool("spec.attachment", attachment={**_IPVLAN, "mode": "bridge"}),
    _pool("spec.attachment", attachment={**_IPVLAN, "gateway": "10.0.0.1"}),
    _pool("spec.attachment", attachment={**_MACVLAN, "mode": "l2"}),
    _pool("spec.attachment.type", attachment=_IPVLAN, vxlanMode="CrossSubnet"),
    _pool("spec.attachment.type", attachment=_IPVLAN, natOutgoing=True),
    _pool("spec.attachment", attachment=_without("master")),
    _pool("spec.attachment", attachment=_without("mode")),
    _pool("spec.attachment", attachment=_without("gateway")),
    _pool("spec.attachment", attachment={"master": "eth0"}),
    _pool("spec.attachment", attachment={"type": "bridge", "gateway": "10.244.0.1"}),
    _pool("spec.attachment.mode", attachment={**_MACVLAN, "mode": "source"}),
    _pool("spec.attachment.hairpin", attachment={**_MACVLAN, "mode": "vepa"}),
    _pool("spec.attachment.hairpin", attachment={**_MACVLAN, "hairpin": True}),
    _pool("spec.attachment.hairpin", attachment={"hairpin": True}),
    _pool("spec.attachment.master", attachment={**_MACVLAN, "master": "eth0/1"}),
    _pool("spec.attachment.gateway", attachment={**_MACVLAN, "gateway": "fd00::1"}),
    _pool("spec.attachment.gateway", attachment={**_MACVLAN, "gateway": "router"}),
    _pool("spec.attachment.type", attachment=_MACVLAN, vxlanMode="Always"),
    _pool("spec.attachment.type", attachment=_MACVLAN, ipipMode="CrossSubnet"),
    _pool("spec.attachment.type", attachment=_MACVLAN, natOutgoing=True),
    Case("IPPool", "pool", {"cidr": "10.244.0.0/16", "namespaceSelector": "team =="}, "spec.namespaceSelector", "decode"),
    _pool("spec.assignmentMode", assignmentMode="Sometimes"),
    _pool("spec.attachment.primary", attachment=_EDGE, namespaceSelector="team == 'a'"),
    _pool("spec.attachment.primary", attachment=_EDGE, assignmentMode="Manual"),
    _pool("spec.attachment.primary", attachment={"primary": False}),
    _pool("spec.attachment.primary", attachment={"type": "bridge", "primary": False}),
    _pool("spec.attachment.primary", attachment={**_MACVLAN, "mode": "private"}),
    _pool("spec.attachment.primary", attachment={**_MACVLAN, "mode": "passthru"}),
    _pool("spec.attachment.primary", attachment={**_MACVLAN, "primary": "no"}),
    _pool("spec.attachment", attachment={**_IPVLAN, "mode": "private", "primary": False}),
    _pool("spec.attachment", attachment={**_IPVLAN, "gateway": "10.0.0.1", "primary": False}),
    _pool("spec.attachment.hairpin", attachment={**_EDGE, "hairpin": True}),
    Case("IPPool", "e" * 201, {"cidr": "10.244.0.0/16", "attachment": _EDGE}, "metadata.name"),
    # numbers of IPAM
    _ipam("spec.growAtPercent", growAtPercent=0),
    _ipam("spec.growAtPercent", growAtPercent=101),
    _ipam("spec.maxBlocksPerHost", maxBlocksPerHost=-1),
    _ipam("spec.minFreeAddresses", minFreeAddresses=-1),
    _ipam("spec.nodeSelector", nodeSelector=5),
    _ipam("spec.assignPodCIDRs", assignPodCIDRs=True, blockSource="PodCIDRs"),
    # what may not change
    Case("IPPool", "pool", {"cidr": "10.245.0.0/16"}, "spec.cidr", "api", before={"cidr": "10.244.0.0/16"}),
    Case("IPPool", "pool", {"cidr": "10.244.0.0/16", "blockSize": 25}, "spec.blockSize", "api", before={"cidr": "10.244.0.0/16"}),
    Case("IPPool", "pool", {"cidr": "10.244.0.0/16", "allowedUses": ["LoadBalancer"]}, "spec.allowedUses", "api", before={"cidr": "10.244.0.0/16"}),
    Case("AddressClaim", "198-51-100-7", {"address": "198.51.100.8"}, "spec.address", before={"address": "198.51.100.7"}),
    *(
        Case("IPPool", "pool", _of(after), "spec.attachment", "api", before=_of(before))
        for before, after in ((_MACVLAN, None), ({"type": "bridge"}, _MACVLAN), (_MACVLAN, {**_MACVLAN, "master": "eth1"}), (_IPVLAN, {**_IPVLAN, "mode": "l3s"}), ({**_MACVLAN, "type": "ipvlan", "mode": "l2"}, _MACVLAN), (_MACVLAN, {**_MACVLAN, "primary": False}), ({**_IPVLAN, "primary": False}, _IPVLAN))
    ),
    Case("IPAMBlock", "10-244-3-0-26", {"cidr": "10.244.4.0/26", "node": "n"}, "spec.cidr", before={"cidr": "10.244.3.0/26", "node": "n"}),
)  # fmt: skip
