"""A node tells again how it is when the API server comes back with a store of before, from a backup.

What it said since then is undone, and a controller gives nobody a block before every node has reported anew.
"""

import asyncio
import random
from collections.abc import Callable

from towpath.controller.status import StatusWriter
from towpath.controller.store import Store

AFTER = (1.0, 20.0)
"""Seconds after which it does: twice, since a controller may notice later than the node and counts from then on."""


def retelling(store: Store, writer: StatusWriter, *, wake: Callable[[], None]) -> Callable[[], None]:
    """What the ``store`` has to call after its changes; ``wake`` has the ``writer`` be offered a status."""

    def again() -> None:
        writer.doubt()
        wake()

    def look() -> None:
        if store.went_back:
            store.went_back = False
            for pause in AFTER:  # not all nodes at the same moment
                asyncio.get_running_loop().call_later(pause * random.uniform(1.0, 1.5), again)

    return look
