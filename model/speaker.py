"""What agent and speaker say to each other: the desired state down, the selected routes and reports up.

The agent sends the whole ``SpeakerState`` once a connection, then ``StateChange``s. The speaker sends the whole Loc-RIB
once a connection (closed by ``Whole``), then differences; ``Sync`` says whether deletes may be believed. Both sides treat
a new connection as a restart of the other and keep what they have until the whole has arrived.
"""

from ipaddress import IPv4Address
from typing import Literal

from msgspec import Struct, field

from towpath.model.community import Community
from towpath.model.delta import Delta, apply, diff
from towpath.model.kinds.bgp import Advertise, LogSeverity, SecretKey
from towpath.model.kinds.filter import BGPFilterSpec
from towpath.model.kinds.node import SessionReport
from towpath.model.kinds.peer import Role
from towpath.model.net import Address, Family, Prefix
from towpath.model.reason import Reason, Why
from towpath.model.secret import Secret

LINK_VERSION = 6
NORMAL_LOCAL_PREF_BASE = 2147483647
"""LOCAL_PREF is this minus the route's priority (RULES: announced, 1)."""


Scope = Literal["Mesh", "Global", "Node", "Reverse", "Workload"]
"""Where a session comes from: the mesh, an object for all nodes or for some, the other half of one, or one for pods."""


class MaxPrefix(Struct, frozen=True):
    """Limit of accepted prefixes of a session and what happens there."""

    limit: int
    warn_percent: int = 80
    action: Literal["Refuse", "Reset"] = "Refuse"
    restart_after: int | None = None


class Session(Struct, frozen=True):
    """One configured BGP session of this node. Times are whole seconds."""

    name: str
    """Unique on the node, stable, a valid metric label: ``Node-10-0-0-2``, ``Global-10-0-0-254``."""
    peer_address: Address
    """Of a neighbour on a link that has no other addresses: ``fe80::1%eth0``, or ``::%eth0`` while nobody has found it."""
    passive: bool
    """True: this side only listens."""
    scope: Scope
    peer_port: int
    """The port that we dial."""
    remote_as: int
    local_as: int
    local_address: Address | None
    """None: the kernel chooses."""
    families: tuple[Family, ...]
    """Whose routes it carries."""
    hold_time: int
    keepalive_time: int
    connect_retry_time: int
    restart_time: int | None
    """Graceful restart time that we offer; None: graceful restart is not offered."""
    import_policy: Literal["Filtered", "All", "None"]
    max_prefix: MaxPrefix
    allow_local_as: int = 0
    interface: str | None = None
    """The interface that the peer is found on, where it is not given by its address."""
    multihop: int | None = None
    """TTL of an eBGP session; None: 1."""
    ttl_security: int | None = None
    """Hops to the peer at most, 1 being a neighbour (GTSM, RFC 5082); None: not checked."""
    reachable_by: Address | None = None
    """The gateway of the route to the peer's address that this node has for the session."""
    shutdown_message: str = ""
    """What the peer is told when a session ends with the reason Shutdown."""
    filters: tuple[str, ...] = ()
    """Names of the filters that are asked, in order; one that is not in ``SpeakerState.filters`` rejects everything."""
    add_paths: bool = False
    """Whether all paths of a prefix are told and taken, not the best alone (ADD-PATH, RFC 7911)."""
    advertise: Advertise = "Own"
    next_hop: Literal["Auto", "Self", "Keep"] = "Auto"
    """Next hop of learned routes that are announced."""
    shared_subnet: Prefix | None = None
    """The subnet that this node and the peer are both on: a next hop in it can be told to the peer as it is."""
    own_hops: tuple[Address, ...] = ()
    """Of a pod on this node: its addresses, the only next hops that its paths may have. Other peers may name any."""
    next_hop_beside: Address | None = None
    """Our next hop in the family that the session's own addresses are not of, where it carries both."""
    cluster_id: IPv4Address | None = None
    """Our cluster id, on the iBGP sessions of a route reflector; None: learned by iBGP is not told to iBGP."""
    route_reflector_client: bool = False
    """Whether the peer is a client of ours; other iBGP peers are not reflected to one another (RFC 4456 section 6)."""
    role: Role | None = None
    """What we are to the peer (RFC 9234); None: nothing is said of it."""
    strict_role: bool = False
    """Whether the peer must say what it is."""
    password_ref: SecretKey | None = None
    state: Literal["Active", "Withheld"] = "Active"
    reason: Reason | None = None
    peer_node: str | None = None
    """Name of the node of ours that has ``peer_address``; None for peers outside."""
    why: tuple[Why, ...] = ()

    @property
    def ebgp(self) -> bool:
        """Whether the session crosses an AS border."""
        return self.remote_as != self.local_as

    @property
    def workload(self) -> bool:
        """Whether the peer is a pod on this node: its word proves nothing of blocks, and nobody else can reach it."""
        return self.scope == "Workload"

    @property
    def neighbour(self) -> bool:
        """Whether the peer is outside and no router is between: while the session is up, it is reached."""
        return self.ebgp and self.multihop is None and self.ttl_security in {None, 1}

    @property
    def found(self) -> bool:
        """Whether the peer's address is known."""
        return not self.peer_address.is_unspecified

    @property
    def ipv6_next_hops(self) -> bool:
        """Whether IPv4 routes may have IPv6 next hops (RFC 8950): it is offered wherever both kinds meet."""
        return self.peer_address.version == 6 and Family.IPV4 in self.families


