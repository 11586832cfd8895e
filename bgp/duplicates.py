"""Sessions that are asked for twice: the first counts, and whoever loses is told (RULES: who talks to whom, 3)."""

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from towpath.model.cluster import BGPPeer
from towpath.model.net import Address
from towpath.model.reason import Reason, Refusal
from towpath.model.speaker import Session

Chosen = dict[tuple[Address, int], tuple[Session, BGPPeer]]
"""Sessions by the peer's address and port, each with the object that asks for it."""


def first_of_each(asked: Iterable[tuple[Session, BGPPeer]]) -> tuple[Chosen, tuple[Refusal, ...]]:
    """Of sessions with the same peer, given in the order in which they count, the first; and who loses."""
    chosen: Chosen = {}
    named: dict[str, tuple[Session, BGPPeer]] = {}
    refused: list[Refusal] = []
    for session, peer in asked:
        key = (session.peer_address, session.peer_port)
        # by name too: two that write no port are one, also where their AS numbers lead to different ports
        found = chosen.get(key) or named.get(session.name)
        if found is None:
            chosen[key] = named[session.name] = session, peer
        elif session.scope != "Reverse" and found[1] is not peer:
            message = f"a session with {_shown(session)} is already asked for by BGPPeer {found[1].name}"
            refused.append(Refusal(Reason.DUPLICATE_PEER, message, session.why[0]))
    return chosen, tuple(refused)


def unless_duplicate(session: Session, explicit: Mapping[tuple[Address, int], Session]) -> Session:
    """A mesh session, withheld where an explicit one is the same on the wire."""
    other = explicit.get((session.peer_address, session.peer_port))
    if other is None or other.local_address not in (None, session.local_address):
        return session
    return replace(session, state="Withheld", reason=Reason.DUPLICATE_PEER)


def _shown(session: Session) -> str:
    if session.interface is not None:
        return f"the router at {session.interface}"
    return f"{session.peer_address} port {session.peer_port}"
