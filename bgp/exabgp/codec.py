"""Bytes of OPEN, NOTIFICATION and ROUTE-REFRESH: the seam to ExaBGP's message classes.

Only this module, ``neighbor``, ``opens`` and ``role`` touch ExaBGP. What comes from a peer goes into its decoders as bytes
and leaves here as our values; whatever a decoder raises on bad bytes becomes a ``SessionError`` with the NOTIFICATION that
RFC 4271 asks for.
"""

import struct
from ipaddress import IPv4Address

from exabgp.bgp.message import KeepAlive, Message, Notification, Notify, Open
from exabgp.bgp.message.open.capability import Capability, Negotiated
from exabgp.bgp.message.open.capability.graceful import Graceful
from exabgp.bgp.message.open.capability.refresh import REFRESH as REFRESHES
from exabgp.bgp.neighbor import Neighbor
from msgspec import Struct

from towpath.bgp.exabgp.opens import judge_identity, subcode_of, well_formed
from towpath.bgp.exabgp.role import judge_role
from towpath.bgp.ports import PeerRestart, SessionError
from towpath.model.kinds.peer import Role
from towpath.model.net import Family

OPEN = int(Message.CODE.OPEN)
UPDATE = int(Message.CODE.UPDATE)
NOTIFICATION = int(Message.CODE.NOTIFICATION)
KEEPALIVE = int(Message.CODE.KEEPALIVE)
REFRESH = int(Message.CODE.ROUTE_REFRESH)
NAMES = {OPEN: "OPEN", UPDATE: "UPDATE", NOTIFICATION: "NOTIFICATION", KEEPALIVE: "KEEPALIVE", REFRESH: "ROUTE-REFRESH"}

MARKER: bytes = Message.MARKER
HEADER_LENGTH: int = Message.HEADER_LEN
KEEPALIVE_MESSAGE: bytes = KeepAlive().message()

NOTIFICATION_BIT = 0x4
"""N of the graceful restart capability (RFC 8538 §2), beside R (0x8)."""

CEASE = 6
HARD_RESET = 9

_LONGEST_COMMUNICATION = 255
_UNICAST = 1
_IPV4_BY_IPV6 = (Family.IPV4.afi, _UNICAST, Family.IPV6.afi)
"""IPv4 unicast with IPv6 next hops, as the extended next hop capability writes it (RFC 8950 §3)."""
_RECEIVE, _SEND = 1, 2
_REQUEST = 0
_FAMILY_BY_AFI = {family.afi: family for family in Family}
_DECODE_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError, struct.error)


class Agreement(Struct, frozen=True):
    """What the two OPENs agree on, as far as it is in the OPENs."""

    families: tuple[Family, ...]
    peer_router_id: int
    peer_as: int
    hold_time: int
    four_octet_as: bool
    message_size: int
    restart: PeerRestart | None
    refresh: bool
    ipv6_next_hops: bool = False
    paths_taken: tuple[Family, ...] = ()
    """Families in which the peer sends path identifiers (RFC 7911)."""
    paths_told: tuple[Family, ...] = ()
    """Families in which we do."""


class Goodbye(Struct, frozen=True):
    """A NOTIFICATION that a peer sent."""

    code: int
    subcode: int
    message: str


def valid_length(kind: int, length: int) -> bool:
    """Whether a message of this type may have this length, header included (RFC 4271 §6.1)."""
    rule = Message.Length.get(kind)
    return rule is not None and bool(rule(length))


def notification(code: int, subcode: int, data: bytes = b"") -> bytes:
    """A NOTIFICATION message."""
    return bytes(Notify(code, subcode, data).message())


def hard_reset(code: int, subcode: int, data: bytes = b"") -> bytes:
    """A Cease/Hard Reset around another NOTIFICATION (RFC 8538 §3): the peer keeps no routes."""
    return notification(CEASE, HARD_RESET, bytes((code, subcode)) + data)


def communication(text: str) -> bytes:
    """The data of a Cease that says why in words (RFC 9003 section 2): its length and at most 255 bytes, no letter cut."""
    words = text.encode()[:_LONGEST_COMMUNICATION].decode(errors="ignore").encode()
    return bytes((len(words),)) + words if words else b""


def read_notification(body: bytes) -> Goodbye:
    """The code and the text of a NOTIFICATION; one that is too short has code 0. A hard reset's text is that of its inside."""
    if body[:2] == bytes((CEASE, HARD_RESET)) and len(body) >= 4:
        return Goodbye(code=CEASE, subcode=HARD_RESET, message=f"hard reset: {_text(body[2:]).message}")
    return _text(body)


def _text(body: bytes) -> Goodbye:
    try:
        received = Notification.unpack_message(body)
        return Goodbye(code=received.code, subcode=received.subcode, message=str(received)[:512])
    except _DECODE_ERRORS:
        return Goodbye(code=body[0] if body else 0, subcode=body[1] if len(body) > 1 else 0, message="unreadable")


