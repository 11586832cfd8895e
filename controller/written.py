"""Our own writes, laid over a cache that may not show them yet, so that nothing is decided from before them.

A write that was answered counts from then on. A claim whose answer was lost counts as made and is looked up; nothing but
the API server's own word settles it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from towpath.model.decode import decode
from towpath.model.reason import InvalidSpecError
from towpath.model.resource import Resource, version_number

R = TypeVar("R", bound=Resource[Any, Any])
LOOK_UP_AFTER = 5.0
"""Seconds for which the cache may lag before the API server is asked about an object."""


class _Written(Struct, Generic[R], frozen=True):
    version: int
    at: float
    value: R | None
    """None: an object that does not decode."""


class OwnWrites(Generic[R]):
    """The objects of one kind as we know them better than the cache. ``clock`` is monotonic seconds."""

    def __init__(self, kind: str, *, clock: Callable[[], float]) -> None:
        self._kind = kind
        self._clock = clock
        self._written: dict[str, _Written[R]] = {}
        self._gone: dict[str, str] = {}
        self.uncertain: dict[str, R] = {}
        """Claims whose answer was lost, by name."""

    def wrote(self, body: Mapping[str, Any]) -> None:
        """The API server's word on an object: the answer to a write or a read."""
        metadata = body["metadata"]
        name = str(metadata["name"])
        try:
            value: Any = decode(self._kind, body)
        except InvalidSpecError:
            value = None
        self.uncertain.pop(name, None)
        self._gone.pop(name, None)
        self._written[name] = _Written(version_number(metadata.get("resourceVersion", "")), self._clock(), value)

    def gone(self, name: str, *, uid: str = "") -> None:
        """The API server's word that the object with this uid does not exist (any more)."""
        self.uncertain.pop(name, None)
        self._written.pop(name, None)
        if uid:
            self._gone[name] = uid

    def lost(self, claim: R) -> None:
        """A claim was sent and nothing came back: it may have been carried out, or be so later."""
        self.uncertain[claim.name] = claim

    def doubt(self) -> None:
        """The store may be another than the one that was written to: nothing counts before the API server has said so again."""
        self._written = {name: replace(one, at=-math.inf) for name, one in self._written.items()}
        self._gone.clear()

    def is_unreadable(self, name: str) -> bool:
        """Whether the object with this name is there and does not decode."""
        return name in self._written and self._written[name].value is None

    def doubtful(self) -> list[str]:
        """Names that the API server must be asked about before the next decision."""
        late = self._clock() - LOOK_UP_AFTER
        return sorted({*self.uncertain, *(name for name, one in self._written.items() if one.at <= late)})

    def over(self, cached: Mapping[str, R]) -> Mapping[str, R]:
        """What the cache shows with our writes laid over; those that it shows itself are forgotten."""
        if not (self._written or self._gone or self.uncertain):
            return cached
        result = dict(cached)
        for name, one in list(self._written.items()):
            if name in cached and version_number(cached[name].meta.resource_version) >= one.version:
                del self._written[name]
            elif one.value is not None:
                result[name] = one.value
            else:
                result.pop(name, None)
        for name, uid in list(self._gone.items()):
            if name in cached and cached[name].meta.uid == uid:
                result.pop(name, None)
            else:
                del self._gone[name]
        for name in cached.keys() & self.uncertain.keys():
            del self.uncertain[name]
        return result
