"""Export policy: what one session is told of a route, in the order of RULES (what is announced, 0 to 10).

A ``Candidate`` is a route as policy sees it, whoever originated it; ``decide`` gives the verdict for all prefixes for
which the same criteria hold. Nothing here knows messages or tables.
"""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from towpath.bgp.attributes import is_link_local
from towpath.bgp.carried import NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED, Carried, crossing, reflected
from towpath.bgp.classes import Classes, Match
from towpath.bgp.filter import Chain, Rule, compiled, priority_of
from towpath.bgp.role import bars, mark_of_leaving
from towpath.model.net import Family, Prefix, family_of
from towpath.model.reason import Reason
from towpath.model.speaker import NORMAL_LOCAL_PREF_BASE, Announcement, Session, SpeakerState

ANNOUNCED: Final = frozenset(
    {
        *(Reason.FILTER_ACCEPTED, Reason.OWN_BLOCK, Reason.OWN_SERVICE, Reason.OWN_ADDRESS),
        *(Reason.SERVICE_REFLECTED, Reason.IN_POOL),
    }
)
"""Verdicts that make a route announced."""
_TUNNELS: Final = re.compile(r"tp-(ipip|vx[46]-[0-9]+)")
"""Names of the devices through which we encapsulate (RULES: encapsulation and devices)."""


class Candidate(Struct, frozen=True):
    """A route that might be announced."""

    source: Literal["Block", "Service", "Tunnel", "Node", "Kernel", "Connected", "BGP"]
    carried: Carried
    address: bytes = b""
    """Of a node's own address: itself, which is never the way to itself."""
    session: str = ""
    """Of a learned route: the session that it came by."""
    ebgp: bool = False
    """Of a learned route: whether it came from another AS."""
    client: bool = False
    """Of a learned route: whether it came from a client of ours (RFC 4456)."""
    workload: bool = False
    """Of a learned route: whether a pod on this node told us, which nobody else can reach."""
    teller: bytes = b""
    """Of a learned route: the BGP identifier of the peer that told us, four bytes."""
    passing: bool = False
    """Of a learned route: it is another node's service range, which we do not use; a reflector passes it on."""
    next_hop: bytes = b""
    """Of a learned route: as it was learned."""
    interface: str = ""
    """The interface that it leaves by, where one is known."""

    @property
    def learned(self) -> bool:
        """Whether a peer told us."""
        return self.source == "BGP"


class Told(Struct, frozen=True):
    """The verdict on a route for a session. ``carried`` is what goes on the wire, None: the route is not announced."""

    reason: Reason
    rule: str = ""
    carried: Carried | None = None
    next_hop: bytes = b""
    """Empty: ourselves."""
    priority: int = 0
    """Of what is announced: also where no LOCAL_PREF tells it to the peer."""


def own(announcement: Announcement) -> Candidate:
    """An announcement of ours."""
    plain: set[bytes] = set()
    large: set[bytes] = set()
    for text in announcement.communities:
        numbers = [int(part) for part in text.split(":")]
        if len(numbers) == 2:
            plain.add(b"".join(number.to_bytes(2, "big") for number in numbers))
        else:
            large.add(b"".join(number.to_bytes(4, "big") for number in numbers))
    carried = Carried(
        local_preference=announcement.local_preference,
        communities=tuple(sorted(plain)),
        large=tuple(sorted(large)),
    )
    itself = announcement.prefix.network_address.packed if announcement.source == "Node" else b""
    return Candidate(source=announcement.source, carried=carried, address=itself)


