"""A pod's life on its node: which addresses it has, and since when something of it has been running."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from towpath.model.net import Address
from towpath.model.workload import Workload, mapping

_STATUSES = ("containerStatuses", "initContainerStatuses")
_STATES = ("state", "lastState")


class Living(Struct, frozen=True):
    """A pod with addresses of its own; ``key`` is ``NAMESPACE/NAME``."""

    key: str
    addresses: tuple[Address, ...]
    started: float
    """When the latest of its containers started, in seconds since the epoch; 0: none has."""


def living_of(workload: Workload, body: Mapping[str, Any]) -> Living:
    """What a pod of the API with addresses of its own says of its life."""
    return Living(workload.key, workload.addresses, max(_starts(mapping(body.get("status"))), default=0.0))


def _starts(status: Mapping[str, Any]) -> Iterator[float]:
    """When containers of a pod started. When one finished says nothing: after a boot runtimes write the time of finding it."""
    for statuses in _STATUSES:
        listed = status.get(statuses)
        for one in listed if isinstance(listed, list) else ():
            for state in _STATES:
                for what in mapping(mapping(one).get(state)).values():
                    try:
                        yield datetime.fromisoformat(str(mapping(what).get("startedAt"))).timestamp()
                    except ValueError:
                        continue
