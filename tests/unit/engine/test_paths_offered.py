"""ADD-PATH in the OPENs (RFC 7911 section 4): offered where a session carries all paths, agreed on by direction."""

import pytest
from exabgp.bgp.message.open.capability import Capability
from exabgp.bgp.message.open.capability.addpath import AddPath
from exabgp.protocol.family import AFI, SAFI
from msgspec.structs import replace

from tests.netns.engine.rig import make_session, make_settings
from towpath.bgp.exabgp.codec import Agreement, read_open
from towpath.bgp.exabgp.neighbor import neighbor, open_message
from towpath.model.net import Family

FOUR, SIX = (AFI.ipv4, SAFI.unicast), (AFI.ipv6, SAFI.unicast)


def agreed(theirs: dict[tuple[AFI, SAFI], int] | None, *, ours: bool = True) -> Agreement:
    """What a session of ours agrees on with a peer that offers these directions by family."""
    session = make_session("v4", "10.9.0.2", add_paths=ours)
    view = neighbor(session, make_settings())
    sent = open_message(session, view, restarting=False, preserved=False)
    other = replace(session, remote_as=session.local_as, local_as=session.remote_as)
    peer = open_message(other, neighbor(other, make_settings()), restarting=False, preserved=False)
    peer.capabilities.pop(Capability.CODE.ADD_PATH, None)
    if theirs is not None:
        offer = AddPath()
        offer.update(theirs)
        peer.capabilities[Capability.CODE.ADD_PATH] = offer
    return read_open(peer.message()[19:], sent, view, role=None, strict_role=False)


@pytest.mark.parametrize(
    ("theirs", "taken", "told"),
    [
        ({FOUR: 3, SIX: 3}, (Family.IPV4, Family.IPV6), (Family.IPV4, Family.IPV6)),
        ({FOUR: 1, SIX: 2}, (Family.IPV6,), (Family.IPV4,)),
        ({FOUR: 3}, (Family.IPV4,), (Family.IPV4,)),
        ({FOUR: 3, SIX: 7}, (), ()),
        (None, (), ()),
    ],
    ids=["both", "a direction each", "one family", "an unknown direction", "not offered"],
)
def test_who_may_send_identifiers(
    theirs: dict[tuple[AFI, SAFI], int] | None, taken: tuple[Family, ...], told: tuple[Family, ...]
) -> None:
    """One sends them only where it offered to send and the other to receive; a value that nobody knows makes it void."""
    found = agreed(theirs)
    assert (found.paths_taken, found.paths_told) == (taken, told)


def test_nothing_is_agreed_on_that_we_do_not_offer() -> None:
    """Without ``addPaths`` the capability is not in our OPEN."""
    found = agreed({FOUR: 3, SIX: 3}, ours=False)
    assert (found.paths_taken, found.paths_told) == ((), ())
