"""The seam between the engine (sessions, bytes on the wire) and the table (paths, policy, decision).

The engine delivers and does not judge: it hands over whole UPDATE bodies as bytes and says how a session was lost. The
table judges: it never sees a socket. Both run in the speaker's one event loop; no call here blocks or awaits.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from towpath.model.net import Address, Family


class PeerRestart(Struct, frozen=True):
    """The graceful restart capability that a peer sent (RFC 4724 §3, RFC 8538 §2)."""

    restart_time: int
    restarting: bool
    """R: the peer has just restarted."""
    notification: bool
    """N: routes are kept over NOTIFICATIONs too."""
    preserved: tuple[Family, ...]
    """Families with F set: the peer kept its forwarding state."""
    families: tuple[Family, ...]
    """All families that the peer named, with or without F."""


class Negotiated(Struct, frozen=True):
    """What the two OPENs agreed on."""

    families: tuple[Family, ...]
    peer_router_id: int
    peer_as: int
    local_as: int
    local_address: Address
    peer_address: Address
    hold_time: int
    four_octet_as: bool
    """Whether AS_PATH carries four bytes an AS (RFC 6793)."""
    message_size: int
    """Largest message that the peer takes: 4096 or 65535 (RFC 8654)."""
    restart: PeerRestart | None
    """None: the peer did not send the capability, or we did not."""
    refresh: bool = True
    """The peer sends its routes again when it is asked (RFC 2918)."""
    ipv6_next_hops: bool = False
    """IPv4 routes may have IPv6 next hops (RFC 8950)."""
    paths_taken: tuple[Family, ...] = ()
    """Families in which the peer's prefixes come with path identifiers (RFC 7911)."""
    paths_told: tuple[Family, ...] = ()
    """Families in which ours do."""


class LossKind(enum.Enum):
    """How a session ended: what graceful restart makes of it depends on this."""

    CONNECTION = "the connection was lost without a NOTIFICATION"
    REPLACED = "the peer opened a new session over the old one"
    NOTIFIED = "the peer sent a NOTIFICATION"
    HARD_RESET = "the peer sent Cease/Hard Reset"
    REFUSED = "we sent a NOTIFICATION because of an error"
    HOLD_TIMER = "the hold timer expired"
    CARRIER = "the interface lost its carrier"
    CHANGED = "something of it that the peer sees was changed here"
    REMOVED = "the session was removed or withheld here"


class Loss(Struct, frozen=True):
    """The end of an established session; codes are of the NOTIFICATION (RFC 4271 §4.5), zero without one."""

    kind: LossKind
    code: int = 0
    subcode: int = 0
    message: str = ""


class Standing(NamedTuple):
    """A session as the engine has it."""

    state: str = "Idle"
    """Of RFC 4271, or ``Withheld``."""
    reason: str = ""
    """Why it is withheld, or was lost or refused last; empty while it is up."""
    lost: int = 0
    """How often it was lost."""


class SessionError(Exception):
    """The session must end with this NOTIFICATION (RFC 4271 §4.5): raised by ``SessionSink.updates`` and the engine itself.

    Raised for UPDATEs whose prefixes cannot be told apart (RFC 7606 §5) and for a prefix limit with action Reset. The
    engine sends the NOTIFICATION, closes, and reports the loss (``REFUSED``) like any other.
    """

    def __init__(self, code: int, subcode: int, *, data: bytes = b"", message: str = "") -> None:
        super().__init__(message or f"NOTIFICATION {code}/{subcode}")
        self.code = code
        self.subcode = subcode
        self.data = data
        self.message = message


class SessionSink(Protocol):
    """What the engine calls: implemented by the table. ``name`` is ``Session.name``."""

    def established(self, name: str, negotiated: Negotiated) -> None:
        """The session is up. Its Adj-RIB-Out starts whole: everything, then End-of-RIB."""

    def updates(self, name: str, bodies: Sequence[bytes]) -> None:
        """UPDATE messages without their 19-byte headers, in the order of arrival. Raises ``SessionError``."""

    def refresh(self, name: str, family: Family) -> None:
        """The peer asks for our routes again (RFC 2918)."""

    def lost(self, name: str, loss: Loss) -> None:
        """The established session ended."""


class Outbound(Protocol):
    """Where the engine pulls what a session should send next: implemented by the table."""

    def opening(self, name: str, negotiated: Negotiated, limit: int) -> bytes:
        """What to send right behind the KEEPALIVE that makes a session for the peer; about ``limit`` bytes.

        It counts as sent if ``established`` is called with the same object, and was never said if it is not.
        """

    def pull(self, name: str, limit: int) -> bytes:
        """Whole messages, concatenated, about ``limit`` bytes or fewer; empty: nothing to send now.

        What was pulled counts as sent. Pulling only when the socket takes more is the back-pressure: a slow peer gets
        fewer, newer UPDATEs.
        """

    def farewell(self, name: str) -> bytes:
        """Withdrawals of all that the session was told: it is about to end for good."""


class Kick(Protocol):
    """What the table calls when a session has something to send: implemented by the engine."""

    def __call__(self, name: str) -> None:
        """``pull`` for this session has something to give; cheap, may be called often."""
