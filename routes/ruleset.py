"""What is in the nftables table of towpath: packets to announced services that nobody translated, of pods to BGP, and of strangers into our tunnels are dropped.

The first have no pod to go to: the node would send them back where they came from, and they would go round until their TTL
ends. The second would open sessions with speakers; only pods that are peers of this node may, and with this node alone.
What pods send to places that do not know the way back to them leaves with an address of the node, where pools ask for that.
Tunnels of ours are between nodes: what comes by them has no other proof of where it is from than the node's address outside.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct

from towpath.model.net import Address, Family, Prefix

TABLE = "inet towpath"
PRIORITY = 10
"""After the filters of kube-proxy, which answers for services without endpoints."""
RAW_PRIORITY = -300
"""After packets are put together from fragments (-400), before the kernel remembers whose they are (-200)."""
NAT_PRIORITY = 110
"""After kube-proxy, portmap and whoever else translates at 100: the kernel asks nobody more once a connection has its source."""
_DEVICES = ("veth*", "tp-br*", "tp-shim")
"""What pods send comes in by a device with such a name, by the bridge that they are plugged into, or by the node's device beside theirs: whatever source it claims."""
PODS = tuple(f'iifname "{name}"' for name in _DEVICES)
NAT_CHAIN = "outgoing"


class Rules(Struct, frozen=True):
    """What is dropped. Of the ranges of each field, sorted, none lies in another."""

    services: tuple[Prefix, ...] = ()
    """What is forwarded to these."""
    pools: tuple[Prefix, ...] = ()
    """What comes from these and goes to a speaker, also where its source was translated."""
    port: int = 179
    """Where this node's speaker listens."""
    speakers: tuple[tuple[Address, int], ...] = ()
    """Addresses of nodes, and where the speaker of each listens."""
    peers: tuple[tuple[Address, Address], ...] = ()
    """Pods of this node that are peers, and the address that each may reach its speaker at."""
    masqueraded: tuple[Prefix, ...] = ()
    """What comes from these has an address of this node as its source once it leaves for elsewhere."""
    kept: tuple[Prefix, ...] = ()
    """What goes to these keeps its source."""
    kept_ports: tuple[tuple[str, int], ...] = ()
    """And so does what goes to these, by protocol and port: it would be taken for this node's own word."""
    tunnels: tuple[tuple[int, int], ...] = ()
    """VXLANs by number and port, by which nodes alone may send."""
    outside: tuple[str, ...] = ()
    """Interfaces by which packets of other nodes come."""
    ipip: Address | None = None
    """The node's end of the IP-in-IP tunnel, to which nodes alone may send."""
    masters: tuple[str, ...] = ()
    """Interfaces by whose network pods of other nodes are as near as these nodes."""
    near: tuple[Address, ...] = ()
    """Link-local addresses of peers there."""
    beside: tuple[Prefix, ...] = ()
    """Pods that answer past this node: what it led elsewhere (DNAT), from them or to them, comes from the node itself."""
    own: tuple[Address, ...] = ()
    """The node's address of each family, for that, and for tunnels."""

    def __bool__(self) -> bool:
        return bool(self.services or self.pools or self.tunnels or self.ipip)

    @property
    def translates(self) -> bool:
        """Whether any packet gets another source."""
        return bool(self.masqueraded or self.beside)


