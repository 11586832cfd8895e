"""The nftables table of towpath: packets to announced services that nobody translated, of pods to BGP, and of strangers into our tunnels are dropped.

The first have no pod to go to: the node would send them back where they came from, and they would go round until their TTL
ends. The second would open sessions with speakers; only pods that are peers of this node may, and with this node alone.
What pods send to places that do not know the way back to them leaves with an address of the node, where pools ask for that.
Tunnels of ours are between nodes: what comes by them has no other proof of where it is from than the node's address outside.
The table is ours by its name, ``inet towpath``, and always replaced as a whole in one transaction, so that there is no moment
without it. What ``nft`` lists after that is what it has to list at every later look; else somebody has changed it.
"""

import asyncio
import contextlib
import errno
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from msgspec import Struct

from towpath.model.net import Address, Family, Prefix
from towpath.routes.foreign import Foreign
from towpath.routes.nftwatch import Watch

TABLE = "inet towpath"
PRIORITY = 10
"""After the filters of kube-proxy, which answers for services without endpoints."""
NAT_PRIORITY = 110
"""After kube-proxy, portmap and whoever else translates at 100: the kernel asks nobody more once a connection has its source."""
PODS = ('iifname "veth*"', 'iifname "tp-br*"', 'iifname "tp-shim"')
"""What pods send comes in by a device with such a name, by the bridge that they are plugged into, or by the node's device beside theirs: whatever source it claims."""
LOOK_EVERY = 30.0
"""Seconds between two looks at a table that, as far as was heard, is as it was left."""
NAT_CHAIN = "outgoing"
_WAIT = 20.0
_REFUSED = frozenset({errno.EIO, errno.ENOENT, errno.ENOSYS})
"""nft or the kernel took a look, and will not."""
_TELLS_BRIDGED = (5, 7)


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
    ipip: Address | None = None
    """The node's end of the IP-in-IP tunnel, to which nodes alone may send."""
    masters: tuple[str, ...] = ()
    """Interfaces by whose network pods of other nodes are as near as these nodes."""
    near: tuple[Address, ...] = ()
    """Link-local addresses of peers there."""
    beside: tuple[Prefix, ...] = ()
    """Pods that answer past this node: what it led elsewhere (DNAT), from them or to them, comes from the node itself."""
    own: tuple[Address, ...] = ()
    """The node's address of each family, for that."""

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
    if rules.services:
        lines += _chain("services", "forward", (f"{ip} daddr @services{n} counter drop" for n, ip in _IP))
    to_speakers = ((n, ip, f"{ip} daddr . tcp dport @speakers{n}") for n, ip in _IP)
    if ports := {port for _, port in rules.speakers}:
        dropped = (line for one in to_speakers for line in _bgp(*one))
        lines += _chain("bgp_forward", "forward", (*_others_pass("tcp", ports), *dropped))
    lines += _chain(
        "bgp_input",
        "input",
        (
            *_others_pass("tcp", {rules.port}),
            *(f"tcp dport {rules.port} {ip} saddr . {ip} daddr @peers{n} accept" for n, ip in _IP),
            *(line for n, ip in _IP for line in _bgp(n, ip, f"tcp dport {rules.port}")),
            # on its cable a pod has an address that no pool knows of
            *(f"{pods} tcp dport {rules.port} ip6 saddr fe80::/10 counter drop" for pods in PODS),
            *_near(rules),
        ),
    )
    if nat:
        lines += _masquerade(rules)
    if rules.beside:
        # the node sends what it led elsewhere back by the device that it came in by: no reason to go there directly
        lines += _chain("redirects", "output", ("icmp type redirect ip daddr @beside4 drop",))
    if rules.tunnels:
        inside = [f"udp dport {port} @th,96,24 {vni}" for vni, port in rules.tunnels]  # after flags: RFC 7348 section 5
        of_pods = [f"{pods} {match} counter drop" for pods in PODS for match in inside]
        others = (f"{match} {ip} saddr != @ends{n} counter drop" for match in inside for n, ip in _IP)
        ports = {port for _, port in rules.tunnels}
        led = [f"ct status dnat {match} counter drop" for match in inside]
        lines += _chain("tunnel_input", "input", (*_others_pass("udp", ports), *led, *of_pods, *others))
        to_ends = [(n, ip, f"{ip} daddr @ends{n} {match}") for match in inside for n, ip in _IP]
        passing = (f"{pods} {match} counter drop" for pods in PODS for _, _, match in to_ends)
        # by a Service that leads to a node's port, say: it would leave with this node's address
        strangers = (f"{match} {ip} saddr != @ends{n} counter drop" for n, ip, match in to_ends)
        lines += _chain("tunnel_forward", "forward", (*_others_pass("udp", ports), *led, *passing, *strangers))
    if rules.ipip and not any(one.is_unspecified for one in foreign):
        lines += _ipip(rules.ipip, sorted(foreign, key=int))
    return "\n".join([*lines, "}"]) + "\n"


