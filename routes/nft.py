"""The nftables table of towpath: packets to announced service addresses that nobody translated are dropped.

Such a packet has no pod to go to: the node would send it back where it came from, and it would go round until its TTL ends.
The table is ours by its name, ``inet towpath``, and always replaced as a whole in one transaction, so that there is no moment
without it. What ``nft`` lists after that is what it has to list at every later look; else somebody has changed it.
"""

import asyncio
import errno
import json
from collections.abc import Iterable
from typing import Any

from towpath.model.net import Family, Prefix

TABLE = "inet towpath"
PRIORITY = 10
"""After the filters of kube-proxy, which answers for services without endpoints."""
LOOK_EVERY = 30.0
"""Seconds between two looks at a table that should be as it was left."""
_WAIT = 20.0


def script(ranges: Iterable[Prefix]) -> str:
    """The whole table for these ranges, of which none lies in another, in nft's language; it replaces what there is."""
    wanted = tuple(ranges)
    lines = [f"add table {TABLE}", f"delete table {TABLE}"]
    if not wanted:
        return "\n".join(lines) + "\n"
    lines.append(f"table {TABLE} {{")
    for family, kind in ((Family.IPV4, "ipv4_addr"), (Family.IPV6, "ipv6_addr")):
        elements = ", ".join(str(one) for one in wanted if one.version == family)
        listed = [f"    elements = {{ {elements} }}"] if elements else []
        lines += [f"  set services{family:d} {{", f"    type {kind}", "    flags interval", *listed, "  }"]
    lines += [
        "  chain services {",
        f"    type filter hook forward priority {PRIORITY}; policy accept;",
        f"    ip daddr @services{Family.IPV4:d} counter drop",
        f"    ip6 daddr @services{Family.IPV6:d} counter drop",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


class Table:
    """The table in this network namespace. Every method raises ``OSError`` where nft or the kernel refuses."""

    def __init__(self) -> None:
        self._ranges: tuple[Prefix, ...] | None = None
        self._left: Any = None
        """What nft listed after the last change."""
        self._looked = 0.0

    async def desire(self, ranges: tuple[Prefix, ...]) -> None:
        """Drop what goes to these ranges, sorted and none in another; without any there is no table."""
        now = asyncio.get_running_loop().time()
        if ranges == self._ranges and now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        present = await _listed()
        if ranges == self._ranges and present == self._left:
            return
        self._ranges = None
        if ranges or present is not None:
            await _run("-f", "-", stdin=script(ranges))
        self._left = await _listed() if ranges else None
        self._ranges = ranges


async def remove() -> None:
    """Take the table away, if it is there."""
    if await _listed() is not None:
        await _run("-f", "-", stdin=script(()))


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
