"""What the speaker knows at this moment, for people who ask: what was heard of a prefix, what is used, what was told.

Reads the table and changes nothing. Whole tables come in pieces, so that the loop goes on between them: a person's
question costs no keepalive. Items are plain data with the names and units of ``towpath policy test``.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from towpath.bgp.carried import read
from towpath.bgp.egress import learned
from towpath.bgp.path import Path
from towpath.bgp.peer import Peer
from towpath.bgp.rib import AdjRibIn, LocRib
from towpath.bgp.sent import Encoded
from towpath.bgp.verdict import attributes, outcome
from towpath.model.codec import to_builtins
from towpath.model.net import Family, Prefix, family_of, from_wire, to_wire
from towpath.model.reason import Reason
from towpath.model.speaker import Report

Item = dict[str, Any]


class Look:
    """Reads a table: ``peers`` by session, ``loc`` by family, ``normal`` gives the normal priority of a family."""

    def __init__(
        self,
        peers: Mapping[str, Peer],
        loc: Mapping[Family, LocRib],
        *,
        normal: Callable[[Family], int],
        report: Report,
    ) -> None:
        self._peers = peers
        self._loc = loc
        self._normal = normal
        self._report = report

    def sessions(self) -> Iterator[Item]:
        """The sessions, as they are reported to the agent."""
        for one in self._report.sessions:
            yield to_builtins(one)

    def prefix(self, asked: Prefix) -> Item:
        """The longest prefix that anybody told us, or that we told anybody, and that holds ``asked``; and all of it."""
        family = family_of(asked)
        for length in range(asked.prefixlen, -1, -1):
            wire = to_wire(asked.supernet(new_prefix=length))
            heard, told = list(self._heard(family, wire)), list(self._told(family, wire))
            if heard or told:
                return {
                    "prefix": str(from_wire(family, wire)),
                    "heard": heard,
                    "used": self._used(family, wire),
                    "told": told,
                }
        return {"prefix": str(asked), "heard": [], "used": None, "told": []}

    def routes(self) -> Iterator[Item]:
        """What is used: the Loc-RIB, with the attributes of the first path."""
        for family, loc in self._loc.items():
            for wire in list(loc.selected):
                used = self._used(family, wire)
                if used is None:
                    continue  # withdrawn since this began
                hop, held = loc.selected[wire].next_hops[0], self._held(family, wire, session=used["sessions"][0])
                found = next((one for one in held if one[2].via.hop.address == hop), None)
                yield {
                    "prefix": str(from_wire(family, wire)),
                    **used,
                    "stale": found is not None and wire in found[1].stale,
                    "attributes": self._of_path(found[2], family) if found is not None else None,
                }

    def announcements(self) -> Iterator[Item]:
        """What each session was told: the Adj-RIBs-Out."""
        for name, peer in list(self._peers.items()):
            for family in Family:
                if peer.out is not None:
                    for wire in list(peer.out.told(family).prefixes()):
                        for one in self._told(family, wire, session=name):
                            yield {"prefix": str(from_wire(family, wire)), **one}

    def _used(self, family: Family, wire: bytes) -> Item | None:
        selection = self._loc[family].selected.get(wire)
        if selection is None:
            return None
        return {
            "nextHops": list(map(str, selection.next_hops)),
            "sessions": list(selection.sessions),
            "provisional": selection.provisional,
        }

    def _heard(self, family: Family, wire: bytes) -> Iterator[Item]:
        for name, rib, path in self._held(family, wire):
            yield {
                "session": name,
                "action": "Accept" if wire in rib.accepted else "Reject",
                "reason": _reason(rib, wire, path),
                "rule": path.rule.name if path.rule is not None else None,
                "reachable": path.via.reachable,
                "stale": wire in rib.stale,
                "attributes": self._of_path(path, family),
            }

    def _held(self, family: Family, wire: bytes, *, session: str | None = None) -> Iterator[tuple[str, AdjRibIn, Path]]:
        """The paths of a prefix, of all sessions or of one."""
        for name in self._peers if session is None else (session,):
            peer = self._peers.get(name)
            for receiver in peer.inbound.of(family) if peer is not None else ():
                path = receiver.rib.get(wire)
                if path is not None:
                    yield name, receiver.rib, path

    def _told(self, family: Family, wire: bytes, *, session: str | None = None) -> Iterator[Item]:
        for name in self._peers if session is None else (session,):
            peer = self._peers.get(name)
            if peer is None or peer.out is None or peer.negotiated is None:
                continue
            for encoded in peer.out.told(family).of(wire):
                yield {
                    "session": name,
                    "peerIP": str(peer.session.peer_address),
                    "attributes": self._of_wire(encoded, family, peer),
                }

    def _of_path(self, path: Path, family: Family) -> Item | None:
        if path.attributes.refusal is Reason.MALFORMED:
            return None
        candidate = learned(path)
        return attributes(outcome(candidate.carried, candidate.next_hop, self._normal(family)))

    def _of_wire(self, encoded: Encoded, family: Family, peer: Peer) -> Item | None:
        next_hop, block = encoded
        wide = peer.negotiated is None or peer.negotiated.four_octet_as
        carried = read(block, four_octet_as=wide, external=peer.session.ebgp)
        return attributes(outcome(carried, next_hop, self._normal(family)))


def _reason(rib: AdjRibIn, wire: bytes, path: Path) -> str:
    return (Reason.MAX_PREFIX if wire in rib.capped else path.verdict).value