def script(rules: Rules, *, nat: bool, foreign: Collection[Address] = ()) -> str:
    """The whole table in nft's language; it replaces what there is. Nothing to be dropped: there is none.

    ``nat``: with the chain that translates sources, be there any or not; ``foreign``: see ``Foreign.ends``.
    """
    lines = [f"add table {TABLE}", f"delete table {TABLE}"]
    if not rules:
        return "\n".join(lines) + "\n"
    # a pool in which nodes have addresses is a mistake, and no reason to cut them off from one another
    nodes = [address for address, _ in rules.speakers if any(address in pool for pool in rules.pools)]
    lines.append(f"table {TABLE} {{")
    for family, kind in ((Family.IPV4, "ipv4_addr"), (Family.IPV6, "ipv6_addr")):
        services, pools = (_of(family, ranges) for ranges in (rules.services, rules.pools))
        lines += _set(f"services{family:d}", kind, services, flags="interval")
        lines += _set(f"pools{family:d}", kind, pools, flags="interval")
        lines += _set(f"nodes{family:d}", kind, _of(family, nodes))
        if rules.beside:
            lines += _set(f"beside{family:d}", kind, _of(family, rules.beside), flags="interval")
        lines += _set(f"ends{family:d}", kind, _of(family, dict.fromkeys(one for one, _ in rules.speakers)))
        speakers = [f"{address} . {port}" for address, port in rules.speakers if address.version == family]
        lines += _set(f"speakers{family:d}", f"{kind} . inet_service", speakers)
        peers = [f"{pod} . {address}" for pod, address in rules.peers if pod.version == family]
        lines += _set(f"peers{family:d}", f"{kind} . {kind}", peers)
    inward: dict[str, str] = {}
    onward: dict[str, str] = {}
    if rules.tunnels:
        inward["tunnel_input"] = onward["tunnel_forward"] = "meta l4proto udp"
        lines += (*_vxlan(rules), *_untracked(rules))
    if ports := {port for _, port in rules.speakers}:
        onward["bgp_forward"] = f"tcp dport {_any(map(str, sorted(ports)))}"
        to_speakers = ((n, ip, f"{ip} daddr . tcp dport @speakers{n}") for n, ip in _IP)
        lines += _chain("bgp_forward", (line for one in to_speakers for line in _bgp(*one)))
    inward["bgp_input"] = f"tcp dport {rules.port}"
    lines += _chain("bgp_input", _to_speaker(rules))
    if rules.ipip and not any(one.is_unspecified for one in foreign):
        inward["ipip_input"] = onward["ipip_forward"] = "meta l4proto 4"
        lines += _ipip(rules.ipip, sorted(foreign, key=int))
    around = (f"{ip} daddr @services{n} counter drop" for n, ip in _IP if rules.services)
    lines += _hook("forward", "forward", (*around, *_sorted_out(onward)))
    lines += _hook("input", "input", _sorted_out(inward))
    if nat:
        lines += _masquerade(rules)
    if rules.beside:
        # the node sends what it led elsewhere back by the device that it came in by: no reason to go there directly
        lines += _hook("redirects", "output", ("icmp type redirect ip daddr @beside4 drop",))
        # what pods behind an interface send in layer 3 (ipvlan l3, l3s) leaves as if the node itself had sent it
        of_pods = (f"{match} {ip} saddr @beside{n} goto {name}" for name, match in onward.items() for n, ip in _IP)
        lines += _hook("beside_output", "output", of_pods)
    return "\n".join([*lines, "}"]) + "\n"


_IP = (("4", "ip"), ("6", "ip6"))


def _any(values: Iterable[str]) -> str:
    """One of them; for a single one the kernel needs no set."""
    listed = list(values)
    return listed[0] if len(listed) == 1 else f"{{ {', '.join(listed)} }}"


def _sorted_out(chains: Mapping[str, str]) -> Iterator[str]:
    """To the chains that a packet is a matter of: every packet of every pod comes through here, and most are a matter of none."""
    return (f"{match} goto {name}" for name, match in chains.items())


def _to_speaker(rules: Rules) -> Iterator[str]:
    yield from (f"{ip} saddr . {ip} daddr @peers{n} accept" for n, ip in _IP)
    yield from (line for n, ip in _IP for line in _bgp(n, ip))
    # on its cable a pod has an address that no pool knows of
    yield from (f"{pods} ip6 saddr fe80::/10 counter drop" for pods in PODS)
    # pods and machines on a network look alike there by their link-local addresses: those of peers are known
    known = "".join(f" ip6 saddr != {one}" for one in rules.near)
    yield from (f'iifname "{name}" ip6 saddr fe80::/10{known} counter drop' for name in rules.masters)


def _bgp(family: str, ip: str, match: str = "") -> Iterator[str]:
    """Drop what matches and comes from pods, seen by its own source or by what that was before translation.

    What a Service leads here from a node may be of a pod there that left with that node's address: no speaker asks by a Service.
    """
    match = match and f"{match} "
    yield f"ct status dnat {match}{ip} saddr @ends{family} counter drop"
    yield f"{match}{ip} saddr @nodes{family} accept"
    yield f"{match}{ip} saddr @pools{family} counter drop"
    yield f"{match}ct original {ip} saddr @pools{family} counter drop"


def _vxlan(rules: Rules) -> Iterator[str]:
    """Who may send into our VXLANs, to this node and by it to others."""
    ours = _ours(rules.tunnels)
    led = "ct status dnat counter drop"
    # most packets are these; what is left is looked at device by device
    outside = [name for name in rules.outside if not any(fnmatchcase(name, pods) for pods in _DEVICES)]
    nodes = (f'{ip} saddr @ends{n} iifname "{name}" accept' for name in outside for n, ip in _IP)
    of_pods = (f"{pods} counter drop" for pods in PODS)
    others = (f"{ip} saddr != @ends{n} counter drop" for n, ip in _IP)
    yield from _chain("tunnel_input", (*ours, led, *nodes, *of_pods, *others))
    passing = (f"{pods} {ip} daddr @ends{n} counter drop" for pods in PODS for n, ip in _IP)
    # by a Service that leads to a node's port, say: it would leave with this node's address
    strangers = (f"{ip} daddr @ends{n} {ip} saddr != @ends{n} counter drop" for n, ip in _IP)
    short = "udp length < 16 accept"  # too little for a number, and so nobody's VXLAN
    yield from _chain("tunnel_forward", (*ours, short, led, *passing, *strangers))