_IP = (("4", "ip"), ("6", "ip6"))


def _others_pass(protocol: str, ports: Iterable[int]) -> Iterator[str]:
    """What is not for these ports leaves the chain at once: every packet of every pod comes through it."""
    yield f"meta l4proto != {protocol} accept"
    yield f"{protocol} dport != {{ {', '.join(map(str, sorted(ports)))} }} accept"


def _bgp(family: str, ip: str, match: str) -> Iterator[str]:
    """Drop what matches and comes from pods, seen by its own source or by what that was before translation.

    What a Service leads here from a node may be of a pod there that left with that node's address: no speaker asks by a Service.
    """
    yield f"ct status dnat {match} {ip} saddr @ends{family} counter drop"
    yield f"{match} {ip} saddr @nodes{family} accept"
    yield f"{match} {ip} saddr @pools{family} counter drop"
    yield f"{match} ct original {ip} saddr @pools{family} counter drop"


def _near(rules: Rules) -> Iterator[str]:
    """Pods and machines on a network look alike there by their link-local addresses: those of peers are known."""
    known = "".join(f" ip6 saddr != {one}" for one in rules.near)
    for name in rules.masters:
        yield f'iifname "{name}" tcp dport {rules.port} ip6 saddr fe80::/10{known} counter drop'


def _ipip(local: Address, foreign: Iterable[Address]) -> Iterator[str]:
    """A packet of protocol 4 names no tunnel (RFC 2003): it is for ours if it is for our address, and for no device that knows its sender."""
    others = "meta l4proto != 4 accept"
    theirs = (f"ip saddr {one} accept" for one in foreign)
    of_pods = (f"{pods} counter drop" for pods in PODS)
    to_us = (f"ip daddr != {local} accept", *theirs, *of_pods, "ip saddr != @ends4 counter drop")
    yield from _chain("ipip_input", "input", (others, *to_us))
    yield from _chain("ipip_forward", "forward", (others, *(f"{pods} ip daddr @ends4 counter drop" for pods in PODS)))


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
        if n in known
        for end in ("saddr", "daddr")
    )
    rule = (
        *led,
        "meta l4proto . th dport @kept_ports accept",
        *(f"{match} counter masquerade fully-random" for match in matches),
    )
    yield from _chain(NAT_CHAIN, "postrouting", rule, kind="nat", priority=NAT_PRIORITY)


def _of(family: Family, values: Iterable[Prefix] | Iterable[Address]) -> list[str]:
    return [str(one) for one in values if one.version == family]


def _set(name: str, kind: str, elements: Iterable[str], *, flags: str = "") -> Iterator[str]:
    listed = ", ".join(elements)
    yield f"  set {name} {{"
    yield f"    type {kind}"
    if flags:
        yield f"    flags {flags}"
    if listed:
        yield f"    elements = {{ {listed} }}"
    yield "  }"


def _chain(
    name: str, hook: str, rules: Iterable[str], *, kind: str = "filter", priority: int = PRIORITY
) -> Iterator[str]:
    yield f"  chain {name} {{"
    yield f"    type {kind} hook {hook} priority {priority}; policy accept;"
    yield from (f"    {rule}" for rule in rules)
    yield "  }"


