"""The nftables table of towpath: packets to announced services that nobody translated, and of pods to BGP, are dropped.

The first have no pod to go to: the node would send them back where they came from, and they would go round until their TTL
ends. The others would open sessions with speakers; only pods that are peers of this node may, and with this node alone.
The table is ours by its name, ``inet towpath``, and always replaced as a whole in one transaction, so that there is no moment
without it. What ``nft`` lists after that is what it has to list at every later look; else somebody has changed it.
"""

import asyncio
import errno
import json
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from towpath.model.net import Address, Family, Prefix

TABLE = "inet towpath"
PRIORITY = 10
"""After the filters of kube-proxy, which answers for services without endpoints."""
LOOK_EVERY = 30.0
"""Seconds between two looks at a table that should be as it was left."""
_WAIT = 20.0


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

    def __bool__(self) -> bool:
        return bool(self.services or self.pools)


def script(rules: Rules) -> str:
    """The whole table in nft's language; it replaces what there is. Nothing to be dropped: there is none."""
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
        speakers = [f"{address} . {port}" for address, port in rules.speakers if address.version == family]
        lines += _set(f"speakers{family:d}", f"{kind} . inet_service", speakers)
        peers = [f"{pod} . {address}" for pod, address in rules.peers if pod.version == family]
        lines += _set(f"peers{family:d}", f"{kind} . {kind}", peers)
    lines += _chain("services", "forward", (f"{ip} daddr @services{n} counter drop" for n, ip in _IP))
    to_speakers = ((n, ip, f"{ip} daddr . tcp dport @speakers{n}") for n, ip in _IP)
    lines += _chain("bgp_forward", "forward", (line for one in to_speakers for line in _bgp(*one)))
    lines += _chain(
        "bgp_input",
        "input",
        (
            *(f"tcp dport {rules.port} {ip} saddr . {ip} daddr @peers{n} accept" for n, ip in _IP),
            *(line for n, ip in _IP for line in _bgp(n, ip, f"tcp dport {rules.port}")),
        ),
    )
    return "\n".join([*lines, "}"]) + "\n"


_IP = (("4", "ip"), ("6", "ip6"))


def _bgp(family: str, ip: str, match: str) -> Iterator[str]:
    """Drop what matches and comes from pods, seen by its own source or by what that was before translation."""
    yield f"{match} {ip} saddr @nodes{family} accept"
    yield f"{match} {ip} saddr @pools{family} counter drop"
    yield f"{match} ct original {ip} saddr @pools{family} counter drop"


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


def _chain(name: str, hook: str, rules: Iterable[str]) -> Iterator[str]:
    yield f"  chain {name} {{"
    yield f"    type filter hook {hook} priority {PRIORITY}; policy accept;"
    yield from (f"    {rule}" for rule in rules)
    yield "  }"


class Table:
    """The table in this network namespace. Every method raises ``OSError`` where nft or the kernel refuses."""

    def __init__(self) -> None:
        self._rules: Rules | None = None
        self._left: Any = None
        """What nft listed after the last change."""
        self._looked = 0.0

    async def desire(self, rules: Rules) -> None:
        """Drop what these rules say; where they say nothing there is no table."""
        now = asyncio.get_running_loop().time()
        if rules == self._rules and now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        present = await _listed()
        if rules == self._rules and present == self._left:
            return
        self._rules = None
        if rules or present is not None:
            await _run("-f", "-", stdin=script(rules))
        self._left = await _listed() if rules else None
        self._rules = rules


async def remove() -> None:
    """Take the table away, if it is there."""
    if await _listed() is not None:
        await _run("-f", "-", stdin=script(Rules()))


async def _listed() -> Any:
    """The table without counters and handles; None: there is none."""
    try:
        text = await _run("--json", "--stateless", "list", "table", *TABLE.split())
    except FileNotFoundError:
        return None
    return [_without_handles(one) for one in json.loads(text)["nftables"] if "metainfo" not in one]


def _without_handles(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_handles(item) for key, item in value.items() if key != "handle"}
    return [_without_handles(item) for item in value] if isinstance(value, list) else value


async def _run(*arguments: str, stdin: str = "") -> str:
    """What nft prints; ``FileNotFoundError`` where what it is asked for is not there."""
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