class Criteria:
    """Export filters and the ranges of the steps that follow them, for all sessions that name the same filters."""

    def __init__(self, family: Family, state: SpeakerState, *, filters: tuple[str, ...], ebgp: bool) -> None:
        self.family = family
        self.chain: Chain = compiled(filters, state.filters, family=family, direction="export", ebgp=ebgp)
        settings = state.settings
        bit = 1 << len(self.chain.rules)
        self.pool, self.unexported, self.block, self.inside = bit, bit << 1, bit << 2, bit << 3
        blocks = [prefix for prefix, node in state.blocks.items() if node == settings.node]
        ranges: list[tuple[int, Prefix, int, int]] = [
            *((self.pool, cidr, cidr.prefixlen, family.bits) for cidr in settings.pools),
            *((self.unexported, cidr, cidr.prefixlen, family.bits) for cidr in settings.unexported),
            *((self.block, cidr, cidr.prefixlen, cidr.prefixlen) for cidr in blocks),
            *((self.inside, cidr, cidr.prefixlen + 1, family.bits) for cidr in blocks),
        ]
        self.tags: list[tuple[int, tuple[bytes, ...]]] = []
        for at, tagged in enumerate(settings.tagged):
            one = bit << 4 + at
            ranges.append((one, tagged.cidr, tagged.cidr.prefixlen, family.bits))
            self.tags.append((one, tuple(community.wire for community in tagged.communities)))
        self.normal = settings.normal_priority[family is Family.IPV6]
        self.classes = Classes(
            family,
            [
                *self.chain.matches(),
                *((bits, Match(cidr, least, most)) for bits, cidr, least, most in ranges if family_of(cidr) is family),
            ],
        )