def read_refresh(body: bytes) -> Family | None:
    """The family whose routes the peer asks for; None for what we take no part in.

    A subtype that is none of a request is ignored (RFC 7313 section 5): we do not offer enhanced refresh.
    """
    afi, subtype, safi = struct.unpack("!HBB", body)
    return _FAMILY_BY_AFI.get(afi) if subtype == _REQUEST and safi == _UNICAST else None


def read_open(body: bytes, sent: Open, neighbor: Neighbor, *, role: Role | None, strict_role: bool) -> Agreement:
    """Judge the peer's OPEN and negotiate; ``SessionError`` with code 2 if it does not fit. ``role`` is ours (RFC 9234)."""
    try:
        received = Open.unpack_message(well_formed(body))
        negotiated = Negotiated(neighbor)
        negotiated.sent(sent)
        negotiated.received(received)
        refused = negotiated.validate(neighbor)
        agreement = None if refused is not None else _agreement(sent, received, negotiated)
        if agreement is not None:
            ours = int(IPv4Address(sent.router_id.pack())), int(neighbor["local-as"])
            judge_identity(received, ours=ours, peer_as=int(neighbor["peer-as"]))
            judge_role(received, role=role, strict=strict_role)
    except Notify as refusal:
        raise _session_error(refusal) from None
    except _DECODE_ERRORS as error:
        raise SessionError(2, 0, message=f"the OPEN cannot be read: {error}") from None
    if agreement is None:
        raise _session_error(Notify(*refused))
    return agreement


def _agreement(sent: Open, received: Open, negotiated: Negotiated) -> Agreement:
    offered = _families(sent.capabilities[Capability.CODE.MULTIPROTOCOL])
    if Capability.CODE.MULTIPROTOCOL in received.capabilities:
        theirs = _families(received.capabilities[Capability.CODE.MULTIPROTOCOL])
    else:
        theirs = (Family.IPV4,)  # RFC 4760 §8: a peer without the capability speaks IPv4 unicast
    families = tuple(family for family in offered if family in theirs)
    if not families:
        raise SessionError(2, 7, message="no address family in common")
    return Agreement(
        families=families,
        peer_router_id=int(IPv4Address(received.router_id.pack())),
        peer_as=int(negotiated.peer_as),
        hold_time=int(negotiated.holdtime),
        four_octet_as=bool(negotiated.asn4),
        message_size=int(negotiated.msg_size),
        restart=_peer_restart(sent, received),
        refresh=negotiated.refresh != REFRESHES.ABSENT,
        ipv6_next_hops=any((int(afi), int(safi), int(hop)) == _IPV4_BY_IPV6 for afi, safi, hop in negotiated.nexthop),
        paths_taken=_with_paths(sent, received, families),
        paths_told=_with_paths(received, sent, families),
    )


def _families(pairs: list[tuple[int, int]]) -> tuple[Family, ...]:
    return tuple(
        _FAMILY_BY_AFI[int(afi)] for afi, safi in pairs if int(afi) in _FAMILY_BY_AFI and int(safi) == _UNICAST
    )


def _with_paths(receiver: Open, sender: Open, families: tuple[Family, ...]) -> tuple[Family, ...]:
    """Families in which the one may send path identifiers to the other (RFC 7911 section 4)."""
    takes, gives = _directions(receiver), _directions(sender)
    return tuple(each for each in families if takes.get(each, 0) & _RECEIVE and gives.get(each, 0) & _SEND)


def _directions(message: Open) -> dict[Family, int]:
    """What a speaker offers by family; one with an unknown direction is as good as not there."""
    offered = message.capabilities.get(Capability.CODE.ADD_PATH, {})
    if not all(0 < int(direction) <= _RECEIVE | _SEND for direction in offered.values()):
        return {}
    return {
        _FAMILY_BY_AFI[int(afi)]: int(direction)
        for (afi, safi), direction in offered.items()
        if int(afi) in _FAMILY_BY_AFI and int(safi) == _UNICAST
    }


def _peer_restart(sent: Open, received: Open) -> PeerRestart | None:
    code = Capability.CODE.GRACEFUL_RESTART
    if code not in sent.capabilities or code not in received.capabilities:
        return None
    graceful = received.capabilities[code]
    return PeerRestart(
        restart_time=graceful.restart_time,
        restarting=bool(graceful.restart_flag & Graceful.RESTART_STATE),
        notification=bool(graceful.restart_flag & NOTIFICATION_BIT),
        preserved=_families([pair for pair, flags in graceful.items() if flags & Graceful.FORWARDING_STATE]),
        families=_families(list(graceful)),
    )


def _session_error(refused: Notify) -> SessionError:
    subcode = subcode_of(refused.code, refused.subcode)
    return SessionError(refused.code, subcode, data=bytes(refused.data), message=str(refused)[:512])
