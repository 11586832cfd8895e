"""Sessions with the router at the end of an interface: named by the interface, whoever is found there (unnumbered)."""

from collections.abc import Mapping
from ipaddress import IPv6Address
from types import MappingProxyType

from msgspec.structs import replace

from towpath.bgp.parameters import session_name
from towpath.model.net import Address, Family, scoped, unscoped
from towpath.model.reason import Reason
from towpath.model.speaker import Session

NOBODY = IPv6Address(0)
"""The address of a peer that nobody has found yet."""
NOBODY_FOUND: Mapping[str, Address] = MappingProxyType({})


def on_interface(session: Session, interface: str, *, families: tuple[Family, ...], enabled: bool) -> Session:
    """``session``, made for nobody, as the one on an interface; not ``enabled``: it is withheld.

    Its own address is the interface's link-local one, whatever addresses the node has.
    """
    reason = None if enabled else Reason.UNNUMBERED_DISABLED
    if session.reason is Reason.SHUTDOWN:
        reason = Reason.SHUTDOWN
    return replace(
        session,
        name=session_name(session.scope, interface),
        peer_address=scoped(NOBODY, interface),
        interface=interface,
        local_address=None,
        families=families,
        state="Withheld" if reason else "Active",
        reason=reason,
    )


def with_router(session: Session, routers: Mapping[str, Address]) -> Session:
    """With the address of the router that was found on its interface, where one was."""
    router = routers.get(session.interface) if session.interface is not None else None
    return session if router is None else replace(session, peer_address=router)


def key_address(session: Session) -> Address:
    """What the kernel knows a TCP-MD5 key of the session by: it does not ask by which interface a neighbour is reached."""
    return unscoped(session.peer_address) if session.found else session.peer_address