class Export:
    """Export policy of one session and family."""

    def __init__(self, session: Session, criteria: Criteria) -> None:
        self._session = session
        self._criteria = criteria
        ours = (session.local_address, session.next_hop_beside)
        self._own_hops = frozenset(address.packed for address in ours if address is not None)

    @property
    def redistributes(self) -> bool:
        """Whether learned routes can be candidates at all."""
        session = self._session
        return session.advertise != "Own" or session.cluster_id is not None or self._criteria.chain.accepts_remote

    def split(self, wires: Sequence[bytes]) -> Mapping[int, Sequence[bytes]]:
        """Prefixes by the criteria that hold for them."""
        return self._criteria.classes.split(wires)

    def judge(self, candidate: Candidate, wire: bytes) -> Told:
        """The verdict for one prefix."""
        return self.decide(candidate, self._criteria.classes.of(wire))

    def decide(self, candidate: Candidate, held: int) -> Told:
        """The verdict for every prefix for which ``held`` are the criteria that hold."""
        session, criteria, chain = self._session, self._criteria, self._criteria.chain
        refusal = self._barred(candidate)
        if refusal is not None:
            return Told(refusal)
        carried = self._as_offered(candidate)
        priority = priority_of(carried.local_preference, criteria.normal)
        mask = chain.mask_of(carried, priority=priority, interface=candidate.interface, learned=candidate.learned)
        rule = chain.fitting(mask, held)
        if candidate.learned and not self._is_candidate(candidate, held) and not (rule and rule.accept and rule.remote):
            return Told(Reason.NO_CANDIDATE)
        if rule is not None:
            return self._by_rule(rule, candidate, carried)
        if held & criteria.unexported:
            return Told(Reason.EXPORT_DISABLED)
        if not session.ebgp and _TUNNELS.fullmatch(candidate.interface):
            return Told(Reason.LEAVES_BY_TUNNEL)
        reason = self._built_in(candidate, held, priority)
        if reason not in ANNOUNCED:
            return Told(reason)
        return self._told(reason, "", candidate, self._tagged(carried, held))

    def _barred(self, candidate: Candidate) -> Reason | None:
        """Why a route is told to this session on no account."""
        if candidate.address and candidate.address in self._own_hops:
            return Reason.NEXT_HOP_INVALID
        if not candidate.learned:
            return None
        if candidate.session == self._session.name:
            return Reason.SPLIT_HORIZON
        if candidate.passing and self._session.cluster_id is None:
            return Reason.NO_CANDIDATE
        if not candidate.ebgp and not self._session.ebgp:
            if self._session.cluster_id is None or not (candidate.client or self._session.route_reflector_client):
                return Reason.INTERNAL_TO_INTERNAL  # RFC 4271 §9.2; a reflector has clients (RFC 4456 §6)
            if candidate.next_hop == self._session.peer_address.packed and not is_link_local(candidate.next_hop):
                return Reason.SPLIT_HORIZON  # by another reflector we heard what is his
        if candidate.carried.carries(NO_ADVERTISE):
            return Reason.NO_ADVERTISE
        if self._session.ebgp and any(map(candidate.carried.carries, (NO_EXPORT, NO_EXPORT_SUBCONFED))):
            return Reason.NO_EXPORT
        if candidate.carried.customers_only is not None and bars(self._session.role):
            return Reason.ROUTE_LEAK
        return None

    def _is_candidate(self, candidate: Candidate, held: int) -> bool:
        session = self._session
        if candidate.passing:
            return True
        inside = session.advertise == "Cluster" or session.cluster_id is not None
        return session.advertise == "All" or (inside and bool(held & self._criteria.pool))

    def _as_offered(self, candidate: Candidate) -> Carried:
        """The attributes that the filters see: the preference of a route that has none, and no MED of another AS."""
        carried = candidate.carried
        if carried.local_preference is None:
            carried = replace(carried, local_preference=NORMAL_LOCAL_PREF_BASE - self._criteria.normal)
        if candidate.learned and self._session.ebgp:
            carried = replace(carried, med=None)  # RFC 4271 §5.1.4
        return carried

    def _built_in(self, candidate: Candidate, held: int, priority: int) -> Reason:
        criteria = self._criteria
        if not candidate.learned and held & criteria.inside and candidate.source != "Service":
            return Reason.OWN_BLOCK if priority < criteria.normal else Reason.MORE_SPECIFIC
        if candidate.source == "Block" or (not candidate.learned and held & criteria.block):
            return Reason.OWN_BLOCK
        if candidate.source == "Service":
            return Reason.OWN_SERVICE
        if candidate.source == "Node":
            return Reason.OWN_ADDRESS
        if candidate.passing:
            return Reason.SERVICE_REFLECTED
        return Reason.IN_POOL if held & criteria.pool else Reason.NOT_ANNOUNCED

    def _tagged(self, carried: Carried, held: int) -> Carried:
        """With the communities of prefixAdvertisements."""
        wires = [wire for bits, some in self._criteria.tags if held & bits for wire in some]
        if not wires:
            return carried
        plain = {*carried.communities, *(wire for wire in wires if len(wire) == 4)}
        large = {*carried.large, *(wire for wire in wires if len(wire) == 12)}
        return replace(carried, communities=tuple(sorted(plain)), large=tuple(sorted(large)))

    def _by_rule(self, rule: Rule, candidate: Candidate, carried: Carried) -> Told:
        if not rule.accept:
            return Told(rule.reason, rule.name)
        return self._told(rule.reason, rule.name, candidate, rule.changes.apply(carried))

    def _told(self, reason: Reason, rule: str, candidate: Candidate, carried: Carried) -> Told:
        priority = priority_of(carried.local_preference, self._criteria.normal)
        if self._session.ebgp:
            carried = self._marked(crossing(carried, self._session.local_as))
        elif candidate.learned and not candidate.ebgp and self._session.cluster_id is not None:
            carried = reflected(carried, teller=candidate.teller, cluster_id=self._session.cluster_id.packed)
        return Told(reason, rule, carried, self._next_hop(candidate), priority)

    def _marked(self, carried: Carried) -> Carried:
        """For the peer's customers only, where it is no more than that to us; a mark that is there stays (RFC 9234 section 5)."""
        if carried.customers_only is not None:
            return carried
        return replace(carried, customers_only=mark_of_leaving(self._session.role, local_as=self._session.local_as))

    def _next_hop(self, candidate: Candidate) -> bytes:
        """Empty: ourselves (RFC 4271 §5.1.3)."""
        session, hop = self._session, candidate.next_hop
        # nobody is told that he is the way himself
        if not candidate.learned or session.next_hop == "Self" or hop == session.peer_address.packed:
            return b""
        if candidate.workload and session.next_hop == "Auto":
            return b""
        if is_link_local(hop):
            return b""  # it means nothing on another link (RFC 2545 §3)
        if session.next_hop == "Auto" and session.ebgp and not self._shared(hop):
            return b""
        return hop

    def _shared(self, hop: bytes) -> bool:
        """Whether a next hop lies on the subnet that we and the peer are on."""
        subnet = self._session.shared_subnet
        if subnet is None or len(hop) not in {4, 16}:
            return False
        return (IPv4Address(hop) if len(hop) == 4 else IPv6Address(hop)) in subnet
