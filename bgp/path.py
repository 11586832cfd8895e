"""A Path: what one peer says of a prefix, with our verdict; and what the Loc-RIB selects.

Objects here are shared by all prefixes that have the same attributes, so a prefix costs a dictionary entry. What may
change under a path (reachability of its next hop, the router id of its peer) lives in the mutable ``NextHop``, ``Via``
and ``Source`` it points to.
"""

from typing import Final

from msgspec import Struct

from towpath.bgp.attributes import Attributes
from towpath.bgp.filter import Rule
from towpath.model.net import Address
from towpath.model.reason import Reason

ACCEPTED: Final = frozenset({Reason.FILTER_ACCEPTED, Reason.ORIGIN_VALID, Reason.PROVISIONAL, Reason.IMPORT_ALL})
"""Verdicts that make a path eligible; every other reason refuses it."""


class Selection(Struct, frozen=True):
    """What a prefix uses: next hops and the sessions they came by, in the same order."""

    next_hops: tuple[Address, ...]
    sessions: tuple[str, ...]
    provisional: bool


class Source(Struct, eq=False):
    """The session that a path came by, as far as decision asks."""

    session: str
    ebgp: bool
    preference: int
    """LOCAL_PREF of a path that carries none."""
    router_id: int
    address: int
    four_octet_as: bool = True
    """How wide AS numbers are in the blocks of this session's paths (RFC 6793)."""
    client: bool = False
    """Whether we reflect what it tells us to every internal peer (RFC 4456)."""
    workload: bool = False
    """Whether it is a pod on this node: what it says of blocks proves nothing, and nobody else can reach its address."""
    customers_only: int | None = None
    """What its paths without a mark are marked with (RFC 9234)."""


class NextHop(Struct, eq=False):
    """A next hop and what the kernel said of it; not asked yet counts as reachable at no cost."""

    address: Address
    metric: int | None = 0
    interface: str = ""
    """The interface that it is reached by, where the kernel has said so."""


class Via(Struct, eq=False, gc=False):
    """One next hop by one session."""

    source: Source
    hop: NextHop
    direct: bool
    """The next hop is the external peer itself, one hop away: the session shows that it is reachable."""
    provisional: bool
    refusal: Reason | None
    """Why this address may not be a next hop."""
    node: str | None
    """The node of ours that has the address."""
    selection: Selection | None
    """What a prefix uses that has a single path by here; None: the next hop is unreachable."""

    @property
    def reachable(self) -> bool:
        """Whether packets can be sent there (RFC 4271 §9.1.2)."""
        return self.direct or self.hop.metric is not None


class Path(Struct, eq=False, gc=False):
    """One peer's attributes for any number of prefixes, judged."""

    via: Via
    attributes: Attributes
    verdict: Reason
    accepted: bool
    block: bytes
    """The attribute block as received, without MP_REACH_NLRI and MP_UNREACH_NLRI: what filters of a later day read."""
    others: "dict[str, Path] | None" = None
    """The same attributes with other verdicts, for prefixes that are judged otherwise: by reason, or by a rule's name."""
    rule: Rule | None = None
    """The filter's rule that decided, and has changed the attributes."""
    mask: int = 0
    """The rules of the session's filters that its attributes fit; 0: none is to be asked."""

    @property
    def closed(self) -> bool:
        """Something is wrong with the attributes themselves: the verdict holds for every prefix."""
        return self.attributes.refusal is not None or self.via.refusal is not None
