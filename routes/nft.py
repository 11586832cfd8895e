"""The nftables table of towpath in the kernel of this network namespace, as ``ruleset`` words it.

The table is ours by its name, ``inet towpath``, and always replaced as a whole in one transaction, so that there is no moment
without it. What ``nft`` lists after that is what it has to list at every later look; else somebody has changed it.
"""

import asyncio
import contextlib
import errno
import json
import os
import re
from typing import Any

from towpath.model.net import Address
from towpath.routes import firewall
from towpath.routes.foreign import Foreign
from towpath.routes.nftwatch import Watch
from towpath.routes.ruleset import NAT_CHAIN, TABLE, Rules, script

LOOK_EVERY = 30.0
"""Seconds between two looks at a table that, as far as was heard, is as it was left."""
_WAIT = 20.0
_REFUSED = frozenset({errno.EIO, errno.ENOENT, errno.ENOSYS})
"""nft or the kernel took a look, and will not."""
_TELLS_BRIDGED = (5, 7)


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
    """Take the table away, if it is there; ``OSError`` as above, but for a machine without nft on which there is none."""
    try:
        if await _listed() is not None:
            await run("-f", "-", stdin=script(Rules(), nat=False))
    except OSError as error:
        if error.errno != errno.ENOPKG or any(one.startswith(f"{TABLE} ") for one in firewall.chains()):
            raise


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
