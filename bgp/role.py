"""Roles between two AS, and the attribute that keeps a leaked route from going round (RFC 9234).

A role says what we are to the peer: its Customer, its Provider, and so on. A route that was once told to a customer, or by
a provider, carries Only to Customer (OTC) from then on: it may go down, never up or sideways. No filter changes that
(RFC 9234 section 5).
"""

from typing import Final

from towpath.model.kinds.peer import Role

NUMBERS: Final[dict[Role, int]] = {"Provider": 0, "RS": 1, "RS-Client": 2, "Customer": 3, "Peer": 4}
"""The value of the capability (section 4.1)."""
COUNTERPART: Final[dict[Role, Role]] = {
    "Provider": "Customer",
    "Customer": "Provider",
    "RS": "RS-Client",
    "RS-Client": "RS",
    "Peer": "Peer",
}
"""What the other side must be (section 4.2)."""
_UPWARDS: Final = frozenset({"Customer", "RS-Client", "Peer"})
"""Roles whose peer may not be told what is for customers only: it is our provider, our route server or our equal."""
_DOWNWARDS: Final = frozenset({"Provider", "RS", "Peer"})
"""Roles whose peer is told everything as for its customers only."""


def leaked(role: Role | None, marked: int, *, peer_as: int) -> bool:
    """Whether a route that arrives with this mark has gone the wrong way (section 5, ingress 1 and 2)."""
    return role in {"Provider", "RS"} or (role == "Peer" and marked != peer_as)


def mark_of_arriving(role: Role | None, *, peer_as: int) -> int | None:
    """What a route that arrives without a mark is marked with (ingress 3)."""
    return peer_as if role in _UPWARDS else None


def mark_of_leaving(role: Role | None, *, local_as: int) -> int | None:
    """What a route that leaves without a mark is marked with (egress 1)."""
    return local_as if role in _DOWNWARDS else None


def bars(role: Role | None) -> bool:
    """Whether a route with a mark must not be told to the peer (egress 2)."""
    return role in _UPWARDS


def agree(own: tuple[Role | None, bool], other: tuple[Role | None, bool]) -> bool:
    """Whether two halves of a session, each with its role and whether it insists on the other's, come up."""
    (role, strict), (others, insists) = own, other
    if role is not None and others is not None:
        return COUNTERPART[role] == others
    return not strict and not insists
