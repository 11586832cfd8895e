"""Ports of the node that lead to pods: what is to be known of a machine before the plugin for them runs, and at the end."""

import asyncio
import json
from pathlib import Path

import structlog

from towpath.ipam.files import write_atomically
from towpath.routes import firewall, portmap

log = structlog.get_logger()


def note(record: Path) -> None:
    """Keep which chains there were before our network had any, once in a boot. ``OSError`` where the disk refuses."""
    if not record.exists():
        write_atomically(record, json.dumps(sorted(firewall.chains())).encode())


def undo(record: Path) -> None:
    """Take away what the plugin made since; nothing where that is not known, or ports still lead to pods."""
    try:
        before = frozenset(map(str, json.loads(record.read_bytes())))
    except (OSError, ValueError, TypeError):
        return
    try:
        busy = asyncio.run(portmap.remove(before))
    except OSError as error:
        log.warning("hostports.refused", error=str(error), remedy="none needed: the next boot takes it")
        return
    for table in busy:
        log.warning("hostports.left", table=table, remedy="ports still lead to pods; the next boot takes it")
