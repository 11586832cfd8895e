"""Ports of the node that lead to pods: what is to be known of a machine before the plugin for them runs, and at the end."""

import asyncio
import json
import time
from collections.abc import Collection
from pathlib import Path

import structlog

from towpath.ipam.cni import NETWORK
from towpath.ipam.files import write_atomically
from towpath.ipam.hostlocal import Record, is_container
from towpath.routes import firewall, portmap
from towpath.routes.holders import ANSWER_WITHIN, holders

log = structlog.get_logger()


def note(record: Path) -> None:
    """Keep which chains there were before our network had any, once in a boot. ``OSError`` where the disk refuses."""
    if not record.exists():
        write_atomically(record, json.dumps(sorted(firewall.chains())).encode())


def undo(record: Path, *, records: Collection[Record]) -> None:
    """Take away what the plugin made since; nothing where that is not known, or ports still lead to pods.

    ``records``: who has which address, by host-local. A pod of which nobody hears any more is gone, and its ports with it.
    """
    try:
        before = frozenset(map(str, json.loads(record.read_bytes())))
    except (OSError, ValueError, TypeError):
        return
    try:
        busy = asyncio.run(portmap.remove(before, network=NETWORK))
        if busy and (gone := _gone(records)):
            busy = asyncio.run(portmap.remove(before, network=NETWORK, gone=gone))
    except OSError as error:
        log.warning("hostports.refused", error=str(error), remedy="none needed: the next boot takes it")
        return
    for table in busy:
        log.warning("hostports.left", table=table, remedy="ports still lead to pods; the next boot takes it")


def _gone(records: Collection[Record]) -> frozenset[str]:
    """Containers that have addresses, and that are at none of them. Without any nobody waits."""
    known = [one for one in records if is_container(one)]
    answering = holders({one.address for one in known}, wait=lambda: time.sleep(ANSWER_WITHIN))
    there = {one.container for one in known if one.address in answering}
    return frozenset(one.container for one in known) - there
