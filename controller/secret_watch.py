"""The named Secrets as a watch of their namespace shows them; of others nothing is kept.

One watch for the namespace and not one for each Secret: an agent does not know which of a thousand peers' passwords it
will need next, and the API server serves one watch a node more easily than a thousand.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from towpath.controller.kindstore import number

OF_INTEREST = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"
"""Field selector of the watch: what Helm keeps in the namespace is large and never a password of ours."""

Body = Mapping[str, Any]


class Known(Struct, frozen=True):
    """A Secret as it was last seen; ``body`` None: there is none of this name."""

    body: Body | None
    version: int


class WatchedSecrets:
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

    def listing(self, kind: str) -> "_Listing":
        """A list begins."""
        del kind
        return _Listing(self._names, self._listed)

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

    def kind_missing(self, kind: str) -> None:
        """Cannot be: every API server has Secrets."""

    def refused(self, kind: str, message: str) -> None:
        """Not allowed: the watch is not open, so each is asked for by its name."""

    def answered(self) -> None:
        """Of no interest."""

    def look_again_in(self, kind: str) -> float | None:
        """Never: no breaker holds anything back."""
        del kind
        return None


class _Listing:
    """A list of the namespace on its way; only what is named is kept."""

    def __init__(self, names: frozenset[str], done: Callable[[Mapping[str, Known]], None]) -> None:
        self._names = names
        self._done = done
        self._found: dict[str, Known] = {}

    def page(self, objects: Iterable[Body]) -> None:
        """Some of the objects."""
        bodies = ((str(body["metadata"]["name"]), body) for body in objects)
        self._found |= {name: _known(body) for name, body in bodies if name in self._names}

    def done(self, *, version: str) -> None:
        """That was all."""
        del version
        self._done(self._found)


def _known(body: Body | None) -> Known:
    """What is kept: the values alone, no annotation that may have them as text once more."""
    if body is None:
        return Known(None, 0)
    values = {field: body[field] for field in ("data", "stringData") if body.get(field)}
    return Known(values, number(str(body["metadata"].get("resourceVersion", ""))))
