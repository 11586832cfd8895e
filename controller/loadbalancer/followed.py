"""Services and namespaces as the controller follows them: while there is a pool for load balancers, or an address in use.

A sink for two reflectors. What was written by ourselves counts at once: a watch that is behind does not take it back.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from towpath.controller.following import AtTimes, Body, Gathered, labels_of
from towpath.ipam.apart import Labels
from towpath.model.balanced import Balanced, decode_balanced
from towpath.model.reason import InvalidSpecError
from towpath.model.service import key_of

log = structlog.get_logger(__name__)
KINDS = ("Service", "Namespace")


class Followed(AtTimes):
    """What is known of services and namespaces. ``changed`` is called after each change."""

    def __init__(self, *, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed
        self.services: dict[str, Balanced] = {}
        self.namespaces: dict[str, Labels] = {}
        self._unheard = set(KINDS)

    def want(self, wanted: bool) -> None:  # the one thing that it says
        """Whether they are needed; what is not is forgotten."""
        self.be_wanted(wanted)
        if not wanted:
            self.services, self.namespaces, self._unheard = {}, {}, set(KINDS)

    @property
    def complete(self) -> bool:
        """Whether both kinds were listed."""
        return not self._unheard

    def wrote(self, body: Body) -> None:
        """The API server's word on a Service that is known: the answer to a write or a read.

        Of one that is not, the watch has said that it is gone, perhaps after this was said, or has yet to say that it is there.
        """
        key = key_of(body)
        known = self.services.get(key)
        if known is not None and known.uid == body["metadata"].get("uid"):
            self._take("Service", key, body)

    def gone(self, key: str) -> None:
        """The API server's word that there is no such Service."""
        self.services.pop(key, None)

    # -- what a reflector calls ---------------------------------------------------------------------------------------------

    def listing(self, kind: str) -> Gathered[Balanced | Labels | None]:
        """A list begins."""
        return Gathered(lambda body: (_key(kind, body), read(kind, body)), functools.partial(self.listed, kind))

    def listed(self, kind: str, found: Mapping[str, Balanced | Labels | None]) -> None:
        """What all objects of a kind say, by key; None: nothing that can be read, and what it said last stays."""
        known: dict[str, Any] = self.services if kind == "Service" else self.namespaces
        for key in known.keys() - found.keys():
            del known[key]
        for key, one in found.items():
            self._keep(key, one)
        self._unheard.discard(kind)
        self._changed()

    def upserted(self, kind: str, body: Body) -> None:
        """One was added or changed."""
        if self._take(kind, _key(kind, body), body):
            self._changed()

    def deleted(self, kind: str, name: str) -> None:
        """One is gone."""
        known: dict[str, Any] = self.services if kind == "Service" else self.namespaces
        known.pop(name, None)
        self._changed()

    def kind_missing(self, kind: str) -> None:
        """A server without services: nothing is decided, and nothing forgotten."""

    def refused(self, kind: str, message: str) -> None:
        """We are not to read them; the reflector says so in the log."""

    def _take(self, kind: str, key: str, body: Body) -> bool:
        return self._keep(key, read(kind, body))

    def _keep(self, key: str, one: Balanced | Labels | None) -> bool:
        """Keep what an object says, unless something newer is known of it; whether anything is other than before."""
        if one is None:
            return False
        if not isinstance(one, Balanced):
            before, self.namespaces[key] = self.namespaces.get(key), one
            return before != one
        old = self.services.get(key)
        if old is not None and old.uid == one.uid and one.version < old.version:
            return False
        self.services[key] = one
        return old != one


def read(kind: str, body: Body) -> Balanced | Labels | None:
    """What an object says; None where it has not the shape of its kind."""
    if kind == "Namespace":
        return labels_of(body)
    try:
        return decode_balanced(body)
    except InvalidSpecError as error:
        log.warning("service.unreadable", error=str(error), remedy="correct the Service")
        return None


def _key(kind: str, body: Body) -> str:
    return key_of(body) if kind == "Service" else str(body["metadata"]["name"])
