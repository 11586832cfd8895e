"""Import policy: the verdict on a path for a prefix, as one ``Reason``.

The first that applies, in this order:

1. what is wrong with the attributes or the next hop (decided once for a block, before this module is asked);
2. prefixes that nobody may tell us: martians, our own addresses, our own blocks, ranges of services;
3. ``importPolicy: None``;
4. the session's filters (``filter``), which this module never sees: ``receive`` asks them before it asks here;
5. block-origin validation, inside pools and blocks;
6. outside them, ``importPolicy: All`` accepts, and otherwise nothing does; the default route never, for only a filter
   may name it.

``plain`` answers for prefixes that come near none of the ranges of 2 and 5, which the first bytes of the address
tell (``special``): that answer is the same for all of them, so the hot path asks once for each attribute block.
"""

from ipaddress import ip_network
from typing import Final

from msgspec import Struct

from towpath.bgp.origin import Claim, Origins, Owner, addresses, judge_address
from towpath.bgp.ranges import Near, Ranges
from towpath.model.net import Family, Prefix, host_prefix
from towpath.model.reason import Reason
from towpath.model.speaker import Session, SpeakerState

MARTIANS: Final[tuple[Prefix, ...]] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "224.0.0.0/3",
        "::/128",
        "::1/128",
        "::ffff:0:0/96",  # IPv4 written as IPv6: no other part of the system takes it
        "fe80::/10",
        "ff00::/8",
    )
)


class Standing(Struct, frozen=True):
    """What of a session the import policy asks."""

    accept_all: bool
    accept_none: bool
    provisional: bool
    """The peer, or for iBGP the next hop, may be a node that we know, and the API server is away."""
    ebgp: bool
    neighbour: bool
    """The peer is a next hop that is reached while its session is up."""
    inside_as: int
    """The AS that an internal path without AS numbers comes from."""
    insiders: frozenset[bytes]
    """Who may speak for it, packed: the peer if it is outside the cluster, and the routers that objects name."""
    hops: frozenset[bytes] = frozenset()
    """The only next hops that its paths may have, packed; empty: any."""


def standing(session: Session, state: SpeakerState) -> Standing:
    """The standing of a session's paths."""
    return Standing(
        accept_all=session.import_policy == "All",
        accept_none=session.import_policy == "None",
        provisional=state.settings.provisional and (not session.ebgp or session.peer_node in state.nodes),
        ebgp=session.ebgp,
        neighbour=session.neighbour,
        inside_as=session.local_as,
        insiders=_insiders(session, state),
        hops=frozenset(address.packed for address in session.own_hops),
    )


def _insiders(session: Session, state: SpeakerState) -> frozenset[bytes]:
    """Nobody inside the cluster speaks for an AS that he shares with others; whoever passes a path on proves nothing by that."""
    if session.ebgp:
        return frozenset()
    settings = state.settings
    named = settings.internal_routers if session.local_as == settings.local_as else ()
    outside = session.scope in {"Global", "Node"} and session.peer_node is None
    return frozenset(one.packed for one in (*named, *((session.peer_address,) if outside else ())))


def never_accepted(state: SpeakerState) -> dict[Prefix, Reason]:
    """Ranges inside which nothing is accepted from anyone, by reason."""
    refused: dict[Prefix, Reason] = dict.fromkeys(state.settings.services, Reason.SERVICE_RANGE)
    refused |= {prefix: Reason.OWN_BLOCK for prefix, node in state.blocks.items() if node == state.settings.node}
    own = (address for address in state.settings.own_addresses if not address.is_link_local)
    refused |= {host_prefix(address): Reason.OWN_ADDRESS for address in own}
    refused |= dict.fromkeys(MARTIANS, Reason.MARTIAN_PREFIX)
    return refused


def node_addresses(state: SpeakerState) -> dict[Prefix, Owner]:
    """The addresses of all nodes, where nodes announce them."""
    return addresses(state.nodes) if state.settings.node_addresses else {}


class Policy:
    """Import policy for one family under one state."""

    def __init__(self, family: Family, state: SpeakerState) -> None:
        self.origins = Origins(family, blocks=state.blocks, nodes=state.nodes, pools=state.settings.pools)
        self.never: Ranges[Reason] = Ranges(family, never_accepted(state))
        self.addresses: Ranges[Owner] = Ranges(family, node_addresses(state))
        self.special = Near(family, self.never, self.origins.blocks, self.origins.pools, self.addresses)
        self.blocks: dict[bytes, Owner] = {
            wire: owner for wire, owner in self.origins.blocks.exact.items() if self.never.covering(wire) is None
        }
        """Whole blocks of others: most of what nodes announce, answered by one look-up."""

    def plain(self, standing: Standing) -> Reason:
        """The verdict on a prefix that is not special."""
        if standing.accept_none:
            return Reason.IMPORT_NONE
        return Reason.IMPORT_ALL if standing.accept_all else Reason.NOT_ACCEPTED

    def judge(self, wire: bytes, *, claim: Claim, standing: Standing) -> Reason:
        """The verdict on any prefix, for a path whose attributes are in order."""
        owner = self.blocks.get(wire)
        if owner is not None and claim is not None and claim in owner and not standing.accept_none:
            return Reason.ORIGIN_VALID
        refusal = self.never.covering(wire)
        if refusal is not None:
            return refusal
        if standing.accept_none:
            return Reason.IMPORT_NONE
        node = self.addresses.exact.get(wire)
        verdict = judge_address(node, claim, ebgp=standing.ebgp) if node is not None else None
        if verdict is not None:
            return verdict
        verdict = self.origins.judge(wire, claim)
        if verdict is Reason.ORIGIN_UNKNOWN and standing.provisional and (standing.ebgp or isinstance(claim, str)):
            return Reason.PROVISIONAL
        if verdict is not None:
            return verdict
        return Reason.NOT_ACCEPTED if wire[0] == 0 else self.plain(standing)
