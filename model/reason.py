"""Why something is there, and why something is not: every item of a plan carries the one or the other."""

import enum
from collections.abc import Sequence

from msgspec import Struct

NAMED = 3
"""Of a list in a sentence so many are named, before the others are counted."""


class Why(Struct, frozen=True, order=True):
    """The object and the field that caused an item; ``field`` is a dotted path such as ``spec.asNumber``."""

    kind: str
    name: str
    field: str = ""

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} {self.field}".rstrip()


class Reason(enum.StrEnum):
    """Named reasons, as they appear in conditions, status, logs and metrics. One word per fact."""

    # objects
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_NAME = "UnknownName"
    OVERLAPPING_POOL = "OverlappingPool"
    OVERLAPPING_BLOCK = "OverlappingBlock"
    NO_POOL = "NoPool"
    MASS_WITHDRAW = "MassWithdraw"
    KIND_MISSING = "KindMissing"
    FORBIDDEN = "Forbidden"
    SELECTION_HELD = "SelectionHeld"
    UNREADABLE = "Unreadable"
    # sessions that are in the plan and not run
    SECRET_MISSING = "SecretMissing"  # noqa: S105  # the name of a reason, not a secret
    DUPLICATE_PEER = "DuplicatePeer"
    PASSWORD_CONFLICT = "PasswordConflict"  # noqa: S105  # the name of a reason, not a secret
    NO_ADDRESS = "NoAddress"
    SHUTDOWN = "Shutdown"
    UNNUMBERED_DISABLED = "UnnumberedDisabled"
    MISMATCH = "Mismatch"
    SESSION_LOST = "SessionLost"
    INTERNAL_SESSION = "InternalSession"
    UNKNOWN_FILTER = "UnknownFilter"
    UNKNOWN_COMMUNITY = "UnknownCommunity"
    LARGE_MESH = "LargeMesh"
    KEY_LIMIT = "KeyLimit"
    LISTEN_REFUSED = "ListenRefused"
    # paths that are received and not used: safety
    MALFORMED = "Malformed"
    MISSING_ATTRIBUTE = "MissingAttribute"
    AS_LOOP = "ASLoop"
    AS_ZERO = "ASZero"
    FIRST_AS = "FirstAS"
    ROUTE_LEAK = "RouteLeak"
    ORIGINATOR_LOOP = "OriginatorLoop"
    CLUSTER_LOOP = "ClusterLoop"
    NEXT_HOP_INVALID = "NextHopInvalid"
    NEXT_HOP_OURS = "NextHopOurs"
    NEXT_HOP_NOT_PEER = "NextHopNotPeer"
    NEXT_HOP_UNREACHABLE = "NextHopUnreachable"
    MARTIAN_PREFIX = "MartianPrefix"
    OWN_ADDRESS = "OwnAddress"
    OWN_BLOCK = "OwnBlock"
    SERVICE_RANGE = "ServiceRange"
    # paths that are received and not used: policy
    ORIGIN_INVALID = "OriginInvalid"
    ORIGIN_UNKNOWN = "OriginUnknown"
    NOT_ACCEPTED = "NotAccepted"
    IMPORT_NONE = "ImportNone"
    MAX_PREFIX = "MaxPrefix"
    TOO_MANY_REFUSED = "TooManyRefused"
    FILTER_REJECTED = "FilterRejected"
    FILTER_MISSING = "FilterMissing"
    # paths that are used
    FILTER_ACCEPTED = "FilterAccepted"
    ORIGIN_VALID = "OriginValid"
    PROVISIONAL = "Provisional"
    IMPORT_ALL = "ImportAll"
    # routes that are announced, besides OWN_BLOCK and FILTER_ACCEPTED
    OWN_SERVICE = "OwnService"
    SERVICE_REFLECTED = "ServiceReflected"
    IN_POOL = "InPool"
    # routes that are not announced, besides those that a filter rejects
    SPLIT_HORIZON = "SplitHorizon"
    INTERNAL_TO_INTERNAL = "InternalToInternal"
    NO_ADVERTISE = "NoAdvertise"
    NO_EXPORT = "NoExport"
    NO_CANDIDATE = "NoCandidate"
    FAMILY_NOT_CARRIED = "FamilyNotCarried"
    EXPORT_DISABLED = "ExportDisabled"
    LEAVES_BY_TUNNEL = "LeavesByTunnel"
    MORE_SPECIFIC = "MoreSpecific"
    NOT_ANNOUNCED = "NotAnnounced"
    # addresses of services that are not announced by themselves
    NOT_LISTED = "NotListed"
    IN_SERVICE_RANGE = "InServiceRange"
    NO_LOCAL_ENDPOINT = "NoLocalEndpoint"
    NO_READY_ENDPOINT = "NoReadyEndpoint"
    NODE_DRAINING = "NodeDraining"
    # routes
    FOREIGN_ROUTE = "ForeignRoute"
    MIXED_ROUTE = "MixedRoute"
    NO_DEVICE = "NoDevice"
    UNRESOLVED_NEXT_HOP = "UnresolvedNextHop"
    KERNEL_REFUSED = "KernelRefused"
    OBJECTS_FIRST = "ObjectsFirst"
    NOT_PROGRAMMED = "NotProgrammed"
    # the machine
    DISK_REFUSED = "DiskRefused"
    PLUGIN_MISSING = "PluginMissing"
    OTHER_NETWORK_PLUGIN = "OtherNetworkPlugin"
    FORWARD_DROPPED = "ForwardDropped"
    BRIDGE_BYPASS = "BridgeBypass"
    ROUTES_MANAGED = "RoutesManaged"
    KERNEL_LACKS = "KernelLacks"
    FILTER_REFUSED = "FilterRefused"
    NAT_REFUSED = "NATRefused"
    DISCOVERY_REFUSED = "DiscoveryRefused"
    MTU_MISMATCH = "MTUMismatch"
    DEVICE_REFUSED = "DeviceRefused"
    TUNNEL_ADDRESS_TAKEN = "TunnelAddressTaken"
    ENDS_NOT_FOUND = "EndsNotFound"
    # blocks and nodes
    NODE_EXCLUDED = "NodeExcluded"
    POOL_EXHAUSTED = "PoolExhausted"
    BLOCK_MISSING = "BlockMissing"
    STORE_RESTORED = "StoreRestored"
    NO_POD_CIDRS = "NoPodCIDRs"
    PODS_WAITING = "PodsWaiting"
    BLOCK_SIZE = "BlockSize"
    NODE_MISSING = "NodeMissing"
    OTHERS_BLOCK = "OthersBlock"
    DUPLICATE_ADDRESS = "DuplicateAddress"
    ADDRESS_OUTSIDE = "AddressOutside"
    ADDRESS_LEAKED = "AddressLeaked"
    ADDRESS_FREED = "AddressFreed"
    ADDRESS_UNRECORDED = "AddressUnrecorded"
    RESERVED_ADDRESS = "ReservedAddress"
    POOL_RUNNING_LOW = "PoolRunningLow"
    POOL_DELETED = "PoolDeleted"
    POOL_RESERVED = "PoolReserved"
    ADDRESS_TAKEN = "AddressTaken"
    ADDRESS_DIFFERS = "AddressDiffers"
    POLICY_NOT_ENFORCED = "PolicyNotEnforced"
    ADDRESS_UNCLAIMED = "AddressUnclaimed"
    SERVICE_MISSING = "ServiceMissing"
    COUNT_DIFFERS = "CountDiffers"
    # pools in which others have addresses
    NODE_ADDRESS = "NodeAddress"
    SERVICE_RANGE_CONFLICT = "ServiceRangeConflict"
    POD_CIDR_CONFLICT = "PodCIDRConflict"
    TUNNEL_CONFLICT = "TunnelConflict"
    QUARANTINED = "Quarantined"
    # pools whose pods cannot be attached as they say
    ATTACHMENT_CONFLICT = "AttachmentConflict"
    ATTACHMENT_MASTER = "AttachmentMaster"
    ATTACHMENT_MTU = "AttachmentMTU"
    ATTACHMENT_DHCP = "AttachmentDHCP"
    ATTACHMENT_PENDING = "AttachmentPending"


class Refusal(Struct, frozen=True, order=True):
    """Something that was asked for and is not done, or a thing to warn of: reason, sentence and the object meant."""

    reason: Reason
    message: str
    object: Why


class InvalidSpecError(ValueError):
    """A user's mistake in one object: shown on that object, while all the rest goes on.

    ``where`` is ``KIND/NAME FIELD`` (``BGPPeer/tor-1 spec.asNumber``), ``message`` says what is wrong and what is allowed.
    """

    def __init__(self, where: Why, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where
        self.message = message


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: ``a, b, c and 12 more``."""
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"