def _ours(tunnels: Iterable[tuple[int, int]]) -> tuple[str, ...]:
    """Of UDP what is in none of our VXLANs leaves, so that it is asked once which it is in: each packet between nodes comes through.

    The number is read as the upper three of four bytes (RFC 7348 section 5): for three alone the kernel has no fast way.
    """
    numbers: dict[int, list[int]] = {}
    for vni, port in tunnels:
        numbers.setdefault(port, []).append(vni)
    found = [f"udp dport != {_any(map(str, sorted(numbers)))} accept"]
    for port, ours in sorted(numbers.items()):
        which = f"udp dport {port} " if len(numbers) > 1 else ""
        listed = _any(f"{vni << 8:#x}" for vni in sorted(ours))
        found.append(f"{which}@th,96,32 & 0xffffff00 != {listed} accept")
    return tuple(found)


def _untracked(rules: Rules) -> Iterator[str]:
    """The kernel remembers nothing of packets between nodes: each flow in a tunnel has a port of its own (RFC 7348 section 5), and none is answered.

    What the network says of them (RFC 792, RFC 4443) would belong to nothing that the kernel knows, and others drop that:
    it is not asked either. It quotes the packet: protocol and port are at their places behind a header without options.
    """
    ours = _ours(rules.tunnels)
    to_us = (f"{ip} daddr {one} notrack" for n, ip in _IP for one in rules.own if str(one.version) == n)
    yield from _chain("untracked_input", (*ours, *to_us))
    ports = _any(map(str, sorted({port for _, port in rules.tunnels})))
    errors = (
        f"icmp type destination-unreachable @th,136,8 17 @th,240,16 {ports} notrack",
        f"icmpv6 type {{ destination-unreachable, packet-too-big }} @th,112,8 17 @th,400,16 {ports} notrack",
    )
    arriving = ("meta l4proto tcp accept", "meta l4proto udp goto untracked_input", *errors)
    yield from _hook("arriving", "prerouting", arriving, priority=RAW_PRIORITY)
    leaving = ("meta l4proto != udp accept", *ours, *(f"{ip} daddr @ends{n} notrack" for n, ip in _IP))
    yield from _hook("leaving", "output", leaving, priority=RAW_PRIORITY)


def _ipip(local: Address, foreign: Iterable[Address]) -> Iterator[str]:
    """A packet of protocol 4 names no tunnel (RFC 2003): it is for ours if it is for our address, and for no device that knows its sender."""
    theirs = (f"ip saddr {one} accept" for one in foreign)
    of_pods = (f"{pods} counter drop" for pods in PODS)
    yield from _chain(
        "ipip_input", (f"ip daddr != {local} accept", *theirs, *of_pods, "ip saddr != @ends4 counter drop")
    )
    yield from _chain("ipip_forward", (f"{pods} ip daddr @ends4 counter drop" for pods in PODS))


def _masquerade(rules: Rules) -> Iterator[str]:
    """Packets that a bridge hands on come here as well (bridge-nf-call-iptables), without a device that they came in by."""
    for family, kind in ((Family.IPV4, "ipv4_addr"), (Family.IPV6, "ipv6_addr")):
        yield from _set(f"masqueraded{family:d}", kind, _of(family, rules.masqueraded), flags="interval")
        yield from _set(f"kept{family:d}", kind, _of(family, rules.kept), flags="interval")
    ports = (f"{protocol} . {port}" for protocol, port in rules.kept_ports)
    yield from _set("kept_ports", "inet_proto . inet_service", ports)
    matches = (f"meta iif != 0 {ip} saddr @masqueraded{n} {ip} daddr != @kept{n}" for n, ip in _IP)
    known = {str(one.version): one for one in rules.own}
    led = (
        f"ct status dnat {ip} {end} @beside{n} counter snat {ip} to {known[n]}"
        for n, ip in _IP
        if rules.beside and n in known
        for end in ("saddr", "daddr")
    )
    rule = (
        *led,
        "meta l4proto . th dport @kept_ports accept",
        *(f"{match} counter masquerade fully-random" for match in matches),
    )
    yield from _hook(NAT_CHAIN, "postrouting", rule, kind="nat", priority=NAT_PRIORITY)


def _of(family: Family, values: Iterable[Prefix] | Iterable[Address]) -> list[str]:
    return [str(one) for one in values if one.version == family]


def _set(name: str, kind: str, elements: Iterable[str], *, flags: str = "") -> Iterator[str]:
    """Of a set whose size is known beforehand, and that has no ranges, the kernel makes a table that is faster to look into."""
    listed = list(elements)
    yield f"  set {name} {{"
    yield f"    type {kind}"
    if flags:
        yield f"    flags {flags}"
    elif listed:
        yield f"    size {len(listed)}"
    if listed:
        yield f"    elements = {{ {', '.join(listed)} }}"
    yield "  }"


def _chain(name: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"  chain {name} {{"
    yield from (f"    {rule}" for rule in rules)
    yield "  }"


def _hook(
    name: str, hook: str, rules: Iterable[str], *, kind: str = "filter", priority: int = PRIORITY
) -> Iterator[str]:
    """A chain that packets come through."""
    yield from _chain(name, (f"type {kind} hook {hook} priority {priority}; policy accept;", *rules))
