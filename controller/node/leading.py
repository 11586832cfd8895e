"""By which neighbours next hops off the link are reached while a speaker starts: what the one before it was told still holds.

As with routes (``routes.former``): a former way goes once its neighbour told it to this speaker and does no longer, or has told all
it has, and all of them go once the speaker is in sync.
"""

from collections.abc import Collection, Mapping

from towpath.model.net import Address, Prefix

Ways = Mapping[Prefix, tuple[Address, ...]]
"""Prefixes, and the neighbours that each is reached by."""


class Leading:
    """The ways of this speaker and what is left of those before it."""

    def __init__(self) -> None:
        self._told: Ways = {}
        self._former: dict[Prefix, tuple[Address, ...]] = {}

    @property
    def ways(self) -> Ways:
        """What is to be used."""
        if not self._former:
            return self._told
        return {
            prefix: tuple(dict.fromkeys((*self._told.get(prefix, ()), *self._former.get(prefix, ()))))
            for prefix in self._told.keys() | self._former.keys()
        }

    def begin(self) -> None:
        """Another speaker."""
        self._former, self._told = dict(self.ways), {}

    def tell(self, ways: Ways) -> None:
        """The present speaker was told these."""
        self._told, before = ways, self._told
        for prefix, gateways in before.items():
            self._drop({prefix}, set(gateways).difference(ways.get(prefix, ())))

    def hear(self, peers: Collection[Address]) -> None:
        """These neighbours have told the present speaker all they have, or are not waited for."""
        self._drop(set(self._former), set(peers))

    def trust(self) -> None:
        """The present speaker knows all there is."""
        self._former = {}

    def _drop(self, prefixes: Collection[Prefix], gateways: Collection[Address]) -> None:
        for prefix in prefixes if gateways else ():
            left = tuple(gateway for gateway in self._former.pop(prefix, ()) if gateway not in gateways)
            if left:
                self._former[prefix] = left
