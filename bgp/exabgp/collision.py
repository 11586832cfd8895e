"""Which of several connections becomes the session (RFC 4271 §6.8), and when one may be confirmed (docs/decisions/0007).

Peers take a new connection over an established one for our restart, and drop what they did not hear since the last one.
So no two connections of ours are ever under way in a way that a peer can see one after the other: a KEEPALIVE, which
makes a session of a connection, waits until every other one has its OPEN or is gone; nothing is dialled while the
peer's own connection comes up, and none is taken in the moment in which one of them becomes the session.
"""

from collections.abc import Collection
from typing import Final

from towpath.bgp.exabgp import codec
from towpath.bgp.exabgp.connection import Connection
from towpath.bgp.ports import Loss, LossKind

CONNECTION_COLLISION: Final = 7
CONCURRENT_SECONDS = 2.0
"""A connection without its OPEN is waited for this long: one that is never answered must not block."""


def give_up(connection: Connection) -> None:
    """Close a connection in favour of another."""
    loss = Loss(LossKind.REFUSED, codec.CEASE, CONNECTION_COLLISION, "another connection was kept")
    connection.close(loss, say=codec.notification(codec.CEASE, CONNECTION_COLLISION))


def stays(connection: Connection, *, beside: Connection, ours: tuple[int, int]) -> bool:
    """Whether a connection whose OPEN is in is kept and the other is not; ``ours``: our identifier and AS.

    The side with the higher identifier, or AS where they are equal (RFC 6286 §2.3), keeps what it dialled. Of two that
    one side dialled, the newer one stays.
    """
    assert connection.agreement is not None
    higher = ours > (connection.agreement.peer_router_id, connection.agreement.peer_as)
    return connection.dialled in (beside.dialled, higher)


def undecided(
    connection: Connection, among: Collection[Connection], *, now: float, dialling_since: float | None
) -> bool:
    """Whether another one may still take its place: without its OPEN, or (``dialling_since``) not even there."""
    since = now - CONCURRENT_SECONDS
    if not connection.dialled and dialling_since is not None and dialling_since > since:
        return True
    return any(one is not connection and one.agreement is None and one.born > since for one in among)


def peer_dials(among: Collection[Connection], *, now: float) -> bool:
    """Whether a connection of the peer's is coming up."""
    return any(one.agreement is not None or now - one.born < CONCURRENT_SECONDS for one in among)


def comes_up(among: Collection[Connection], *, now: float) -> bool:
    """Whether one was confirmed a moment ago: the peer may have the session already, and would end it for another."""
    return any(one.confirmed_at is not None and now - one.confirmed_at < CONCURRENT_SECONDS for one in among)
