"""What ExaBGP does not look at in a peer's OPEN: its length fields, and the AS that the capability names."""

from typing import Final

from exabgp.bgp.message import Open
from exabgp.bgp.message.open.capability import Capability

from towpath.bgp.ports import SessionError

OPEN_ERROR: Final = 2
_UNSPECIFIC, _VERSION, _BAD_PEER_AS, _BAD_IDENTIFIER, _PARAMETER, _AUTHENTICATION = 0, 1, 2, 3, 4, 5
_FIXED: Final = 10
"""Version, AS, hold time, identifier and the length of the parameters (RFC 4271 section 4.2)."""
_EXTENDED: Final = 255
"""In place of a parameter's type: lengths of two bytes follow (RFC 9072 section 2)."""


def well_formed(body: bytes) -> bytes:
    """The body of an OPEN whose lengths add up, as ExaBGP reads it; ``SessionError`` for any other."""
    if len(body) < _FIXED:
        raise SessionError(OPEN_ERROR, _UNSPECIFIC, message="the OPEN is cut short")
    if body[0] != 4:
        raise SessionError(OPEN_ERROR, _VERSION, data=b"\0\4", message=f"version {body[0]} of BGP is not spoken here")
    length, start = body[_FIXED - 1], _FIXED
    if length and body[start : start + 1] == bytes((_EXTENDED,)):
        # what the one byte says of the length means nothing then
        length, start = int.from_bytes(body[start + 1 : start + 3], "big"), start + 3
        body = body[: _FIXED - 1] + bytes((_EXTENDED,)) + body[_FIXED:]
    if start + length != len(body):
        raise SessionError(OPEN_ERROR, _UNSPECIFIC, message="the OPEN is not as long as its parameters")
    return body


def judge_identity(received: Open, *, ours: tuple[int, int], peer_as: int) -> None:
    """``SessionError`` where the AS of four bytes is not the peer's, or the identifier is ours; ``ours``: identifier and AS.

    RFC 6793 section 4.1, RFC 7607 section 2, RFC 6286 section 2.1.
    """
    said = received.capabilities.get(Capability.CODE.FOUR_BYTES_ASN)
    if said is not None and int(said) != peer_as:
        message = f"the capability of the peer's OPEN names AS {int(said)}, not {peer_as}"
        raise SessionError(OPEN_ERROR, _BAD_PEER_AS, message=message)
    identifier, own_as = ours
    if peer_as == own_as and int.from_bytes(received.router_id.pack(), "big") == identifier:
        raise SessionError(OPEN_ERROR, _BAD_IDENTIFIER, message="the peer has our BGP identifier")


def subcode_of(code: int, subcode: int) -> int:
    """The subcode that is in force: an authentication parameter is one that is not known (RFC 4271, appendix A)."""
    return _PARAMETER if (code, subcode) == (OPEN_ERROR, _AUTHENTICATION) else subcode