class Announcement(Struct, frozen=True):
    """A prefix that we originate; the next hop is ours on every session."""

    prefix: Prefix
    source: Literal["Block", "Service", "Tunnel", "Node"]
    """``Node``: an address of the node itself."""
    local_preference: int
    communities: tuple[str, ...] = ()
    why: tuple[Why, ...] = ()


class Tagged(Struct, frozen=True):
    """Communities of what is announced inside a range."""

    cidr: Prefix
    communities: tuple[Community, ...]


class NodeOrigin(Struct, frozen=True):
    """What identifies a node of ours as the origin of a path (RULES: block-origin validation)."""

    addresses: tuple[Address, ...]
    as_number: int


class Listen(Struct, frozen=True):
    """A listening socket: all addresses where ``address`` is None."""

    address: Address | None
    port: int


class Settings(Struct, frozen=True):
    """What holds for the whole speaker."""

    node: str
    local_as: int
    router_id: IPv4Address
    listen: tuple[Listen, ...]
    maximum_paths: int
    own_addresses: tuple[Address, ...]
    """Addresses of this node: never a next hop, never accepted as a prefix."""
    pools: tuple[Prefix, ...]
    """Ranges of all pools: what lies inside is judged by the blocks."""
    internal_routers: tuple[Address, ...] = ()
    """Routers of the node's AS that objects name as peers, of whatever node: they may carry packets to every block in it."""
    unexported: tuple[Prefix, ...] = ()
    """Ranges of the pools inside which nothing is announced."""
    tagged: tuple[Tagged, ...] = ()
    node_addresses: bool = False
    """Nodes announce their own addresses: whose each is says who may."""
    services: tuple[Prefix, ...] = ()
    """Ranges of service addresses: nothing inside is accepted from anyone."""
    normal_priority: tuple[int, int] = (1024, 1024)
    """Priority of a normal route, IPv4 and IPv6."""
    forwarding_preserved: bool = False
    """Our routes were found in the kernel at start: the F-bit of our first OPEN."""
    provisional: bool = False
    """The API server is away: paths of unknown origin from known nodes are used, marked provisional."""
    severed: tuple[str, ...] = ()
    """Names of sessions whose interface has no carrier: they end at once and are not dialled."""
    log_severity: LogSeverity = "Info"
    """How much the speaker logs."""


class SpeakerState(Struct, frozen=True):
    """Everything a speaker should be doing."""

    settings: Settings
    sessions: dict[str, Session] = field(default_factory=dict)
    passwords: dict[str, Secret] = field(default_factory=dict)
    """TCP-MD5 passwords by session name. A session with ``password_ref`` and no password here is withheld."""
    announcements: dict[Prefix, Announcement] = field(default_factory=dict)
    blocks: dict[Prefix, str] = field(default_factory=dict)
    """Blocks in force and the node that owns each."""
    nodes: dict[str, NodeOrigin] = field(default_factory=dict)
    filters: dict[str, BGPFilterSpec] = field(default_factory=dict)
    """The filters that sessions name, as far as they exist."""
    tunnels: dict[Prefix, str] = field(default_factory=dict)
    """Blocks of others that packets of this node reach by a tunnel, and its device; empty where nothing is passed on to internal peers."""


class StateChange(Struct, frozen=True, tag="change"):
    """The difference of two states; ``settings`` None: unchanged."""

    settings: Settings | None
    sessions: Delta[str, Session]
    passwords: Delta[str, Secret]
    announcements: Delta[Prefix, Announcement]
    blocks: Delta[Prefix, str]
    nodes: Delta[str, NodeOrigin]
    filters: Delta[str, BGPFilterSpec]
    tunnels: Delta[Prefix, str]

    def __bool__(self) -> bool:
        return self.settings is not None or any(
            (
                *(self.sessions, self.passwords, self.announcements, self.blocks, self.nodes, self.filters),
                self.tunnels,
            ),
        )


