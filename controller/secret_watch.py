"""The named Secrets as a watch of their namespace shows them; of others nothing is kept.

One watch for the namespace and not one for each Secret: an agent does not know which of a thousand peers' passwords it
will need next, and the API server serves one watch a node more easily than a thousand.
"""

import functools
from collections.abc import Callable, Mapping

from msgspec import Struct

from towpath.controller.following import Body, Follower, Gathered
from towpath.controller.kindstore import number

OF_INTEREST = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
"""Field selector of the watch: what Helm keeps in the namespace is large and never a password of ours."""


class Known(Struct, frozen=True):
    """A Secret as it was last seen; ``body`` None: there is none of this name."""

    body: Body | None
    version: int


class WatchedSecrets(Follower):
    """A sink for a reflector of Secrets. ``changed`` is called after each change of a named one."""

    def __init__(self, *, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._names: frozenset[str] = frozenset()
        self._known: dict[str, Known] = {}
        self._open = False

    def name(self, names: frozenset[str]) -> None:
        """From now on these are wanted, others are forgotten."""
        self._names = names
        self._known = {name: one for name, one in self._known.items() if name in names}

    def get(self, name: str) -> Known | None:
        """What the watch knows of it; None: nothing, somebody has to ask."""
        return self._known.get(name) if self._open else None

    def asked(self, name: str, body: Body | None) -> None:
        """What the API server said when it was asked; from here on the watch tells of changes."""
        if self._open and name not in self._known:
            self._known[name] = _known(body)

    # -- what a reflector calls -----------------------------------------------------------------------------------------

    def listing(self, kind: str) -> Gathered[Known]:
        """A list of the namespace begins; only what is named now is kept."""
        del kind
        return Gathered(functools.partial(_read, self._names), self._listed)

    def _listed(self, found: Mapping[str, Known]) -> None:
        self._known = {name: found.get(name) or _known(None) for name in self._names}
        self._changed()

    def upserted(self, kind: str, body: Body) -> None:
        """One was added or changed; a state that is older than what is known is no news."""
        del kind
        name, seen = str(body["metadata"]["name"]), _known(body)
        known = self._known.get(name)
        if name in self._names and (known is None or seen.version > known.version):
            self._known[name] = seen
            self._changed()

    def deleted(self, kind: str, name: str) -> None:
        """One is gone."""
        del kind
        if name in self._names:
            self._known[name] = _known(None)
            self._changed()

    def contact(self, kind: str, *, connected: bool) -> None:
        """While the watch is not open, changes may be missed."""
        del kind
        self._open = connected

    def refused(self, kind: str, message: str) -> None:
        """Not allowed: the watch is not open, so each is asked for by its name."""


def _known(body: Body | None) -> Known:
    """What is kept: the values alone, no annotation that may have them as text once more."""
    if body is None:
        return Known(None, 0)
    values = {field: body[field] for field in ("data", "stringData") if body.get(field)}
    return Known(values, number(str(body["metadata"].get("resourceVersion", ""))))


def _read(names: frozenset[str], body: Body) -> tuple[str, Known] | None:
    name = str(body["metadata"]["name"])
    return (name, _known(body)) if name in names else None
