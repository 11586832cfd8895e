"""What peers are told: each session's Adj-RIB-Out, and when it looks at prefixes again.

The table says what has been announced, decided, asked for or is otherwise now; here that reaches the sessions that it concerns. A
reflector that has just started holds learned routes back until it has heard its peers (``startup``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

from towpath.bgp.decision import ranked
from towpath.bgp.egress import Announcing, Egress
from towpath.bgp.outbound import AdjRibOut, Made
from towpath.bgp.path import Path
from towpath.bgp.peer import Opening, Peer
from towpath.bgp.ports import Kick, Negotiated
from towpath.bgp.rib import AdjRibIn
from towpath.bgp.startup import Startup
from towpath.model.net import Family


class Telling:
    """See the module. ``peers`` is the table's own mapping, ``ribs`` gives what all sessions told us."""

    def __init__(
        self, peers: Mapping[str, Peer], *, ribs: Callable[[Family], list[AdjRibIn]], startup: Startup, kick: Kick
    ) -> None:
        self._peers = peers
        self._ribs = ribs
        self._startup = startup
        self._kick = kick
        self._made: Made = {}
        self.announcing = Announcing(self._ranked)

    # a session

    def opening(self, name: str, negotiated: Negotiated, limit: int) -> bytes:
        """The first messages of a session that is up for the peer with them, and not yet for us."""
        peer = self._peers.get(name)
        if peer is None:
            return b""
        peer.opening = self._opening(peer, negotiated)
        return peer.opening.out.pull(limit=limit)

    def _opening(self, peer: Peer, negotiated: Negotiated) -> Opening:
        egress = Egress(negotiated, self.announcing, peer.session)
        holding = self.announcing.deferring and egress.redistributes
        out = AdjRibOut(negotiated, egress.told, self._made, holding=holding)
        self._touch(out, egress)
        return Opening(negotiated, out, egress, self._decides(peer))

    def _decides(self, peer: Peer) -> tuple[object, ...]:
        """What a session is told depends on."""
        return self.announcing.generation, self.announcing.deferring, peer.session

    def begin(self, peer: Peer, negotiated: Negotiated) -> Egress:
        """Tell a session that is up what it was not told as it came up, or what differs by now."""
        opening, peer.opening = peer.opening, None
        if opening is None or opening.negotiated is not negotiated:
            opening = self._opening(peer, negotiated)
        elif opening.made_from != self._decides(peer):
            opening.egress.adopt(peer.session)
            opening.out.holding = self.announcing.deferring and opening.egress.redistributes
            opening.out.look_again()
            self._touch(opening.out, opening.egress)
        peer.out, peer.egress = opening.out, opening.egress
        return peer.egress

    def pull(self, name: str, limit: int) -> bytes:
        """Messages for a session, about ``limit`` bytes; empty: nothing to send."""
        peer = self._peers.get(name)
        if peer is None or peer.out is None:
            return b""
        made = peer.out.pull(limit=limit)
        if not made and peer.out.waiting:
            self._kick(name)  # it has looked at many prefixes in vain; others come first now
        return made

    def farewell(self, name: str) -> bytes:
        """Withdrawals of all that a session was told."""
        peer = self._peers.get(name)
        return b"" if peer is None or peer.out is None else peer.out.farewell()

    # what it is told again

    def resend(self, name: str, family: Family) -> None:
        """The peer wants our announcements of a family again."""
        peer = self._peers.get(name)
        if peer is not None and peer.out is not None and peer.egress is not None:
            peer.out.resend(family)
            self._touch(peer.out, peer.egress)
            if peer.out.waiting:
                self._kick(name)

    def reconsider(self, name: str, peer: Peer) -> None:
        """Decide anew all that a session is told; only what differs is sent."""
        if peer.out is None or peer.egress is None:
            return
        peer.egress.adopt(peer.session)
        peer.out.look_again()
        self._touch(peer.out, peer.egress)
        self._kick(name)

    def _touch(self, out: AdjRibOut, egress: Egress) -> None:
        for family in out.carried:
            out.touch(family, self.announcing.own(family))
            if egress.redistributes and not self.announcing.deferring:
                for rib in self._ribs(family):
                    out.touch(family, rib.candidates())

    def announced(self, wires: Mapping[Family, Iterable[bytes]], *, everything: bool) -> None:
        """Our own announcements of these prefixes are others now; ``everything``: so may be whatever anybody is told."""
        for name, peer in self._peers.items():
            if everything:
                self.reconsider(name, peer)
            elif peer.out is not None:
                for family, some in wires.items():
                    peer.out.touch(family, some)
                if peer.out.waiting:
                    self._kick(name)

    # what others told us

    @property
    def redistributes(self) -> bool:
        """Whether any session is told what others told us."""
        return any(peer.egress is not None and peer.egress.redistributes for peer in self._peers.values())

    def decided(self, family: Family, wires: Mapping[bytes, None]) -> None:
        """Sessions that are told what others told us look at prefixes that were decided."""
        if not wires:
            return
        self.announcing.moved(family, wires)
        if self.announcing.deferring:
            return
        for name, peer in self._peers.items():
            if peer.out is not None and peer.egress is not None and peer.egress.redistributes:
                peer.out.touch(family, wires)
                self._kick(name)

    def defer_no_longer(self, now: float) -> None:
        """Tell what was learned, and that it is all, once a reflector that has started waits for nobody any more."""
        if not self.announcing.deferring or self._startup.deferred(now):
            return
        self.announcing.deferring = False
        learned = {family: dict.fromkeys(chain(*(rib.candidates() for rib in self._ribs(family)))) for family in Family}
        for name, peer in self._peers.items():
            if peer.out is not None and peer.egress is not None and peer.egress.redistributes:
                peer.out.holding = False
                for family, wires in learned.items():
                    peer.out.touch(family, wires)
                self._kick(name)

    def _ranked(self, family: Family, wire: bytes, limit: int) -> Sequence[Path]:
        """The best paths of a prefix, or of those that are nodes' and only for others; each has another next hop."""
        paths = [path for rib in self._ribs(family) if (path := rib.accepted.get(wire)) is not None]
        if not paths:
            passing = [path for rib in self._ribs(family) if (path := rib.passing.get(wire)) is not None]
            paths = [path for path in passing if path.via.node is not None and not path.via.source.ebgp]
        return ranked(paths, limit=limit)