def diff_state(actual: SpeakerState, desired: SpeakerState) -> StateChange:
    """What to send so that a speaker in state ``actual`` reaches ``desired``."""
    return StateChange(
        settings=None if actual.settings == desired.settings else desired.settings,
        sessions=diff(actual.sessions, desired.sessions),
        passwords=diff(actual.passwords, desired.passwords),
        announcements=diff(actual.announcements, desired.announcements),
        blocks=diff(actual.blocks, desired.blocks),
        nodes=diff(actual.nodes, desired.nodes),
        filters=diff(actual.filters, desired.filters),
        tunnels=diff(actual.tunnels, desired.tunnels),
    )


def apply_state(actual: SpeakerState, change: StateChange) -> SpeakerState:
    """The state after a change."""
    return SpeakerState(
        settings=change.settings or actual.settings,
        sessions=apply(actual.sessions, change.sessions),
        passwords=apply(actual.passwords, change.passwords),
        announcements=apply(actual.announcements, change.announcements),
        blocks=apply(actual.blocks, change.blocks),
        nodes=apply(actual.nodes, change.nodes),
        filters=apply(actual.filters, change.filters),
        tunnels=apply(actual.tunnels, change.tunnels),
    )


class Hello(Struct, frozen=True, tag="hello"):
    """First frame of both sides. ``instance`` is made anew at every start of a process."""

    version: int
    instance: str


class WholeState(Struct, frozen=True, tag="state"):
    """The whole desired state; what the speaker has and this lacks is removed."""

    state: SpeakerState


class NextHopMetrics(Struct, frozen=True, tag="metrics"):
    """What the kernel says of next hops that the speaker asked about: a metric, or None where there is no way."""

    metrics: dict[Address, int | None]
    interfaces: dict[Address, str] = field(default_factory=dict)
    """The interface of the first way to each that can be reached."""


class Routes(Struct, frozen=True, tag="routes"):
    """Prefixes whose selected paths have these next hops: one frame for many prefixes.

    ``prefixes`` are concatenated wire prefixes (``net.split_wire``). A prefix that was announced before is replaced.
    """

    family: Family
    next_hops: tuple[Address, ...]
    sessions: tuple[str, ...]
    """Sessions that the used paths came by, in the order of ``next_hops``."""
    prefixes: bytes
    provisional: bool = False


class Withdrawn(Struct, frozen=True, tag="withdrawn"):
    """Prefixes that have no selected path any more."""

    family: Family
    prefixes: bytes


class Whole(Struct, frozen=True, tag="whole"):
    """All routes since ``Hello`` are the whole Loc-RIB: a prefix that was not among them is not in it."""


class Sync(Struct, frozen=True, tag="sync"):
    """Whether every peer has sent End-of-RIB or may no longer be waited for: only then is an absence believed."""

    in_sync: bool
    heard: tuple[Address, ...] = ()
    """Before that: further peers of which this is true, all of whose routes have been told."""


class NextHopInterest(Struct, frozen=True, tag="interest"):
    """All next hops in the Adj-RIBs-In: the agent resolves them in the kernel and answers ``NextHopMetrics``."""

    addresses: frozenset[Address]
    near: frozenset[Address] = frozenset()
    """Those of them at which a neighbour outside is itself: no way leads to them."""
    ways: dict[Prefix, tuple[Address, ...]] = field(default_factory=dict)
    """Prefixes around the others that neighbours outside have told, no pool's, and the neighbours that are used for each."""


class Report(Struct, frozen=True, tag="report"):
    """Sessions as they stand, own blocks in which others' paths are held."""

    sessions: tuple[SessionReport, ...]
    foreign_paths: tuple[Prefix, ...] = ()
    own_blocks: tuple[Prefix, ...] = ()
    """The own blocks that were looked at for it: of others it says nothing."""
    deaf: tuple[str, ...] = ()
    """Where it should listen and cannot: a sentence each, with address, port and what the kernel says."""
    keyless: tuple[str, ...] = ()
    """Whose passwords the kernel refuses where it listens: a sentence each."""


class Notice(Struct, frozen=True, tag="notice"):
    """Something an operator should see as an event; the speaker limits their rate."""

    reason: Reason
    message: str
    session: str = ""


ToSpeaker = Hello | WholeState | StateChange | NextHopMetrics
FromSpeaker = Hello | Routes | Withdrawn | Whole | Sync | NextHopInterest | Report | Notice