class Table:
    """The table in this network namespace. Every method raises ``OSError`` where nft or the kernel refuses."""

    def __init__(self) -> None:
        self._rules: Rules | None = None
        self._left: Any = None
        """What nft listed after the last change."""
        self._looked = 0.0
        self._watch: Watch | None = None
        self._devices: Foreign | None = None
        self._foreign: frozenset[Address] = frozenset()
        """From whom others' IP-in-IP devices take packets, as of the last change."""
        self._touched = False
        """Somebody may have changed it since the last look."""
        self._unmasqueraded = ""

    def disturbed(self) -> bool:
        """Whether somebody has touched the table since it was looked at, or what it depends on: that is what ``desire`` is to be called for."""
        if self._was_touched():
            return True
        try:
            return self._rules is not None and self._ends(self._rules) != self._foreign
        except OSError:  # whoever then asks hears of it
            return True

    def _was_touched(self) -> bool:
        if self._watch is not None and self._watch.touched():
            self._touched = True
        return self._touched

    async def desire(self, rules: Rules) -> str:
        """Do what these rules say; where they say nothing there is no table.

        What is said is why no source is translated although that is wanted; all else is done then.
        """
        now = asyncio.get_running_loop().time()
        self._listen()
        touched, foreign = self._was_touched(), self._ends(rules)
        if foreign != self._foreign:
            self._rules, self._foreign = None, foreign
        if rules == self._rules and not touched and now - self._looked < LOOK_EVERY:
            return self._unmasqueraded
        self._looked, self._touched = now, False
        present = await _listed()
        as_left = rules == self._rules and present == self._left
        if as_left and not self._unmasqueraded:
            return ""
        self._rules = None
        if rules or present is not None:
            await self._replace(rules, present, as_left=as_left)
        self._left = await _listed() if rules else None
        # of two transactions the second was another's, and the list may show its work
        self._touched = self._watch is not None and self._watch.touched() > 1
        self._rules = None if self._touched else rules
        return self._unmasqueraded

    async def _replace(self, rules: Rules, present: Any, *, as_left: bool) -> None:
        """Put the rules in the table's place, without translation where the kernel takes none; nothing where that is ``as_left``."""
        self._unmasqueraded = ""
        if rules.translates:
            try:
                _tells_bridged_packets()
                await run("-f", "-", stdin=script(rules, nat=True, foreign=self._foreign))
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                self._unmasqueraded = error.strerror or str(error)
            else:
                return
        if not as_left:
            # without any such chain the kernel would no longer translate connections that it translated before
            stays = not self._unmasqueraded and _has_chain(present, NAT_CHAIN)
            await run("-f", "-", stdin=script(rules, nat=stays, foreign=self._foreign))

    def _ends(self, rules: Rules) -> frozenset[Address]:
        if rules.ipip is None:
            return frozenset()
        if self._devices is None:
            self._devices = Foreign()
        return self._devices.ends(rules.ipip)

    def _listen(self) -> None:
        if self._watch is None:
            with contextlib.suppress(OSError):  # then it is looked at now and then, and that is all
                self._watch = Watch(TABLE.split()[1])


async def remove() -> None:
    """Take the table away, if it is there."""
    if await _listed() is not None:
        await run("-f", "-", stdin=script(Rules(), nat=False))


async def _listed() -> Any:
    """The table without counters and handles, or what equals nothing where that cannot be read; None: there is none."""
    try:
        items = await listing(TABLE, "--stateless")
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EBADMSG:
            raise
        return [{"unreadable": object()}]
    return [_without_handles(one) for one in items if "metainfo" not in one]


def _without_handles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_handles(item) for key, item in value.items() if key != "handle"}
    return [_without_handles(item) for item in value] if isinstance(value, list) else value


def _has_chain(present: Any, name: str) -> bool:
    return any(one.get("chain", {}).get("name") == name for one in present or ())


def _tells_bridged_packets() -> None:
    """Before Linux 5.7 no packet had a device that it came in by once it was routed."""
    release = os.uname().release
    if tuple(map(int, re.findall(r"\d+", release)[:2])) < _TELLS_BRIDGED:
        raise OSError(errno.ENOSYS, f"Linux {release} does not tell routed packets from bridged ones, 5.7 does")


async def listing(table: str, *options: str) -> list[dict[str, Any]]:
    """What a table is made of (libnftables-json(5)); ``OSError`` as ``run``, EBADMSG where nft breaks off.

    Version 1.0.6 does, now and then, at a table that has flags: it prints what it has freed.
    """
    text = await run("--json", *options, "list", "table", *table.split())
    try:
        found: list[dict[str, Any]] = json.loads(text)["nftables"]
    except ValueError:
        raise OSError(errno.EBADMSG, f"nft breaks off in the list of table {table}") from None
    return found


async def run(*arguments: str, stdin: str = "") -> str:
    """What nft prints; ``FileNotFoundError`` where what it is asked for is not there, another ``OSError`` where it refuses."""
    try:
        process = await asyncio.create_subprocess_exec(
            "nft",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise OSError(errno.ENOPKG, "the program nft is not installed") from None
    try:
        async with asyncio.timeout(_WAIT):
            out, err = await process.communicate(stdin.encode())
    except BaseException as error:
        if process.returncode is None:
            process.kill()
            await process.wait()
        if isinstance(error, TimeoutError):
            raise OSError(errno.ETIMEDOUT, f"nft did not end within {_WAIT:g} s") from None
        raise
    if process.returncode:
        said = err.decode(errors="replace").strip().splitlines()
        if any("No such file or directory" in line for line in said):
            raise FileNotFoundError(errno.ENOENT, said[0])
        raise OSError(errno.EIO, said[0] if said else f"nft ended with {process.returncode}")
    return out.decode()
